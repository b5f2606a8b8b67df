"""Where the log is and how it is cleaned and split."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from softrec.experiments.specs.base import Spec


class DataSpec(Spec):
    """Where the log is and how it is cleaned and split."""

    source: str = Field(description="a file, a folder of Parquet files, or a data set's name")
    valid: str | None = Field(
        default=None, description="a file with the validation part (split: given)"
    )
    test: str | None = Field(default=None, description="a file with the test part (split: given)")
    user: str | None = Field(default=None, description="column of the user")
    item: str | None = Field(default=None, description="column of the item")
    time: str | None = Field(default=None, description="column of the time")
    weight: str | None = Field(default=None, description="column of the rating or weight")
    header: bool = Field(
        default=True, description="whether CSV and TSV files start with column names"
    )
    text_ids: bool = Field(
        default=False, description="read ids as text even where they are numbers"
    )
    clean: tuple[str, ...] = Field(
        default=(),
        description="in order: drop-duplicates, min-weight=4, k-core=5, min-user=5, min-item=5",
    )
    split: Literal["leave-last-out", "time", "user-ratio", "given"] | None = Field(
        default=None,
        description="by default what the data set is known by, else leave-last-out",
    )
    short_users: Literal["error", "keep", "drop"] | None = Field(
        default=None,
        description="users too short for leave-last-out: train on them only, or drop them",
    )
    cold_items: Literal["error", "keep", "drop"] | None = Field(
        default=None,
        description="items never trained on: keep as misses, or drop their events",
    )
    valid_share: float = Field(default=0.1, gt=0, lt=1)
    test_share: float = Field(default=0.1, gt=0, lt=1)
    split_seed: int = Field(
        default=0, description="of a random split; all training seeds share one split"
    )
    shop: dict[str, Any] = Field(
        default_factory=dict, description="dials of the simulated shop (source: shop)")  # fmt: skip

    @field_validator("clean", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _given_files(self) -> DataSpec:
        files = self.valid is not None and self.test is not None
        if (self.split == "given") != files or (self.valid is None) != (self.test is None):
            raise ValueError("split: given and both files, valid and test, belong together")
        if self.clean and files:
            raise ValueError("cleaning would change given parts; clean the files before")
        return self
