"""Cold items: items of validation or test without a training event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError, number_of, shown

if TYPE_CHECKING:
    from softrec.data.splits import Split

Choice = Literal["error", "keep", "drop"]


def check_cold(split: Split, cold: Choice, problems: Sequence[str] = ()) -> Split:
    """Handle cold items: they have no training event, so that no model can learn them.

    Args:
        split: the split.
        cold: "drop" removes their events from validation and test, "keep" counts them as misses;
            the catalogue is not changed. "error" refuses them.
        problems: other problems, which are reported together with these.

    Raises:
        DataError: if there are problems, if there are cold items and `cold` is "error", or if
            validation or test becomes empty.
    """
    unseen = split.train.item_counts == 0
    lost = np.flatnonzero(unseen & (split.valid.item_counts + split.test.item_counts > 0))
    if len(lost) and cold == "error":
        problems = [
            *problems,
            cold_problem(lost, split.train.items),
        ]
    if problems:
        raise DataError("; and ".join(problems))
    if not len(lost):
        return split
    valid, test = (
        part.where(~unseen[part.frame["item"].to_numpy()]) for part in (split.valid, split.test)
    )
    events = len(split.valid) + len(split.test) - len(valid) - len(test)
    aside = replace(split.aside, cold_items=len(lost), cold_events=events, cold=cold)
    if cold == "keep":
        return replace(split, aside=aside)
    for before, after, kind in ((split.valid, valid, "validation"), (split.test, test, "test")):
        if len(before) and not len(after):
            raise lost_part(kind)
    return replace(split, valid=valid, test=test, aside=aside)


def cold_problem(lost: np.ndarray, items: Vocabulary) -> str:
    """Return a complaint about cold items, by their numbers."""
    return (
        f"{number_of(len(lost), 'item occurs', 'items occur')} only in the validation "
        f"or test part, such as {shown(items.ids(lost[:3]))}; no model can learn these: keep "
        "them as certain misses (--cold-items keep) or drop their events (--cold-items drop)"
    )


def lost_part(kind: str) -> DataError:
    """Return the error about a part that has cold items only."""
    return DataError(
        f"no training event has any of the items of the {kind} part; choose another split, or keep "
        "these items as certain misses (--cold-items keep)"
    )
