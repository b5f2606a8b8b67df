"""The log, and how it is read, cleaned and split."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator, model_validator

from softrec.data.named import SHOP
from softrec.data.noise import Contamination
from softrec.errors import one_line
from softrec.recipe.specs.arguments import arguments, checked, fields_of
from softrec.settings import Alpha, Count, Seed, Settings, Text, setting
from softrec.simulation import make_shop, simulate

STEPS = {
    "drop-duplicates": "", "min-weight": "R", "k-core": "K", "min-user": "N", "min-item": "N",
    "pieces": "N",
}  # fmt: skip
"""The cleaning steps, and the kind of number after their `=`."""
SIMULATION = tuple(name for name in arguments(simulate, ("shop",)) if name != "seed")
"""The parameters of the shop that belong to its users."""
PARAMETERS = arguments(make_shop) | arguments(simulate, ("shop",))
SHOP_FIELDS = fields_of(simulate, ("shop", "seed")) | fields_of(make_shop)


def parse_step(step: str) -> tuple[str, float]:
    """Return the name of a cleaning step and its number; 0 for a step without a number.

    Raises:
        ValueError: if there is no such step, or its number is missing or wrong.

    Example:
        >>> parse_step("k-core=5")
        ('k-core', 5.0)
    """
    name, equals, value = step.partition("=")
    if name not in STEPS or (equals and not STEPS[name]):
        known = [f"{name}={number}" if number else name for name, number in STEPS.items()]
        raise ValueError(
            f"no cleaning step {one_line(step, 80)!r}; the cleaning steps are {', '.join(known)}"
        )
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


Kind = Literal["leave-last-out", "time", "session-time", "user-ratio", "given"]
OF_TRAINING = ("false_positives", "contamination")
"""The fields that change the training part alone: rows of a comparison may differ in them."""
MEMORY = "memory:"
"""The prefix of the source of a log in memory; after it comes the fingerprint of the log."""


class DataSettings(Settings):
    """The log, and how it is read, cleaned and split."""

    source: Text = setting(
        text="a file, a folder of Parquet files, the name of a data set, or shop", common=True
    )
    valid: Text | None = setting(
        None, "a file with the validation part (split: given)", common=True
    )
    test: Text | None = setting(None, "a file with the test part (split: given)", common=True)
    user: Text | None = setting(
        None, "column of the user; by default the one with a usual name", common=True
    )
    item: Text | None = setting(
        None, "column of the item; by default the one with a usual name", common=True
    )
    time: Text | None = setting(
        None,
        "column of the time; by default the one with a usual name, else the rows are in order",
        common=True,
    )
    weight: Text | None = setting(
        None, "column of the rating or weight; by default the one with a usual name", common=True
    )
    header: bool = setting(
        True,
        "whether CSV and TSV files start with column names; if not, they are column_1, ...",
        common=True,
    )
    text_ids: bool = setting(
        False, "read ids as text even where they look like numbers", common=True
    )
    items: Text | None = setting(
        None,
        "a table of the items (CSV, TSV, Parquet, JSON lines) with the columns id, title and any "
        "others, which travels with the run; of the simulated shop, by default its own",
        common=True,
    )
    user_table: Text | None = setting(
        None, "a table of the users, with the columns id and any others", common=True
    )
    on_disk: bool | None = setting(
        None,
        "whether the log, Parquet files, stays on disk, sorted and split once in the cache; by "
        "default if the files have more than 1 GiB, see docs/scale.md",
    )
    clean: tuple[Text, ...] = setting(
        (),
        "cleaning steps in order: drop-duplicates, min-weight=4, k-core=5, min-user=5, "
        "min-item=5, pieces=30",
        common=True,
        max_length=100,
    )
    split: Kind | None = setting(
        None,
        "how the log is split; given with files for valid and test; by default the data set's "
        "protocol, else leave-last-out",
        common=True,
    )
    short_users: Literal["error", "keep", "drop"] | None = setting(
        None,
        "users with fewer than 3 events: keep (to train on), drop, or error; by default keep",
        common=True,
    )
    cold_items: Literal["error", "keep", "drop"] | None = setting(
        None,
        "items without a training event: drop their events, keep (as misses), or error; by default "
        "the data set's protocol, else drop",
        common=True,
    )
    valid_fraction: float = setting(
        0.1,
        "fraction of the events for validation, in the splits time and user-ratio, or of the "
        "sequences, in session-time; of published parts, a fraction of the training part",
        gt=0,
        lt=1,
    )
    test_fraction: float = setting(
        0.1,
        "fraction of the events for the test, in the splits time and user-ratio, or of the "
        "sequences, in session-time",
        gt=0,
        lt=1,
    )
    session_moment: Literal["last", "first"] = setting(
        "last",
        "event of a sequence whose time assigns the whole sequence to a part (split: session-time)",
    )
    relevant: Literal["all", "first", "last", "random"] = setting(
        "all",
        "which of a user's events in validation and in test are the relevant items: all, or one of "
        "them; the history ends where the part begins",
        common=True,
    )
    first_items: Count | None = setting(
        None,
        "a cold start: of each user only so many of the first training items are known, to train "
        "on and as histories of validation and test; by default all",
    )
    false_positives: Alpha = setting(
        0.0,
        "noise for a test of robustness: share of each user's training events with a random item, "
        "which the user has no training event with; validation and test stay as logged",
    )
    contamination: Contamination = setting(
        "replace",
        "how false positives get into the training part, if there are any: in place of its events, "
        "or added to them",
    )
    order: Literal["log", "shuffled"] = setting(
        "log",
        "order of the histories; shuffled is a control, which says whether the order matters: each "
        "user's training items but the last, and the histories of validation and test, at random, "
        "see docs/data.md",
    )
    split_seed: Seed = setting(
        0,
        "seed of a random split, of random relevant items, of a shuffled order and of false "
        "positives; all training seeds use the same split",
    )
    shop: dict[str, Any] = setting({}, "parameters of the simulated shop (source: shop)")

    @property
    def title(self) -> str:
        """Return a short name of the data."""
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
            raise ValueError(
                "split: given needs both files, valid and test, and these files need split: given"
            )
        if self.clean and files:
            raise ValueError("cleaning would change given parts; clean the files beforehand")
        if self.short_users and files:
            raise ValueError(
                "short_users would change given parts; remove such users from the files"
            )
        return self

    @model_validator(mode="after")
    def _shop_or_not(self) -> DataSettings:
        if self.clean and self.source == SHOP:
            raise ValueError(
                "the simulated shop knows the true distribution for its whole log only, and "
                "clean would change the log; leave out clean"
            )
        if self.shop and self.source != SHOP:
            raise ValueError(
                f"shop has parameters of the simulated shop, but source is {self.source}"
            )
        return self
