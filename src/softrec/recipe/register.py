"""`softrec.register`: names for targets, losses, models, ... of your own."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from pydantic import create_model
from pydantic.errors import PydanticSchemaGenerationError

from softrec.candidates import CandidatesSettings
from softrec.data.sources import SOURCES, Source
from softrec.errors import MISTAKES, RecipeError, one_line
from softrec.evaluation.metrics import METRICS
from softrec.losses.settings import LossInputs, LossSettings, PairwiseSettings, Term
from softrec.models.registry import MODELS
from softrec.recipe.fields import extra
from softrec.recipe.specs.docstrings import described_arguments
from softrec.registry import Chosen
from softrec.settings import Alpha, setting
from softrec.targets.settings import TargetSettings
from softrec.types import Encoder, Scorer
from softrec.weights import WeightsSettings

KINDS = {
    "target": ("training",),
    "loss": ("stats", "answers", "weight"),
    "pairwise loss": ("label", "others", "count"),
    "candidates": (),
    "weights": (),
    "metric": ("ranks", "k"),
}
"""The kinds of functions, and the names of their first arguments, by which the kind is determined.
If the arguments have other names, `kind=` must be given."""
MODEL = (None, "model")
"""What `kind` may be for the class of a model."""
NAME = re.compile(r"[\w+-]+")


def register(name: str, thing: Any = None, *, kind: str | None = None) -> Any:
    """Register an object of your own for recipes, `fit`, `compare` and the command line.

    It is a function or a decorator. The keyword arguments of a registered function, with types and
    perhaps defaults, are its settings in a recipe. What the `Args:` of its docstring say of them is
    their meaning in `softrec settings` and, where other members have an option of this name, in
    the help of that option.

    Args:
        name: the name in recipes.
        thing: one of the following. A class of models (an `Encoder` or a `Scorer`). A target:
            (training, **settings) -> a source, which makes the target of a batch. A softmax loss:
            (stats, answers, weight, **settings) -> one value per example. A pairwise loss: (label,
            others, count, **settings) -> one value per row. A metric: (ranks, k) -> one value per
            case. A `Source` of data. A class of settings.
        kind: of a function whose arguments have other names: "target", "loss", "pairwise loss",
            "candidates", "weights" or "metric". The class of a model is a "model" without it, too.

    Returns:
        The object itself; a decorator if no object was given.

    Raises:
        RecipeError: if the name is taken or cannot be written in a recipe, if the kind of the
            object cannot be determined, or if a setting has no type, or the name of something else.

    Example:
        @softrec.register("even")
        def even(training, *, alpha: float = 0.2):
            return UniformTarget(training.n_items)
    """
    _check_name(name)
    if thing is None:
        return partial(register, name, kind=kind)
    if isinstance(thing, Source):
        SOURCES.add(name, thing, _caller())
    elif isinstance(thing, type) and issubclass(thing, Chosen):
        thing.names = (*thing.names, name)
        thing.registry.add(name, thing)
    elif isinstance(thing, type) and issubclass(thing, Encoder | Scorer) and kind in MODEL:
        MODELS.add(name, thing)
    elif callable(thing):
        _enter_function(name, thing, kind or _kind_of(thing))
    else:
        raise _no_kind(thing)
    return thing


def _enter_function(name: str, function: Callable[..., Any], kind: str) -> None:
    if kind == "metric":
        METRICS.add(name, function)
        return
    if kind not in BASES:
        raise _no_kind(function)
    base, method = BASES[kind]
    kept = getattr(base.registry.get(name), "function", None)
    if name in base.registry and _told(kept) != _told(function):
        base.registry.add(name, function)  # is refused
    first = len(KINDS[kind]) or 1
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())[first:]
    told, calling = described_arguments(function), _calling(base, method, function)
    fields = {one.name: _field(name, one, told.get(one.name, ""), base) for one in parameters}
    _check_settings(name, kind, parameters, calling)
    try:
        create_model(
            f"{''.join(part.title() for part in name.split('-'))}Settings",
            __base__=calling,
            __module__=function.__module__,
            __cls_kwargs__={"name": name},
            **fields,
        )
    except PydanticSchemaGenerationError as error:
        types = ", ".join(f"{one.name}: {_of_type(one)}" for one in parameters)
        raise RecipeError(
            f"{name}: a setting is plain data, such as int, float, str, bool, a list of these, or "
            f"one of them or None; got {types}"
        ) from error


def _told(function: Any) -> tuple[Any, ...]:
    """Return by what a function is known again, also if its module is run once more."""
    return tuple(getattr(function, name, function) for name in ("__module__", "__qualname__"))


def _of_type(parameter: inspect.Parameter) -> str:
    return getattr(parameter.annotation, "__name__", str(parameter.annotation))


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        shown = getattr(name, "__name__", type(name).__name__)
        raise RecipeError(f"a name is missing; write @softrec.register({shown!r}) above it")
    if name == "<lambda>":
        raise RecipeError("a lambda has no name; write it with def, or softrec.register(NAME, it)")
    if not NAME.fullmatch(name):
        raise RecipeError(
            f"no recipe can name a member {name!r}; a name has letters, digits, _, + and - alone"
        )


def _check_settings(
    owner: str, kind: str, parameters: list[inspect.Parameter], base: type[Chosen]
) -> None:
    """Refuse settings whose names the settings of all members have for something else."""
    names = [one.name for one in parameters]
    for name in names:
        taken = name in ("name", "mass") or (hasattr(base, name) and name not in base.model_fields)
        if taken or name.startswith("_"):
            raise RecipeError(f"{owner}: no setting can be called {name}; choose another name")
    if kind != "target":
        return
    default = {one.name: one.default for one in parameters}.get("alpha")
    if default is None:
        raise RecipeError(
            f"{owner}: a target has the setting alpha, the weight of the soft target; add "
            "alpha: float = 0.2 to its arguments"
        )
    if isinstance(default, int | float) and not 0 <= default <= 1:
        raise RecipeError(f"{owner}: alpha is the weight of the target, 0 to 1, got {default}")


def _field(owner: str, parameter: inspect.Parameter, told: str, base: type[Chosen]) -> Any:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise RecipeError(f"{owner} takes {parameter}: name each setting, with its type")
    if parameter.annotation is parameter.empty:
        raise RecipeError(
            f"{owner}: the setting {parameter.name} has no type; give it one, such as "
            f"{parameter.name}: int = 10"
        )
    others = [
        field
        for member in (base, *base.registry.values())
        if (field := member.model_fields.get(parameter.name)) is not None
    ]
    common = any(extra(field, "common") for field in others)
    default = () if parameter.default is parameter.empty else (parameter.default,)
    share = base is TargetSettings and parameter.name == "alpha"
    kind = Alpha if share and parameter.annotation is float else parameter.annotation
    return kind, setting(*default, text=told, common=common)


def _kind_of(function: Callable[..., Any]) -> str:
    names = tuple(inspect.signature(function).parameters)
    for kind, first in KINDS.items():
        if first and names[: len(first)] == first:
            return kind
    raise _no_kind(function)


def _no_kind(thing: object) -> RecipeError:
    return RecipeError(
        f"cannot determine what {getattr(thing, '__name__', type(thing).__name__)} is; expected "
        f"the class of a model, a Source, or a function with kind= one of {', '.join(KINDS)}"
    )


def _caller() -> str:
    """Return the module that called `register`."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("softrec"):
        frame = frame.f_back
    return "" if frame is None else frame.f_globals.get("__name__", "")


