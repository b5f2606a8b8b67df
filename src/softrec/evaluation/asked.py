"""The task of an evaluation: to predict the next item, seen or new, or the next new item.

Both are sensible. To predict the next item, all items are ranked, including seen ones. To predict
the next new item, seen items are masked, and relevant items among them are left out. It would be
wrong to mask the history *except* the relevant item: a seen relevant item would be ranked among
new items only, and a model that lists the history would look twice as good as it is.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from softrec.data.interactions import Sequences
from softrec.data.splits import Cases, Split
from softrec.errors import DataError

REPEATS = 0.01
"""A log has repeats if a larger fraction of the test items is in the histories."""

Part = Literal["valid", "test"]


class Asked(NamedTuple):
    """The task of the two evaluations of a split, decided once for training and ranking."""

    mask_seen: bool  # the task is to predict new items; seen items are masked
    by_log: bool  # decided by the log, not by the recipe
    valid: Cases
    test: Cases
    counts: dict[str, dict[str, int]]  # of both parts, see `facts`

    @classmethod
    def of(cls, split: Split, mask_seen: bool | None = None) -> Asked:
        """Decide the task on `split`.

        Args:
            split: the data.
            mask_seen: whether the task is to predict new items. If None, the log decides: the task
                is to predict new items unless more than a fraction `REPEATS` of the items of the
                test part are in the history of their user.

        Raises:
            DataError: if the task is to predict new items and a part has none.
        """
        whole = {"valid": split.cases("valid"), "test": split.cases("test")}
        by_log = mask_seen is None
        if mask_seen is None:
            mask_seen = bool(np.mean(whole["test"].repeated) <= REPEATS)
        asked = {part: _new(cases, part) if mask_seen else cases for part, cases in whole.items()}
        counts = {part: _counts(whole[part], asked[part]) for part in whole}
        return cls(mask_seen, by_log, asked["valid"], asked["test"], counts)

    def cases(self, part: Part) -> Cases:
        """Return the cases of a part."""
        return self.valid if part == "valid" else self.test

    def not_negative(self, split: Split, part: Part) -> Sequences:
        """Return the items of each user, (U rows), that cannot be negatives in `part`.

        Items that the user interacts with in this part or later are never negatives. Seen items
        are negatives only if a full ranking would rank them, too.
        """
        return split.known() if self.mask_seen else split.held_out(part)

    def facts(self, negatives: int | None = None) -> dict[str, Any]:
        """Return the entries of run.json about the task.

        For each part: the number of cases that are evaluated, of cases left out because they have
        no new relevant item, of relevant items, and of relevant items in the history.

        Args:
            negatives: how many sampled items each relevant item is ranked among; None: all items.
        """
        among = {"negatives": negatives} if negatives else {}
        return {"mask_seen": self.mask_seen, "by_log": self.by_log, **self.counts, **among}


def sentence_of(facts: dict[str, Any]) -> str:
    """Return the sentence for `Asked.facts`.

    Example:
        >>> part = {"cases": 9, "cases_left_out": 1, "relevant": 10, "repeated": 2}
        >>> sentence_of({"mask_seen": False, "by_log": True, "valid": part, "test": part})
        'all items are ranked, including seen items, because 2 of 10 validation items and 2 of 10 \
test items are in the history (evaluation.mask_seen=true ranks new items only)'
    """
    valid, test = facts["valid"], facts["test"]
    number = facts.get("negatives")
    among = f"each item is ranked among {number:,} sampled items, not among all; " if number else ""
    repeats = " and ".join(
        f"{part['repeated']:,} of {part['relevant']:,} {name} items"
        for name, part in (("validation", valid), ("test", test))
    )
    if not facts["mask_seen"]:
        every = "all items are ranked, including seen items"
        if among:
            every = "seen items are ranked, too"
        there = f"{repeats} are in the history"
        if not facts["by_log"]:  # the recipe says so, whatever the log
            return f"{among}{every}; {there}"
        return f"{among}{every}, because {there} (evaluation.mask_seen=true ranks new items only)"
    new = f"{among}new items are ranked, and seen items are left out"
    if not valid["repeated"] + test["repeated"]:
        return new
    return (
        f"{new}, including relevant ones: {repeats}, with {valid['cases_left_out']:,} and "
        f"{test['cases_left_out']:,} users who have no other relevant item"
    )


def _new(cases: Cases, part: str) -> Cases:
    new = cases.new_only()
    if not len(new):
        raise DataError(
            f"in all {len(cases):,} cases of the {part} part the relevant items are in the "
            "history, so there are no new items to find; rank all items: --set "
            "evaluation.mask_seen=false"
        )
    return new


def _counts(whole: Cases, asked: Cases) -> dict[str, int]:
    return {
        "cases": len(asked),
        "cases_left_out": len(whole) - len(asked),
        "relevant": len(whole.relevant.items),
        "repeated": int(whole.repeated.sum()),
    }
