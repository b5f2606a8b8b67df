"""Ranking of evaluation cases, among all items or among negatives sampled for each case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import torch
from torch import Tensor

from softrec import parallel
from softrec.data.batches import case_batches
from softrec.data.interactions import Sequences
from softrec.data.splits import Cases
from softrec.errors import DataError
from softrec.evaluation.listed import Listed
from softrec.evaluation.metrics import Ranks, evaluate, parse_metric
from softrec.evaluation.negatives import rank_among
from softrec.limits import LIMITS
from softrec.retrieval import Seen, ranks_within
from softrec.retrieval.shards import Rankings
from softrec.types import Batch, Model, device_of, evaluating


def rank_cases(
    model: Model,
    cases: Cases,
    *,
    length: int,
    k: int,
    mask_seen: bool = True,
    negatives: np.ndarray | None = None,
    listed: Listed | None = None,
) -> Ranks:
    """Rank the relevant items of each case among all items, or among its sampled negatives.

    Args:
        model: an encoder or a scorer; used in evaluation mode, without gradients.
        cases: histories and relevant items.
        length: how many of the last items of a history the model reads.
        k: the largest cut-off of interest; if a case has several relevant items, ranks beyond k
            are not distinguished.
        mask_seen: leave items of the history out of the ranking; for cases with new relevant items
            only (`Cases.new_only`). Otherwise all items are ranked. Negatives are never masked.
        negatives: (C, n) the items among which the relevant item of each case is ranked; see
            `softrec.evaluation.negatives.sampled_negatives`.
        listed: counts the items of the top-k lists; not used with negatives, for which there are no
            lists.

    Raises:
        DataError: if there are negatives and a case with several relevant items, or if items of
            the history are masked and one of them is relevant.
        ValueError: if there is not one row of negatives for each case.
    """
    _check_negatives(cases, negatives)
    if mask_seen and negatives is None:
        _check_new(cases)
    owner = np.repeat(np.arange(len(cases)), cases.relevant.lengths)
    rank = np.zeros(len(owner), dtype=np.int64)
    with evaluating(model), torch.inference_mode():
        score, device, ranking = model.scores(), device_of(model), Rankings(model.catalogue)
        for rows, batch in batches_of(cases, length, model, parallel.part()):
            scores, label = score(batch), batch.label
            inside = slice(*cases.relevant.offsets[[rows.start, rows.stop]])
            if negatives is not None:
                sampled = torch.from_numpy(negatives[rows]).to(device)
                rank[inside] = rank_among(scores, label, sampled).cpu().numpy()
                continue
            seen = seen_of(cases, rows, device) if mask_seen else None
            best = None
            if not cases.single:
                row = torch.from_numpy(owner[inside] - rows.start).to(device)
                item = torch.from_numpy(cases.relevant.items[inside].astype(np.int64)).to(device)
                most = max(k + 1, listed.k if listed else 0)
                best = ranking.top_k(scores, min(most, model.n_items), seen)
                ranks = ranks_within(best, row, item, k)
            elif listed is not None:
                ranks, best = ranking.both(scores, label, listed.k, seen)
            else:
                ranks = ranking.rank_of(scores, label, seen)
            if listed is not None and best is not None:
                listed.add(best, rows, scores)
            rank[inside] = ranks.cpu().numpy()
    if listed is not None:
        listed.add_others()
    return Ranks(owner, parallel.summed_array(rank), cases.relevant.lengths)


def score_cases(
    model: Model,
    cases: Cases,
    metrics: Sequence[str],
    *,
    length: int,
    mask_seen: bool = True,
    negatives: np.ndarray | None = None,
    listed: Listed | None = None,
) -> pl.DataFrame:
    """Return one row per case and one column per metric, such as "ndcg@10".

    If every case has one relevant item, its "rank" is the first column. Arguments and errors are
    those of `rank_cases`.
    """
    largest = max(parse_metric(metric)[1] for metric in metrics)
    ranks = rank_cases(
        model, cases, length=length, k=largest, mask_seen=mask_seen, negatives=negatives,
        listed=listed,
    )  # fmt: skip
    table = evaluate(ranks, metrics)
    return table.insert_column(0, pl.Series("rank", ranks.rank)) if cases.single else table


def _check_negatives(cases: Cases, negatives: np.ndarray | None) -> None:
    if negatives is None:
        return
    if negatives.ndim != 2 or len(negatives) != len(cases):
        raise ValueError(
            f"negatives need one row for each of the {len(cases)} cases, got the shape "
            f"{negatives.shape}"
        )
    check_single(cases)


def check_single(cases: Cases) -> None:
    """Refuse cases that cannot be ranked among sampled negatives.

    Raises:
        DataError: if one has several relevant items.
    """
    if not cases.single:
        case = int(np.argmax(cases.relevant.lengths != 1))
        raise DataError(
            "only cases with one relevant item are ranked among sampled negatives, but case "
            f"{case} has {cases.relevant.lengths[case]}; rank among all items, ask for one item of "
            "each user (--relevant last), or split leave-last-out"
        )


def _check_new(cases: Cases) -> None:
    """Refuse to mask histories that contain a relevant item."""
    repeated = int(cases.repeated.sum())
    if repeated:
        raise DataError(
            f"{repeated:,} of {len(cases.relevant.items):,} relevant items "
            f"{'is' if repeated == 1 else 'are'} in the history that is masked; "
            "rank all items (mask_seen=False), or only look for new ones "
            "(cases.new_only())"
        )


def batches_of(
    cases: Cases, length: int, model: Model, part: tuple[int, int] = (0, 1)
) -> Iterator[tuple[slice, Batch]]:
    """Yield the batches of `cases` on the device of the model, with their rows in `cases`.

    The batches of one of several processes are some of these. They are the same for any number of
    processes, so that the scores are equal to the last digit.
    """
    device = device_of(model)
    for rows, batch in case_batches(cases, length, model.n_items, LIMITS.encoded, part):
        yield rows, batch.to(device)


def seen_of(cases: Cases, rows: slice, device: torch.device) -> Seen:
    """Return the items to mask for some cases: their whole histories."""
    offsets = cases.history.offsets[rows.start : rows.stop + 1]
    items = cases.history.items[offsets[0] : offsets[-1]]
    return seen_from(Sequences(offsets - offsets[0], items), device)


def seen_from(sequences: Sequences, device: torch.device) -> Seen:
    """Return sequences as tensors."""
    offsets: Tensor = torch.from_numpy(sequences.offsets.astype(np.int64))
    items = torch.from_numpy(sequences.items.astype(np.int64, copy=False))
    return Seen(offsets.to(device), items.to(device))