# --- functions as settings ---


def _calling(base: type[Chosen], method: Callable[..., Any], function: Any) -> type[Any]:
    body = {"__module__": function.__module__, "__doc__": function.__doc__,
            "function": staticmethod(function), "build": method,
            "__annotations__": {"function": ClassVar[Any]}}  # fmt: skip
    return type(f"Calls{base.__name__}", (base,), body)


def _settings(self: Any) -> dict[str, Any]:
    """Return the settings that the function takes."""
    own = set(inspect.signature(self.function).parameters)
    return {name: getattr(self, name) for name in type(self).model_fields if name in own}


def _made(own: Any, training: Any) -> Any:
    """Return what the function makes of the training part."""
    try:
        return own.function(training, **_settings(own))
    except MISTAKES as error:
        kind, told = own.registry.kind, one_line(f"{type(error).__name__}: {error}", 250)
        raise RecipeError(
            f"the {kind} {own.name!r} fails when its source is made: {told}; --debug shows where "
            f"(softrec.testing.check_registered({kind!r}, {own.name!r}) checks all of its contract)"
        ) from error


def _build_target(self: Any, training: Any) -> Any:
    source = _made(self, training)
    if not callable(source):
        raise _no_source(self, source, "called with a batch, gives its target")
    return source


def _build_weights(self: Any, training: Any) -> Any:
    source = _made(self, training)
    if source is not None and not (callable(source) and hasattr(source, "begin_epoch")):
        what = "called with a batch, gives a function to its weights, and has a method begin_epoch"
        raise _no_source(self, source, f"{what}(encoder, epoch); None for equal weights")
    return source


def _build_loss(self: Any, given: LossInputs) -> Term:
    return Term({self.name: (partial(self.function, **_settings(self)), 1.0)})


def _build_pairs(self: Any, given: LossInputs) -> Term:
    return Term(partial(self.function, **_settings(self)))


def _build_candidates(self: Any, training: Any, *, softmax: bool) -> Any:
    source = _made(self, training)
    if source is not None and not callable(source):
        raise _no_source(self, source, "called with a batch, gives its Candidates; None for all")
    return source


def _no_source(own: Any, found: object, does: str) -> RecipeError:
    got = "None" if found is None else f"an object of type {type(found).__name__}"
    return RecipeError(
        f"the {own.registry.kind} {own.name!r} made {got} of the training part; expected a source, "
        f"which, {does}"
    )


BASES: dict[str, tuple[type[Chosen], Callable[..., Any]]] = {
    "target": (TargetSettings, _build_target),
    "loss": (LossSettings, _build_loss),
    "pairwise loss": (PairwiseSettings, _build_pairs),
    "candidates": (CandidatesSettings, _build_candidates),
    "weights": (WeightsSettings, _build_weights),
}
