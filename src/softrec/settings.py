"""Settings: plain data that does not change, checked when it is read, each said in one place.

They are next to the thing they configure. What a recipe, the command line and the tables of
docs/recipes.md say of them is read from here: names, types, ranges, defaults, descriptions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticUndefined

LONGEST_NAME = 255  # bytes between two slashes, as file systems have it


def numeric(annotation: Any) -> bool:
    """Tell whether a type has numbers in it."""
    return annotation in (int, float) or any(map(numeric, get_args(annotation)))


def check_number(name: str, value: Any, annotation: Any) -> None:
    """Refuse true and false where a number is meant: they would count as 1 and 0.

    Raises:
        ValueError: in one line.
    """
    parts = value if isinstance(value, list | tuple) else (value,)
    if numeric(annotation) and any(isinstance(part, bool) for part in parts):
        raise ValueError(f"{name}: expected a number, got {str(value).lower()}")


class Settings(BaseModel):
    """Plain data that does not change; unknown fields and numbers that are none are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, fields: Any) -> Any:
        """Look at all fields at once: pydantic lets nothing run before the name of a section."""
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
    **limits: Any,
) -> Any:
    """Return a field of `Settings`.

    Args:
        default: its value where none is given; without one, it must be given.
        text: what it means, in a line, for help and documents; with the default in words where
            that depends on other things.
        common: an option of `softrec fit` and a keyword of `fit()` are its name alone; others are
            set by `--set` and dotted keywords.
        flags: the option on the command line, where it is not --its-name.
        choices: the values it may have, where its type does not list them.
        **limits: the range, as pydantic has it: ge, gt, le, lt, min_length, max_length.

    Example:
        >>> class Few(Settings):
        ...     number: int = setting(3, "how many", ge=1)
        >>> Few(number=4).number
        4
    """
    extra: Any = {"common": common, "flags": flags, "choices": choices}
    return Field(default, description=text or None, json_schema_extra=extra, **limits)


def _writable(text: str) -> str:
    """Refuse text that cannot be written to a file or be the name of one."""
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
