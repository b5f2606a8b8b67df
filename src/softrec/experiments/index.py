"""An index for the items of an export or a run: measured, chosen, and kept in the export."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from softrec.errors import RunError, no_such
from softrec.experiments.store.folders import held
from softrec.extras import has, require
from softrec.serving.base import RecommenderBase
from softrec.serving.exact import ItemScores
from softrec.serving.exported import ExportedRecommender
from softrec.serving.index.kinds import KINDS
from softrec.serving.index.ranking import FEW
from softrec.serving.index.report import EXACT, Measured, Questions, choose, report
from softrec.serving.index.stored import store
from softrec.serving.manifest import is_export
from softrec.serving.prior import Offsets, stacked

LOGGER = logging.getLogger(__name__)
AUTO = "auto"
FAST, RECALL, QUESTIONS, DEPTH = 10.0, 0.95, 1000, 20
OF_USERS = "users of the log"
OF_ITEMS = "histories of one item, because the export has no users"


class Indexed(NamedTuple):
    """The rows of the report, and the one that is served with."""

    rows: list[Measured]
    chosen: Measured
    stored: bool


def index_folder(
    folder: str | Path,
    *,
    kind: str = AUTO,
    k: int = DEPTH,
    questions: int = QUESTIONS,
    fast: float = FAST,
    recall: float = RECALL,
    trust: bool = False,
) -> Indexed:
    """Compare the exact ranking with indices of the items, and keep the chosen one in an export.

    By default the exact ranking is chosen if its median is at most `fast` milliseconds a question
    on this machine, else the fastest index with the recall. A run is only measured.

    Args:
        folder: of an export, or of a run.
        kind: "auto", "exact", or the name of a kind of index, which is chosen then: the fastest
            effort with the recall, else the most thorough one.
        k: of the recall.
        questions: how many users of the log are asked for; of an export without users, how many
            histories of one item.
        fast: milliseconds.
        recall: the least share of the k best items that an index finds.
        trust: do not check the files of a run.

    Raises:
        RunError: if there is neither export nor run, or there is no such kind.
        SoftrecError: if a package is missing.
    """
    folder = Path(folder)
    kinds = _kinds(kind)
    if is_export(folder):
        served = ExportedRecommender(folder)
        items, asked = served.scored, _asked(served, questions)
        whose = OF_USERS if served.log.n_users else OF_ITEMS
    else:
        items, asked = _of_run(folder, questions, trust)
        whose = OF_USERS
    k = min(k, len(items))
    if kinds and k * FEW > len(items):
        if kind != AUTO:
            raise RunError(
                f"an index is asked for at most an eighth of the items, and {k} are more than an "
                f"eighth of {len(items):,}; a small catalogue needs no index"
            )
        kinds = []
    LOGGER.info("%s items, and %s questions: %s", f"{len(items):,}", f"{len(asked.users):,}", whose)
    rows = report(items, asked, k, kinds)
    chosen = rows[0] if kind == EXACT else _chosen(rows, kind, fast, recall)
    if not is_export(folder):
        return Indexed(rows, chosen, stored=False)
    about = {"k": k, "questions": len(asked.users), "fast": fast, "recall": recall}
    with held(folder):
        store(folder, rows, chosen, about)
    return Indexed(rows, chosen, stored=True)


def _kinds(kind: str) -> list[str]:
    """Return the kinds to measure: the one that is named, or those that are installed."""
    if kind == AUTO:
        there = [name for name, one in KINDS.items() if has(one.package)]
        if not there:
            require("faiss", "an index", extra="index")
        return there
    if kind == EXACT:
        return []
    if kind not in KINDS:
        raise RunError(no_such("kind of index", kind, [AUTO, EXACT, *KINDS]))
    package = KINDS[kind].package
    if not has(package):
        require(package, "this index", extra="index" if package == "faiss" else "")
    return [kind]


def _chosen(rows: Sequence[Measured], kind: str, fast: float, recall: float) -> Measured:
    if kind == AUTO:
        return choose(rows, fast, recall)
    good = [row for row in rows[1:] if row.recall >= recall]
    return min(good, key=lambda row: row.p50, default=rows[-1])


def _asked(served: ExportedRecommender, questions: int) -> Questions:
    """Return users of the log, or histories of one item where there are none."""
    if served.log.n_users:
        people = served.of_numbers(_evenly(served, questions))
    else:
        some = np.unique(np.linspace(0, served.log.n_items - 1, questions).astype(np.int64))
        people = served.of_histories(some[:, None])
    parts = [(served.vectors(part).users, served.offsets(part)) for part in people.blocks()]
    return _joined(parts)


def _joined(parts: Sequence[tuple[np.ndarray, Offsets | None]]) -> Questions:
    users, offsets = zip(*parts, strict=True)
    known = [part for part in offsets if part is not None]
    return Questions(np.concatenate(users), stacked(known) if known else None)


def _evenly(served: RecommenderBase, questions: int) -> np.ndarray:
    return np.unique(np.linspace(0, served.log.n_users - 1, questions).astype(np.int64))


def _of_run(folder: Path, questions: int, trust: bool) -> tuple[ItemScores, Questions]:
    """Return the items of a run, and users of its log."""
    from softrec.experiments.train import open_run
    from softrec.serving.exporting.write import arrays_of, encoder_of

    recommender = open_run(folder, trust=trust).recommender()
    encoder_of(recommender)
    asked = recommender.of_numbers(_evenly(recommender, questions))
    parts = [arrays_of(recommender.scores_of(some)) for some in asked.blocks()]
    return parts[0][0], _joined([part[1:] for part in parts])
