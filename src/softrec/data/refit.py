"""The split of a training with held-out events, once they have judged the one before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import polars as pl

from softrec.data.cases import log_in_random_order
from softrec.data.disk.split import StoredSplit
from softrec.data.interactions import Interactions
from softrec.data.splits import Split

HeldOut = Literal["valid", "all"]
"""What goes into the training part: the validation part, or all that was held out."""


def for_refit(split: Split, on: HeldOut) -> Split:
    """Return the split of a training with held-out events; its `judged` is the one before it.

    "valid" adds the validation part, with the whole histories before its cases where a split has
    these for cases alone; the test part and the histories before it stay as they are. "all" adds
    everything. False positives stay as they are, and a shuffled order is one of the larger part.

    Args:
        split: of the training that was judged.
        on: what is added to its training part.

    Example:
        >>> from softrec.data.interactions import Sequences
        >>> from softrec.data.splits import leave_last_out
        >>> log = Interactions.from_sequences(Sequences.of([[0, 1, 2, 3], [1, 0, 3, 2]]))
        >>> split = leave_last_out(log, cold="keep")
        >>> larger = for_refit(split, "valid")
        >>> larger.train.sequences[0].tolist(), larger.test.sequences[0].tolist()
        ([0, 1, 2], [3])
    """
    if isinstance(split, StoredSplit):
        return replace(split, train=split.before("test") if on == "valid" else split.whole(),
                       judged=split)  # fmt: skip
    added, context = _added(split, on)
    train = _with(split.train, added)
    if split.order == "shuffled":
        train = log_in_random_order(train, split.seed)
    return replace(
        split,
        train=train,
        logged=None if split.logged is None else _with(split.logged, added),
        valid=_none(split.valid),
        test=split.test if on == "valid" else _none(split.test),
        context=context,
        judged=split,
    )


def _added(split: Split, on: HeldOut) -> tuple[list[Interactions], Interactions | None]:
    """Return the parts that are added, in the order of events, and what is left of the context."""
    context = split.context
    if on == "all":
        return [*([] if context is None else [context]), split.valid, split.test], None
    if context is None:
        return [split.valid], None
    known = (split.valid.user_counts > 0)[context.frame["user"].to_numpy()]
    return [context.where(known), split.valid], context.where(~known)


def _with(log: Interactions, added: list[Interactions]) -> Interactions:
    return replace(log, frame=pl.concat([log.frame, *(part.frame for part in added)]))


def _none(log: Interactions) -> Interactions:
    return replace(log, frame=log.frame.head(0))
