"""Settings made from the arguments of a function: names and types of its signature, and ranges.

The parameters of the simulated shop and the settings of the backbones are defined in this way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from softrec.errors import no_such, one_line
from softrec.recipe.specs.docstrings import described_arguments
from softrec.settings import Count, Decay, Positive, Rounds, Seed, Text, Weight, Width, check_number

Length = Annotated[int, Field(ge=1, le=10_000)]
_Depth = Annotated[int, Field(ge=0, le=100)]
_Filters = Annotated[int, Field(ge=0, le=4096)]
_Some = Annotated[int, Field(ge=1, le=1000)]
_Fraction = Annotated[float, Field(ge=0, le=1)]

RANGES: dict[str, Any] = {
    # of backbones
    "dim": Width, "hidden": Width, "inner": Width, "attention": Width, "length": Length,
    "layers": _Depth, "heads": _Some, "predictor_layers": _Depth, "interests": _Some,
    "iterations": Annotated[int, Field(ge=1, le=100)], "intervals": Rounds,
    "frequencies": _Some, "mix": _Fraction,
    "horizontal": _Filters, "vertical": _Filters, "heights": Length, "map_std": Weight,
    "dropout": Decay, "embedding_dropout": Decay, "edge_dropout": Decay, "mlp_dropout": Decay,
    "message_dropout": Decay, "node_dropout": Decay, "predictor_dropout": Decay,
    # of models that are counted
    "half_life": Annotated[float, Field(ge=1e-6, le=1e6)], "k": Length, "sample": Count,
    "popularity": Weight, "walk_weight": Weight, "chain_recency": _Fraction,
    "last": Length, "steps": _Some, "recency": _Fraction, "smoothing": _Fraction,
    "shrinkage": Weight, "power": _Fraction, "alpha": Annotated[float, Field(ge=0, le=10)],
    "beta": Annotated[float, Field(ge=0, le=10)], "l2": Positive,
    # of the simulated shop
    "n_items": Annotated[int, Field(ge=2, le=10**6)], "n_categories": Length,
    "n_archetypes": Length, "n_complements": _Some, "skew": Annotated[float, Field(ge=0, le=10)],
    "stickiness": _Fraction, "complementarity": _Fraction, "memory": Decay, "drift": _Fraction,
    "noise": Annotated[float, Field(gt=0, le=1)],
    "exposure_floor": Annotated[float, Field(gt=0, le=1)], "seed": Seed,
    "n_users": Annotated[int, Field(ge=1, le=10**7)], "min_length": Length, "max_length": Length,
}  # fmt: skip
"""The range of each number, by the name of its setting."""
WIDTHS = {"layers": Width}
"""The range of each number of a list of widths."""


def arguments(function: Callable[..., Any], left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the types of the arguments of a function by their names."""
    parameters = inspect.signature(function, eval_str=True).parameters
    return {
        name: Any if parameter.annotation is parameter.empty else parameter.annotation
        for name, parameter in parameters.items()
        if name not in ("self", *left_out)
    }


def fields_of(function: Callable[..., Any], left_out: tuple[str, ...] = ()) -> dict[str, FieldInfo]:
    """Return the arguments of a function, or of a class, as fields that its docstring describes."""
    described = described_arguments(function)
    parameters = inspect.signature(function).parameters
    return {
        name: FieldInfo(
            annotation=kind, description=described.get(name), **_default(parameters[name].default)
        )
        for name, kind in arguments(function, left_out).items()
    }


def _default(given: Any) -> dict[str, Any]:
    return {} if given is inspect.Parameter.empty else {"default": given}


def checked(owner: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given settings, converted to their types.

    Args:
        owner: the name of the owner of the settings, for messages.
        given: name -> value, as read.
        known: name -> type.

    Raises:
        ValueError: if there is no such setting, or if a value has the wrong type or is out of
            range.
    """
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{owner} has {no_such('setting', name, known)}")
        check_number(f"{name} of {owner}", value, known[name])
        try:
            values[name] = _adapter(known[name]).validate_python(value)
            for number in _numbers(values[name]):
                inside = WIDTHS.get(name) if isinstance(values[name], tuple) else None
                _adapter(inside or RANGES.get(name, Any)).validate_python(number)
            for text in (part for part in (values[name],) if isinstance(part, str)):
                _adapter(Text).validate_python(text)
        except ValidationError as error:
            text = error.errors()[0]["msg"]
            came = one_line(safe_repr(value), 80)
            raise ValueError(f"{name} of {owner}: {text}, got {came}") from error
    return values


def safe_repr(value: object) -> str:
    """Return `repr(value)`, or words for a number that is too long for `repr`."""
    try:
        return repr(value)
    except ValueError:
        return f"a very long {type(value).__name__}"


def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
