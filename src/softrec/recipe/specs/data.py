"""Where the log is and how it is cleaned and split."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from softrec.errors import one_line
from softrec.recipe.specs.arguments import arguments, checked
from softrec.settings import Seed, Settings, Text
from softrec.simulation import make_shop, simulate

SHOP = "shop"
"""The data source that simulates its log."""
STEPS = {"drop-duplicates": "", "min-weight": "R", "k-core": "K", "min-user": "N", "min-item": "N"}
"""The cleaning steps, and the number that stands behind their `=`."""
SIMULATION = tuple(name for name in arguments(simulate, ("shop",)) if name != "seed")
"""The parameters of the shop that belong to its users."""
PARAMETERS = arguments(make_shop) | arguments(simulate, ("shop",))


def parse_step(step: str) -> tuple[str, float]:
    """Return the name of a cleaning step and its number; 0 for a step without one.

    Raises:
        ValueError: if there is no such step, or its number is missing or none.

    Example:
        >>> parse_step("k-core=5")
        ('k-core', 5.0)
    """
    name, equals, value = step.partition("=")
    if name not in STEPS or (equals and not STEPS[name]):
        known = [f"{name}={number}" if number else name for name, number in STEPS.items()]
        raise ValueError(f"no cleaning step {one_line(step, 80)!r}; there are {', '.join(known)}")
    if not STEPS[name]:
        return name, 0.0
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    whole = STEPS[name] == "R" or number.is_integer()
    if not (math.isfinite(number) and whole and abs(number) < 2**53):
        kind = "a number" if STEPS[name] == "R" else "a whole number"
        raise ValueError(f"cleaning step {one_line(step, 80)!r} needs {kind} after '='")
    return name, number


MEMORY = "memory:"
"""Begins the source of a log that lies in no file; the fingerprint of its content follows."""


class DataSettings(Settings):
    """Where the log is and how it is cleaned and split."""

    source: Text = Field(description="a file, a folder of Parquet files, or a data set's name")
    valid: Text | None = Field(
        default=None, description="a file with the validation part (split: given)"
    )
    test: Text | None = Field(default=None, description="a file with the test part (split: given)")
    user: Text | None = Field(default=None, description="column of the user")
    item: Text | None = Field(default=None, description="column of the item")
    time: Text | None = Field(default=None, description="column of the time")
    weight: Text | None = Field(default=None, description="column of the rating or weight")
    header: bool = Field(
        default=True, description="whether CSV and TSV files start with column names"
    )
    text_ids: bool = Field(
        default=False, description="read ids as text even where they are numbers"
    )
    clean: tuple[Text, ...] = Field(
        default=(),
        max_length=100,
        description="in order: drop-duplicates, min-weight=4, k-core=5, min-user=5, min-item=5",
    )
    split: Literal["leave-last-out", "time", "user-ratio", "given"] | None = Field(
        default=None,
        description="by default what the data set is known by, else leave-last-out",
    )
    short_users: Literal["error", "keep", "drop"] | None = Field(
        default=None,
        description="users of fewer than 3 events: keep to train on (default), drop, or error",
    )
    cold_items: Literal["error", "keep", "drop"] | None = Field(
        default=None,
        description="items never trained on: drop their events, keep as misses, or error",
    )
    valid_fraction: float = Field(default=0.1, gt=0, lt=1)
    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    split_seed: Seed = Field(
        default=0, description="of a random split; all training seeds use the same split"
    )
    shop: dict[str, Any] = Field(
        default_factory=dict, description="parameters of the simulated shop (source: shop)"
    )

    @property
    def title(self) -> str:
        """Return the name of the data as people say it."""
        return "a table in memory" if self.source.startswith(MEMORY) else Path(self.source).name

    @field_validator("clean", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("clean")
    @classmethod
    def _known_steps(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for step in value:
            parse_step(step)
        return value

    @field_validator("shop", mode="before")
    @classmethod
    def _known_parameters(cls, given: Any) -> Any:
        return checked("the shop", given, PARAMETERS) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _given_files(self) -> DataSettings:
        files = self.valid is not None and self.test is not None
        if (self.split == "given") != files or (self.valid is None) != (self.test is None):
            raise ValueError("split: given and both files, valid and test, belong together")
        if self.clean and files:
            raise ValueError("cleaning would change given parts; clean the files before")
        if self.short_users and files:
            raise ValueError("short_users would change given parts; take them out of the files")
        return self

    @model_validator(mode="after")
    def _shop_or_not(self) -> DataSettings:
        if self.clean and self.source == SHOP:
            raise ValueError(
                "the simulated shop knows the truth of its whole log: clean changes it"
            )
        if self.shop and self.source != SHOP:
            raise ValueError(
                f"shop holds parameters of the simulated shop, but source is {self.source}"
            )
        return self
