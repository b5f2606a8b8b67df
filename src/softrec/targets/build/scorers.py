"""A counted model as a teacher: its best items for every training context."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from softrec.blocks import blocks
from softrec.data.batches import Examples, padded_histories
from softrec.limits import LIMITS
from softrec.targets.build.contexts import PROBABILITIES, Advance
from softrec.types import Batch, Scorer, evaluating


def best_of_scorer(
    scorer: Scorer,
    data: Examples,
    temperature: float,
    k: int,
    folder: Path,
    *,
    length: int,
    advance: Advance,
) -> None:
    """Write a scorer's k best items and their probabilities, (C, k), to .npy files.

    Formula: the k largest of softmax(scores / T) over all items. If all other items have the same
    score, such as items that no neighbour has, then these k and an even rest are the exact softmax.

    Args:
        scorer: a fitted scorer.
        data: the training examples; their contexts are numbered by `Examples.contexts`.
        temperature: T > 0.
        k: how many items.
        folder: for the files items.npy and probabilities.npy.
        length: how many of the last items of a history the scorer reads.
        advance: called after each block with its number of contexts.
    """
    example, start, stop = data.stretches(np.arange(data.n_contexts))
    start, shape = np.maximum(start, stop - length), (data.n_contexts, k)
    kept, weights = (
        np.lib.format.open_memmap(folder / name, mode="w+", dtype=dtype, shape=shape)
        for name, dtype in (("items.npy", np.int32), (PROBABILITIES, np.float32))
    )
    with evaluating(scorer), torch.no_grad():
        for some in blocks(len(start), LIMITS.encoded):
            history, time = padded_histories(
                data.sequences, start[some], stop[some], scorer.n_items
            )
            numbers = torch.from_numpy(example[some])
            user = torch.from_numpy(data.user[example[some]])
            batch = Batch(history, torch.zeros_like(numbers), numbers, user, time=time)
            scores = scorer(batch)
            row_bytes = scorer.n_items * scores.like.element_size()
            for rows in blocks(len(scores), LIMITS.scores // row_bytes):
                block = scores.like.new_empty(rows.stop - rows.start, scorer.n_items)
                logits = scores.fill(rows, block).div_(temperature)
                probs, best = logits.softmax(1).topk(k, dim=1)
                inside = slice(some.start + rows.start, some.start + rows.stop)
                kept[inside], weights[inside] = best.numpy(), probs.numpy()
            advance(len(history))
