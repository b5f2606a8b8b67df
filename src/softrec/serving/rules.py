"""Business rules of a request: which items may be recommended, and how many of a kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from softrec.data.vocabulary import UNKNOWN, Vocabulary
from softrec.errors import RulesError, one_line, shown
from softrec.serving.catalogue import Catalogue
from softrec.serving.where import chosen

Id = StrictInt | StrictStr
UNKNOWN_FIELD = "extra_forbidden"


class Rules(BaseModel):
    """The rules of a request, or of a batch of users; the same in Python, in files and over HTTP.

    What `allow`, `block`, `where` or `mask_seen` leave out is never recommended, pinned or not.

    Attributes:
        allow: only these items.
        block: never these items.
        where: only items for which this condition on the columns of the table of items is true, in
            SQL as Polars reads it: null, as of an item without a value, is not.
        at_most: column -> the most items with equal values in that column; items without a value
            are not limited.
        pinned: these items come first, in this order; `at_most` counts them, too.
        mask_seen: whether items of the history are left out; None as the recommender was made.

    Example:
        >>> rules = Rules.of({"where": "stock > 0", "at_most": {"category": 2}})
        >>> rules.at_most
        {'category': 2}
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow: tuple[Id, ...] | None = None
    block: tuple[Id, ...] = ()
    where: str | None = None
    at_most: dict[str, Annotated[int, Field(strict=True, ge=1)]] = {}
    pinned: tuple[Id, ...] = ()
    mask_seen: bool | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Rules:
        blocked = set(self.block) & set(self.pinned)
        if blocked:
            raise ValueError(
                f"items are both in block and in pinned: {shown(sorted(blocked, key=str))}"
            )
        return self

    @classmethod
    def of(cls, rules: Rules | Mapping[str, Any] | None) -> Rules:
        """Return rules from rules, from plain data such as JSON has, or none.

        Raises:
            RulesError: if a rule is unknown or has a wrong value.
        """
        if isinstance(rules, Rules):
            return rules
        try:
            return cls.model_validate({} if rules is None else rules)
        except ValidationError as error:
            raise RulesError(_complaint(error)) from error

    @property
    def selection(self) -> tuple[Any, ...]:
        """Return what the mask depends on."""
        return self.allow, self.block, self.where

    def mask(self, catalogue: Catalogue | None, vocabulary: Vocabulary) -> np.ndarray | None:
        """Return which items may be recommended, (N,) bool; None if all may.

        Ids that the vocabulary does not have cannot be recommended anyway, and are passed over.

        Args:
            catalogue: the table that `where` reads.
            vocabulary: the ids of the items.

        Raises:
            RulesError: if `where` cannot be used, or no item of `allow` is known.
            DataError: if ids are of another kind than those of the vocabulary.
        """
        if self.allow is None and self.where is None and not self.block:
            return None
        mask = np.full(len(vocabulary), self.allow is None)
        if self.allow is not None:
            if not self.allow:
                raise RulesError(
                    "allow is empty, so that no item is left; give at least one known item, or "
                    "leave out allow"
                )
            allowed = vocabulary.numbers(self.allow)
            allowed = allowed[allowed != UNKNOWN]
            if not len(allowed):
                raise RulesError(
                    f"no item of allow is in the catalogue: {shown(self.allow)}; give at least one "
                    "known item, or leave out allow"
                )
            mask[allowed] = True
        blocked = vocabulary.numbers(self.block)
        mask[blocked[blocked != UNKNOWN]] = False
        if self.where is not None:
            mask &= chosen(_needed(catalogue, "where").aligned(vocabulary), self.where)
        return mask


def _complaint(error: ValidationError) -> str:
    """Return what is wrong with the first of the fields that cannot be read."""
    first = error.errors(include_url=False)[0]
    text = first["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
    if not first["loc"]:
        return f"rules: {text}"
    known = f"; there are {', '.join(Rules.model_fields)}" if first["type"] == UNKNOWN_FIELD else ""
    place = ".".join(str(part) for part in first["loc"][:2])
    return f"rules: {place}: {text}, got {one_line(repr(first['input']), 80)}{known}"


def _needed(catalogue: Catalogue | None, rule: str) -> Catalogue:
    if catalogue is None:
        raise RulesError(
            f"{rule} reads columns of a table of the items, but there is none; give one with "
            "--items (in Python: items=)"
        )
    return catalogue
