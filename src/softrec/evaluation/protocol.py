"""Full ranking of evaluation cases: every item of the catalogue competes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import torch
from torch import Tensor

from softrec.data.batches import case_batches
from softrec.data.interactions import Sequences
from softrec.data.splits import Cases
from softrec.evaluation.metrics import Ranks, evaluate, parse_metric
from softrec.retrieval import Seen, rank_of, ranks_within
from softrec.types import Batch, Encoder

# Vectors are computed for this many histories at a time, whatever batches training uses.
ENCODED_AT_ONCE = 1024


def rank_cases(
    encoder: Encoder, cases: Cases, *, length: int, k: int, mask_seen: bool = True
) -> Ranks:
    """Rank the relevant items of each case among all items.

    Args:
        encoder: the model; asked in evaluation mode, without gradients.
        cases: histories and relevant items.
        length: how many of the last items of a history the model reads.
        k: the largest cut-off of interest; with several relevant items a case, ranks beyond it
            are not told apart.
        mask_seen: leave items of the history out of the ranking, except where they are relevant.
    """
    pieces: list[np.ndarray] = []
    owner = np.repeat(np.arange(len(cases)), cases.relevant.lengths)
    with evaluating(encoder), torch.inference_mode():
        items = encoder.items()
        for rows, batch in encoded(encoder, cases, length):
            users = encoder.users(batch)
            seen = seen_of(cases, rows, encoder.n_items, users.device) if mask_seen else None
            if cases.single:
                ranks = rank_of(users, items, batch.label, seen)
            else:
                inside = slice(*cases.relevant.offsets[[rows.start, rows.stop]])
                ranks = ranks_within(
                    users,
                    items,
                    torch.from_numpy(owner[inside] - rows.start).to(users.device),
                    torch.from_numpy(cases.relevant.items[inside]).to(users.device),
                    k,
                    seen,
                )
            pieces.append(ranks.cpu().numpy())
    rank = np.concatenate([*pieces, np.empty(0, dtype=np.int64)])
    return Ranks(owner, rank, cases.relevant.lengths)


def score_cases(
    encoder: Encoder,
    cases: Cases,
    metrics: Sequence[str],
    *,
    length: int,
    mask_seen: bool = True,
) -> pl.DataFrame:
    """Return one row per case and one column per metric, such as "ndcg@10".

    Where every case has one relevant item, its "rank" is the first column.
    """
    largest = max(parse_metric(metric)[1] for metric in metrics)
    ranks = rank_cases(encoder, cases, length=length, k=largest, mask_seen=mask_seen)
    table = evaluate(ranks, metrics)
    return table.insert_column(0, pl.Series("rank", ranks.rank)) if cases.single else table


def encoded(encoder: Encoder, cases: Cases, length: int) -> Iterator[tuple[slice, Batch]]:
    """Yield the batches of `cases` on the device of the model."""
    device = encoder.items().vectors.device
    for rows, batch in case_batches(cases, length, encoder.n_items, ENCODED_AT_ONCE):
        # Cases are asked at the end of each history: there is no row or step to move.
        yield rows, Batch(*(part.to(device) for part in batch[:4]))


def seen_of(cases: Cases, rows: slice, n_items: int, device: torch.device) -> Seen:
    """Return what to mask for some cases: their whole histories, less what is relevant."""
    offsets = cases.history.offsets[rows.start : rows.stop + 1]
    items = cases.history.items[offsets[0] : offsets[-1]]
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    bounds = cases.relevant.offsets[rows.start : rows.stop + 1]
    wanted = cases.relevant.items[bounds[0] : bounds[-1]]
    wanted_owner = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    masked = ~np.isin(owner * n_items + items, wanted_owner * n_items + wanted)
    counts = np.bincount(owner[masked], minlength=len(offsets) - 1)
    return seen_from(Sequences(np.concatenate([[0], np.cumsum(counts)]), items[masked]), device)


def seen_from(sequences: Sequences, device: torch.device) -> Seen:
    """Return sequences as tensors."""
    offsets: Tensor = torch.from_numpy(sequences.offsets.astype(np.int64))
    return Seen(offsets.to(device), torch.from_numpy(sequences.items).to(device))


class evaluating:  # noqa: N801 - used like a function
    """A context in which a model is in evaluation mode, and afterwards as it was."""

    def __init__(self, encoder: Encoder) -> None:
        self.module = encoder if isinstance(encoder, torch.nn.Module) else None
        self.was_training = self.module is not None and self.module.training

    def __enter__(self) -> None:
        if self.module is not None:
            self.module.eval()

    def __exit__(self, *error: object) -> None:
        if self.module is not None:
            self.module.train(self.was_training)
