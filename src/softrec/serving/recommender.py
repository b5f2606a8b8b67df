"""Recommendations: raw ids in, raw ids out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch

from softrec.data.batches import padded_histories
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import rows_of
from softrec.data.vocabulary import UNKNOWN
from softrec.errors import DataError, shown
from softrec.retrieval import Seen, top_k
from softrec.types import Batch, Encoder

USERS_AT_ONCE = 1024


class UnknownItemWarning(UserWarning):
    """A history names items that the model has never seen; they were skipped."""


class Recommender:
    """A trained model with its log: the best items for known users and for any history.

    Args:
        encoder: the model.
        log: all known interactions, for the histories of known users and the catalogue.
        length: how many of the last items of a history the model reads.
    """

    def __init__(self, encoder: Encoder, log: Interactions, *, length: int) -> None:
        self.encoder = encoder
        self.log = log
        self.length = length
        if isinstance(encoder, torch.nn.Module):
            encoder.eval()

    def recommend(
        self,
        users: Iterable[object] | None = None,
        k: int = 10,
        *,
        histories: Mapping[Any, Sequence[object]] | None = None,
        mask_seen: bool = True,
    ) -> pl.DataFrame:
        """Return the `k` best items of each user as rows user, rank, item, score.

        Args:
            users: raw ids of users of the log; their whole history is used.
            k: how many items.
            histories: name -> raw item ids, oldest first, for people who are not in the log, or
                with a history of their own.
            mask_seen: leave out items of the history. If fewer than `k` others are left, the
                table has fewer rows for that user.

        Raises:
            DataError: if a user is unknown, or a history has no known item.

        Warns:
            UnknownItemWarning: with the items of histories that were skipped.
        """
        names: list[object] = [] if users is None else list(users)
        known = self._numbers(names)
        rows = rows_of(self.log.sequences, known)
        strangers = [self._of_items(name, items) for name, items in (histories or {}).items()]
        numbers = np.concatenate([known, np.full(len(strangers), UNKNOWN)])
        if histories:
            # When their items were taken is not known, so these rows go without any times: a
            # model that reads times refuses them by itself.
            rows = Sequences.of([*(rows[row] for row in range(len(rows))), *strangers])
            names += histories
        if not names:
            raise DataError("recommend needs users of the log or histories, and got neither")
        k = min(k, self.log.n_items)
        blocks = (slice(b, b + USERS_AT_ONCE) for b in range(0, len(names), USERS_AT_ONCE))
        found = [
            self._best(numbers[some], rows_of(rows, np.arange(len(names))[some]), k, mask_seen)
            for some in blocks
        ]
        items = np.concatenate([block[0] for block in found])
        scores = np.concatenate([block[1] for block in found])
        return pl.DataFrame(
            {
                "user": pl.Series(names, strict=False).gather(np.repeat(np.arange(len(names)), k)),
                "rank": np.tile(np.arange(1, k + 1), len(names)),
                "item": self.log.items.ids(items.ravel()),
                "score": scores.ravel(),
            }
        ).filter(pl.col("score") > -np.inf)

    def _numbers(self, users: list[object]) -> np.ndarray:
        """Return the numbers of users of the log, (B,) int64."""
        numbers = self.log.users.numbers(users)
        unknown = [raw for raw, number in zip(users, numbers, strict=True) if number == UNKNOWN]
        if unknown:
            raise DataError(
                f"unknown users: {shown(unknown)}; give the items of somebody who is "
                "not in the log with --history (in Python: histories={name: items})"
            )
        return numbers

    def _of_items(self, name: object, items: Sequence[object]) -> np.ndarray:
        numbers, unknown = self.log.history_numbers(items)
        if not len(numbers):
            raise DataError(
                f"no item of the history of {name!r} is in the catalogue "
                f"({shown(items)}); give at least one known item"
            )
        if unknown:
            warnings.warn(
                f"the history of {name!r} has unknown items, which are skipped: {shown(unknown)}",
                UnknownItemWarning,
                stacklevel=3,
            )
        return numbers

    def _best(
        self, users: np.ndarray, rows: Sequences, k: int, mask_seen: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return items and scores, (b, k) each."""
        n_items = self.encoder.n_items
        stop = rows.offsets[1:]
        start = np.maximum(rows.offsets[:-1], stop - self.length)
        unasked = torch.zeros(len(rows), dtype=torch.int64)
        with torch.inference_mode():
            items = self.encoder.items()
            device = items.vectors.device
            history, time = padded_histories(rows, start, stop, n_items)
            batch = Batch(history, unasked, unasked, torch.from_numpy(users), time=time).to(device)
            seen = None
            if mask_seen:
                seen = Seen(
                    torch.from_numpy(rows.offsets).to(device),
                    torch.from_numpy(rows.items).to(device),
                )
            best = top_k(self.encoder.users(batch), items, k, seen)
        return best.items.cpu().numpy(), best.scores.float().cpu().numpy()
