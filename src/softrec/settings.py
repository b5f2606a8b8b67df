"""Settings: immutable plain data, checked when it is read, each defined once.

They are next to the thing that they configure. Recipes, the command line and the tables of
docs/recipes.md take names, types, ranges, defaults and descriptions from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticUndefined

LONGEST_NAME = 255  # bytes between two slashes, as file systems have it


def numeric(annotation: Any) -> bool:
    """Return whether a type contains numbers."""
    return annotation in (int, float) or any(map(numeric, get_args(annotation)))


def check_number(name: str, value: Any, annotation: Any) -> None:
    """Refuse true and false where a number is expected: they would count as 1 and 0.

    Raises:
        ValueError: if `value` is true or false.
    """
    parts = value if isinstance(value, list | tuple) else (value,)
    if numeric(annotation) and any(isinstance(part, bool) for part in parts):
        raise ValueError(f"{name}: expected a number, got {str(value).lower()}")


class Settings(BaseModel):
    """Immutable plain data; unknown fields, NaN and infinite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, fields: Any) -> Any:
        """Check all fields at once: pydantic cannot check a field before choosing the section."""
        for name, field in cls.model_fields.items():
            if isinstance(fields, dict) and name in fields:
                check_number(name, fields[name], field.annotation)
        return fields


def setting(
    default: Any = PydanticUndefined,
    text: str = "",
    *,
    common: bool = False,
    flags: tuple[str, ...] = (),
    choices: Callable[[], list[str]] | None = None,
    search: str = "",
    **limits: Any,
) -> Any:
    """Return a field of `Settings`.

    Args:
        default: the value if none is given; without a default, the field is required.
        text: its meaning in one line, for help and documents. It describes the default in words if
            that depends on other things.
        common: whether `softrec fit` has an option and `fit()` a keyword of this name. Other fields
            are set by `--set` and by dotted keywords.
        flags: the option on the command line, if it is not --NAME.
        choices: the values that it may have, if the type does not list them.
        search: the values that `softrec tune` tries by default: a range such as
            "1e-4..1e-2:log", or values such as "0,0.2"; without one it is not searched.
        **limits: the range, with the names of pydantic: ge, gt, le, lt, min_length, max_length.

    Example:
        >>> class Few(Settings):
        ...     number: int = setting(3, "how many", ge=1)
        >>> Few(number=4).number
        4
    """
    extra: Any = {"common": common, "flags": flags, "choices": choices, "search": search}
    return Field(default, description=text or None, json_schema_extra=extra, **limits)


def _writable(text: str) -> str:
    """Refuse text that cannot be written to a file or be a file name."""
    if "\0" in text:
        raise ValueError("text with a NUL character in it")
    if any(len(part.encode()) > LONGEST_NAME for part in text.split("/")):
        raise ValueError(f"no name is longer than {LONGEST_NAME} bytes")
    return text


Text = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_writable)]
"""The name of a file, a folder, a column, a data set or a metric."""
Alpha = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1, le=10**9)]
"""How many of what the data have: events, items, steps."""
Rounds = Annotated[int, Field(ge=1, le=10**6)]
Width = Annotated[int, Field(ge=1, le=2**14)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Temperature = Annotated[float, Field(ge=1e-4, le=1e4)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Trained = Text | dict[str, Any]
"""Another run: the folder of a finished one, or its recipe, by which it is found or made."""
