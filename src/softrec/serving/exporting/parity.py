"""How far an export is from the model that it was made of: scores and lists of the same histories.

The histories are those of the log. The model is asked by torch, the export by the recommender that
serves it, from the files that were written.
"""

from __future__ import annotations

from math import ceil, isfinite, log10
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from softrec.blocks import blocks
from softrec.errors import RunError
from softrec.limits import LIMITS
from softrec.progress import shows_bars
from softrec.serving.base import People
from softrec.serving.exact import Seen, best_of
from softrec.serving.exported import ExportedRecommender
from softrec.serving.exporting.tower import quiet
from softrec.serving.manifest import PT2
from softrec.serving.recommender import Recommender
from softrec.types import products_of

DEPTH = 20
HISTORIES = 10_000
OF_PT2 = 256
"""Histories for which the .pt2 file is asked, too."""


def parity(
    recommender: Recommender, exported: ExportedRecommender, histories: int = HISTORIES
) -> dict[str, Any]:
    """Return the parity report.

    Args:
        recommender: of the model.
        exported: of the files that were made of it.
        histories: how many of the log, at most; evenly over the users.

    Returns:
        histories and items: how many were compared, all items of each history.
        largest_score and largest_difference: of all scores, seen items included.
        depth, equal_lists: the share of lists of the best `depth` items, without seen items where
            these are masked, that are equal in each place; equal_but_ties: that differ at most by
            items whose scores are as close as twice the largest difference.
        largest_difference_pt2: of the numbers in the vectors of some users, for the .pt2 file.
    """
    chosen = np.unique(np.linspace(0, recommender.log.n_users - 1, histories).astype(np.int64))
    everybody = recommender.of_numbers(chosen)
    found = {"largest_score": 0.0, "largest_difference": 0.0}
    lists = []
    bar = tqdm(total=len(chosen), desc="parity", unit="history", disable=not shows_bars())
    with bar:
        for some in everybody.blocks():
            part, pairs = _compared(recommender, exported, some)
            found = largest(found, part)
            lists.append(pairs)
            bar.update(len(some.names))
    equal, gaps = (np.concatenate(parts) for parts in zip(*lists, strict=True))
    close = 2 * found["largest_difference"]
    report = {
        "histories": len(chosen),
        "items": recommender.log.n_items,
        "depth": min(DEPTH, recommender.log.n_items),
        **found,
        "equal_lists": float(equal.mean()),
        "equal_but_ties": float((equal | (gaps <= close)).mean()),
    }
    if (exported.folder / PT2).exists():
        few = recommender.of_numbers(chosen[:OF_PT2])
        report["largest_difference_pt2"] = _of_pt2(recommender, few, exported.folder / PT2)
    return report


def check(report: dict[str, Any], tolerance: float) -> None:
    """Refuse an export whose scores are too far from those of the model.

    Args:
        report: the result of `parity`.
        tolerance: of the largest difference, for scores up to 1; for larger scores times these.

    Raises:
        RunError: if it is.
    """
    scale = max(1.0, report["largest_score"])
    differences = {"ONNX Runtime": report["largest_difference"],
                   "the .pt2 file": report.get("largest_difference_pt2", 0.0)}  # fmt: skip
    for whose, difference in differences.items():
        if not isfinite(difference):
            raise RunError(
                f"the scores of {whose} or of torch are not finite numbers; serve the run itself, "
                "and look at its weights"
            )
        if difference > tolerance * scale:
            enough = 10.0 ** ceil(log10(difference / scale))
            raise RunError(
                f"the scores of {whose} differ from those of torch by up to {difference:.3g}, more "
                f"than {tolerance * scale:.3g}; export with --tolerance {enough:g} "
                "or more if that is close enough, or serve the run itself"
            )


@torch.inference_mode()
def _compared(
    recommender: Recommender, exported: ExportedRecommender, some: People
) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray]]:
    """Return the largest score and difference, and of each list: is it equal, and the largest gap.

    The gap of a place is how much the scores of torch differ of the items that the lists have
    there.
    """
    scores, users = recommender.scores_of(some), exported.vectors(some).users
    offsets = exported.offsets(some)
    seen = Seen(some.rows.offsets, some.rows.items)
    n_items = scores.n_items
    size, depth = max(1, LIMITS.scores // (8 * n_items)), min(DEPTH, n_items)
    found, equal, gaps = {"largest_score": 0.0, "largest_difference": 0.0}, [], []
    for rows in blocks(len(some.names), size):
        ours = scores.fill(rows, scores.like.new_empty(rows.stop - rows.start, n_items))
        ours, theirs = ours.cpu().numpy(), exported.scored.scores(users[rows])
        if offsets is not None:
            offsets.add(rows, theirs)
        apart = float(np.abs(ours - theirs).max())
        found = largest(
            found, {"largest_score": float(np.abs(ours).max()), "largest_difference": apart}
        )
        if recommender.mask_seen:
            ours[seen.of(rows)] = theirs[seen.of(rows)] = -np.inf
        best, other = best_of(ours, depth), best_of(theirs, depth)
        equal.append((best.items == other.items).all(1))
        by_torch = np.take_along_axis(ours, other.items, 1)
        same = by_torch == best.scores  # also -inf, in places without an item
        gaps.append(np.abs(np.where(same, 0, by_torch) - np.where(same, 0, best.scores)).max(1))
    return found, (np.concatenate(equal), np.concatenate(gaps))


def largest(found: dict[str, float], part: dict[str, float]) -> dict[str, float]:
    """Return the larger one of each number; NaN is larger than all numbers.

    Example:
        >>> largest({"a": 1.0, "b": 2.0}, {"a": 3.0, "b": float("nan")})
        {'a': 3.0, 'b': nan}
    """
    return {name: float(np.maximum(found[name], part[name])) for name in found}


@torch.inference_mode()
def _of_pt2(recommender: Recommender, some: People, path: Path) -> float:
    """Return the largest difference of the user vectors of the .pt2 file."""
    scores, batch = products_of(recommender.scores_of(some)), recommender.batch_of(some)
    assert scores is not None
    with quiet():
        tower = torch.export.load(path).module()
    given = (batch.history, batch.time) if recommender.needs_times else (batch.history,)
    users = tower(*(part.cpu() for part in given if part is not None))[0]
    return float((users - scores.users.cpu()).abs().max())
