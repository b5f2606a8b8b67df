"""Exact against approximate: what an index finds of the best items, and what it costs.

Each question is of one user, one after the other, as a service is asked; what the index finds is
scored exactly, and this is part of the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from softrec.progress import shows_bars
from softrec.serving.exact import ExactRanking, ItemScores
from softrec.serving.index.kinds import KINDS, Index
from softrec.serving.index.ranking import IndexRanking
from softrec.serving.prior import Offsets

EXACT = "exact"
TIMED = 5.0
"""Seconds of questions for each row, at most."""
NOTHING = np.empty(0, dtype=np.int64)


class Measured(NamedTuple):
    """A row of the report; `built` is None for the exact ranking, which builds nothing."""

    kind: str
    settings: dict[str, int]
    effort: int | None
    recall: float  # share of the k best items that are found
    p50: float  # milliseconds a question
    p99: float
    mib: float  # of the file of the index, or of the item vectors
    seconds: float  # to build
    built: Index | None = None

    def plain(self) -> dict[str, Any]:
        """Return the row as plain data."""
        return {name: part for name, part in self._asdict().items() if name != "built"}


class Questions(NamedTuple):
    """The users that are asked for."""

    users: np.ndarray  # (Q, D) or (Q, K, D)
    offsets: Offsets | None = None  # of models with a prior


def report(items: ItemScores, asked: Questions, k: int, kinds: Sequence[str]) -> list[Measured]:
    """Return a row for the exact ranking, and one for each kind and effort.

    Args:
        items: the items.
        asked: the questions.
        k: how many items of each.
        kinds: names of `KINDS`.
    """
    exact = ExactRanking(items, asked.users, None, asked.offsets)
    best, _ = exact.best(slice(0, len(asked.users)), k, None, NOTHING)
    size = (items.vectors.nbytes + (0 if items.bias is None else items.bias.nbytes)) / 2**20
    rows = [Measured(EXACT, {}, None, 1.0, *_times(exact, len(asked.users), k), size, 0.0)]
    efforts = sum(len(KINDS[kind].efforts) for kind in kinds)
    with tqdm(total=efforts, desc="index", disable=not shows_bars()) as bar:
        for kind in kinds:
            for row in _of_kind(KINDS[kind], items, asked, k, best.items):
                rows.append(row)
                bar.update()
    return rows


def _of_kind(
    kind: type[Index], items: ItemScores, asked: Questions, k: int, best: np.ndarray
) -> Iterator[Measured]:
    begin = time.perf_counter()
    built = kind.build(items)
    seconds = time.perf_counter() - begin
    with TemporaryDirectory() as folder:
        path = Path(folder) / kind.file
        built.save(path)
        mib = path.stat().st_size / 2**20
    for effort in kind.efforts:
        built.set_effort(effort)
        ranking = IndexRanking(built, items, asked.users, None, asked.offsets)
        found, _ = ranking.best(slice(0, len(asked.users)), k, None, NOTHING)
        yield Measured(
            kind.kind, built.settings(), effort, recall(found.items, best),
            *_times(ranking, len(asked.users), k), mib, seconds, built,
        )  # fmt: skip


def recall(found: np.ndarray, best: np.ndarray) -> float:
    """Return the share of the best items (Q, k) that are among the found ones.

    Example:
        >>> recall(np.array([[3, 1], [5, 6]]), np.array([[1, 2], [6, 5]]))
        0.75
    """
    return float(np.mean([np.isin(*row).mean() for row in zip(best, found, strict=True)]))


def _times(ranking: ExactRanking | IndexRanking, n_users: int, k: int) -> tuple[float, float]:
    """Return the median and the 99th percentile of the milliseconds of a question."""
    taken: list[float] = []
    end = time.perf_counter() + TIMED
    for row in range(n_users):
        begin = time.perf_counter()
        ranking.best(slice(row, row + 1), k, None, NOTHING)
        taken.append(1e3 * (time.perf_counter() - begin))
        if time.perf_counter() > end:
            break
    p50, p99 = np.quantile(taken, [0.5, 0.99])
    return float(p50), float(p99)


def choose(rows: Sequence[Measured], fast: float, least: float) -> Measured:
    """Return the row to serve with: the exact ranking where it is fast enough.

    Else it is the fastest index that finds enough; the exact ranking if there is none, or none that
    is faster.

    Args:
        rows: of the report.
        fast: milliseconds; the exact ranking is fast enough if its median is not above them.
        least: the recall that an index must have.
    """
    exact = rows[0]
    if exact.p50 <= fast:
        return exact
    good = [row for row in rows[1:] if row.recall >= least and row.p50 < exact.p50]
    return min(good, key=lambda row: row.p50, default=exact)
