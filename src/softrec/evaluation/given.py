"""Ranks of the relevant items in given lists of any system."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from softrec.blocks import blocks
from softrec.data.cases import is_in
from softrec.data.interactions import Sequences
from softrec.data.ranked_lists import RankedLists
from softrec.data.splits import Cases, rows_of
from softrec.data.vocabulary import UNKNOWN
from softrec.evaluation.metrics import Ranks
from softrec.limits import LIMITS
from softrec.retrieval import NOT_RANKED


class GivenRanks(NamedTuple):
    """The ranks of the relevant items in given lists, and counts of what was found in the lists."""

    ranks: Ranks
    listed: np.ndarray  # (N,) in how many lists each item is among the first places
    asked: np.ndarray  # (C,) whether a case has a list
    short: int  # how many of these lists have fewer than k items
    seen: int  # listed items in the history, which were left out
    tied: int  # listed items with the same score as another item of the list


def ranks_in(
    lists: RankedLists,
    cases: Cases,
    n_items: int,
    k: int,
    *,
    mask_seen: bool,
    measured: int | None = None,
) -> GivenRanks:
    """Return the rank of each relevant item in the list of its case.

    The rank is the place of the last item of its run of equal scores: ties count against the item,
    as in `softrec.retrieval.rank_of`. An item that is not listed is not ranked.

    Args:
        lists: of any users; users without a case are left out.
        cases: the test cases.
        n_items: size N of the catalogue.
        k: length of a complete list; shorter lists are counted.
        mask_seen: leave items of the history out of the lists, so that the items after them move
            up. Items that are not in the catalogue keep their place.
        measured: how many places of each list count in `listed`; by default k.

    Example:
        >>> import polars as pl
        >>> from softrec.data.interactions import Sequences
        >>> cases = Cases(np.array([7]), Sequences.of([[0]]), Sequences.of([[2]]))
        >>> user, item = np.array([7, 7, 7]), np.array([0, 1, 2])
        >>> lists = RankedLists(user, item, None, [], pl.Series())
        >>> ranks_in(lists, cases, 4, 10, mask_seen=True).ranks.rank.tolist()
        [2]
    """
    order = np.argsort(cases.user, kind="stable")
    begin = np.searchsorted(lists.user, cases.user[order])
    end = np.searchsorted(lists.user, cases.user[order], side="right")
    rank = np.full(len(cases.relevant.items), NOT_RANKED)
    listed = np.zeros(n_items, dtype=np.int64)
    counts = dict.fromkeys(("short", "seen", "tied"), 0)
    for some in blocks(len(cases), LIMITS.cases):
        own = order[some]
        part = _Part.of(lists, begin[some], end[some])
        if mask_seen:
            part = part.without(rows_of(cases.history, own), n_items)
            counts["seen"] += part.dropped
        asked = rows_of(cases.relevant, own)
        place = np.arange(len(asked.items)) + np.repeat(
            cases.relevant.offsets[own] - asked.offsets[:-1], asked.lengths
        )
        rank[place] = part.rank_of(asked, n_items)
        first = part.item[(part.position <= (measured or k)) & (part.item != UNKNOWN)]
        listed += np.bincount(first, minlength=n_items)
        lengths = np.bincount(part.case, minlength=len(own))
        counts["short"] += int(((end[some] > begin[some]) & (lengths < k)).sum())
        counts["tied"] += part.tied
    case = np.repeat(np.arange(len(cases)), cases.relevant.lengths)
    has = np.zeros(len(cases), dtype=bool)
    has[order] = end > begin
    return GivenRanks(Ranks(case, rank, cases.relevant.lengths), listed, has, **counts)


class _Part(NamedTuple):
    """The lists of some cases as flat arrays: a row per listed item."""

    case: np.ndarray  # numbers of the cases from 0, sorted
    item: np.ndarray
    score: np.ndarray | None
    dropped: int = 0

    @classmethod
    def of(cls, lists: RankedLists, begin: np.ndarray, end: np.ndarray) -> _Part:
        lengths = end - begin
        case = np.repeat(np.arange(len(begin)), lengths)
        place = np.arange(len(case)) + np.repeat(begin - (np.cumsum(lengths) - lengths), lengths)
        score = None if lists.score is None else lists.score[place]
        return cls(case, lists.item[place], score)

    def without(self, history: Sequences, n_items: int) -> _Part:
        """Return the lists without the items of the histories."""
        owner = np.repeat(np.arange(len(history)), history.lengths)
        known = is_in(_pairs(self.case, self.item, n_items), _pairs(owner, history.items, n_items))
        left = ~known
        score = None if self.score is None else self.score[left]
        return _Part(self.case[left], self.item[left], score, int(known.sum()))

    @property
    def position(self) -> np.ndarray:
        """Return the place of each listed item in its list, from 1."""
        return np.arange(len(self.case)) - np.searchsorted(self.case, self.case) + 1

    @property
    def _runs(self) -> np.ndarray:
        """Return the starts of runs of equal scores in a list, (r,)."""
        if self.score is None:
            return np.arange(len(self.case))
        begins = np.ones(len(self.case), dtype=bool)
        begins[1:] = (np.diff(self.case) != 0) | (self.score[1:] != self.score[:-1])
        return np.flatnonzero(begins)

    @property
    def tied(self) -> int:
        sizes = np.diff(self._runs, append=len(self.case))
        return int(sizes[sizes > 1].sum())

    def rank_of(self, asked: Sequences, n_items: int) -> np.ndarray:
        """Return the rank of each relevant item, (R,): the place of the last item of its run."""
        sizes = np.diff(self._runs, append=len(self.case))
        last = np.repeat(self._runs + sizes - 1, sizes)
        rank = self.position[last] if len(last) else self.position
        own = _pairs(self.case, self.item, n_items)
        by_pair = np.argsort(own, kind="stable")
        owner = np.repeat(np.arange(len(asked)), asked.lengths)
        wanted = _pairs(owner, asked.items, n_items)
        place = np.searchsorted(own, wanted, sorter=by_pair)
        found = np.full(len(wanted), NOT_RANKED)
        inside = np.flatnonzero(place < len(own))
        at = by_pair[place[inside]]
        hit = own[at] == wanted[inside]
        found[inside[hit]] = rank[at[hit]]
        return found


def _pairs(case: np.ndarray, item: np.ndarray, n_items: int) -> np.ndarray:
    """Return one number for each pair of case and item; -1 for items not in the catalogue."""
    return np.where(item == UNKNOWN, -1, case * n_items + item)
