"""From sequences to training examples and batches, with array operations only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from softrec.blocks import blocks
from softrec.data.interactions import Sequences
from softrec.data.padding import Padding, filled, places_of
from softrec.data.shuffled import Shuffled
from softrec.data.splits import Cases
from softrec.data.windows import Lazy, ending_anywhere
from softrec.errors import DataError
from softrec.limits import LIMITS
from softrec.renamed import current_value
from softrec.types import Batch

Windows = Literal["last", "positions", "prefixes", "sliding", "interactions"]


@dataclass(frozen=True)
class Examples:
    """Training examples as ranges of the sequences; no item is copied before it is needed.

    Example e is `sequences.items[start[e]:stop[e]]`. If `every` is False, its last item is the
    label and the others are the history. Otherwise each item after the first is a label, and the
    items before it are its history.

    A context is a history for which training makes a prediction, without the label. The contexts
    have the numbers 0 .. C-1. If `every` is False the number of a context is that of the example,
    otherwise it is the number of the example's first context plus the step.

    Example:
        >>> data = examples(Sequences.of([[5, 6, 7], [8, 9]]), "positions", 3)
        >>> data.n_contexts, data.contexts(np.array([0, 1]), np.array([1, 0])).tolist()
        (3, [1, 2])
        >>> [part.tolist() for part in data.histories()]
        [[0, 0, 3], [1, 2, 4]]
    """

    sequences: Sequences
    start: np.ndarray | Lazy  # (E,) int64
    stop: np.ndarray | Lazy  # (E,) int64
    user: np.ndarray | Lazy  # (E,) int64
    length: int  # longest history L
    every: bool = False

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def _first(self) -> np.ndarray:
        """Return the number of each example's first context, and C at the end: (E + 1,)."""
        counts = self.stop[:] - self.start[:] - 1
        return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    @property
    def n_contexts(self) -> int:
        """Return C, the number of contexts, which is the number of predictions in an epoch."""
        return int(self._first[-1]) if self.every else len(self)

    def contexts(self, example: np.ndarray, step: np.ndarray | None) -> np.ndarray:
        """Return the numbers of the contexts of a training batch, (P,) int64.

        Args:
            example: `Batch.example`, (P,).
            step: `Batch.step`, (P,); None if each example has one prediction.

        Raises:
            ValueError: if every position is predicted and no steps are given, or the reverse.
        """
        if self.every != (step is not None):
            expected = "steps" if self.every else "no steps"
            raise ValueError(
                f"these examples are evaluated with {expected}; pass batch.step as it is"
            )
        return example if step is None else self._first[example] + step

    def stretches(self, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (example, start, stop) of contexts, (B,) int64 each.

        The history is `sequences.items[start:stop]`, and its label is at `stop`.

        Raises:
            ValueError: if a number is not in 0 .. C-1.
        """
        if len(contexts) and not 0 <= contexts.min() <= contexts.max() < self.n_contexts:
            raise ValueError(
                f"contexts are numbered 0 to {self.n_contexts - 1}, got {contexts.min()} to "
                f"{contexts.max()}"
            )
        if not self.every:
            return contexts, self.start[contexts], self.stop[contexts] - 1
        example = np.searchsorted(self._first, contexts, side="right") - 1
        start = self.start[example]
        return example, start, start + contexts - self._first[example] + 1

    def label_counts(self, n_items: int) -> np.ndarray:
        """Return how often each item is a label of an epoch, (N,) int64."""
        counts = np.zeros(n_items, dtype=np.int64)
        for some in blocks(self.n_contexts, LIMITS.windows):
            _, _, stop = self.stretches(np.arange(some.start, some.stop))
            counts += np.bincount(self.sequences.items[stop], minlength=n_items)
        return counts

    def histories(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (start, stop) of every context, (C,) int64 each: see `stretches`."""
        _, start, stop = self.stretches(np.arange(self.n_contexts))
        return start, stop


def examples(
    sequences: Sequences, windows: Windows, length: int, *, stride: int | None = None
) -> Examples:
    """Cut sequences into training examples with histories of up to `length` items.

    Args:
        sequences: the training part, oldest first.
        windows: one of five. "last": the last item of each user is a label, with the items before
            it as history. "positions": the last `length` + 1 items of each user, where each item is
            predicted from those before it in one pass of a causal model. "prefixes": each item of
            each user, except the first, is the label of an example, with up to `length` items
            before it as history. "sliding": windows of `length` + 1 items, one every `stride`
            items; every position is predicted. "interactions": as "prefixes", and also the first
            item of each user, with an empty history; for models that identify users by number.
        length: L, the longest history.
        stride: for sliding windows, the distance of the starts of two windows; by default `length`,
            so that every item is predicted once.
    """
    if length < 1:
        raise DataError(f"the length of histories must be at least 1, got {length}")
    windows = current_value("training.windows", windows)
    if windows == "interactions":
        return _interactions(sequences, length)
    users = np.flatnonzero(sequences.lengths >= 2)
    if not len(users):
        raise DataError(
            "no user has two training events, so there is no history to predict an item from; "
            "use a longer log or another split"
        )
    begin, end = sequences.offsets[users], sequences.offsets[users + 1]
    if windows in ("last", "positions"):
        start = np.maximum(begin, end - length - 1)
        return Examples(sequences, start, end, users, length, every=windows == "positions")
    if windows == "prefixes":
        if int((end - begin - 1).sum()) > LIMITS.windows:
            return Examples(sequences, *ending_anywhere(sequences, length, 1), length)
        owner, step = _enumerated(end - begin - 1)
        stop = begin[owner] + step + 2
        start = np.maximum(begin[owner], stop - length - 1)
        return Examples(sequences, start, stop, users[owner], length)
    if windows == "sliding":
        stride = length if stride is None else stride
        if stride < 1:
            raise DataError(f"the stride of sliding windows must be at least 1, got {stride}")
        owner, step = _enumerated((end - begin - 2) // stride + 1)
        start = begin[owner] + step * stride
        stop = np.minimum(start + length + 1, end[owner])
        return Examples(sequences, start, stop, users[owner], length, every=True)
    raise DataError(
        f"windows must be last, positions, prefixes, sliding or interactions; got {windows!r}"
    )


def _interactions(sequences: Sequences, length: int) -> Examples:
    if not len(sequences.items):
        raise DataError(
            "the training part has no events, so there is nothing to train on; use a longer log "
            "or another split"
        )
    if len(sequences.items) > LIMITS.windows:
        return Examples(sequences, *ending_anywhere(sequences, length, 0), length)
    user, step = _enumerated(sequences.lengths)
    stop = sequences.offsets[user] + step + 1
    start = np.maximum(sequences.offsets[user], stop - length - 1)
    return Examples(sequences, start, stop, user, length)


def _enumerated(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (which, place) for `counts[which]` places each: [2, 1] -> [0, 0, 1], [0, 1, 0]."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def padded_histories(
    sequences: Sequences, start: np.ndarray, stop: np.ndarray, padding: int, side: Padding = "right"
) -> tuple[Tensor, Tensor | None]:
    """Return ranges of the sequences as `Batch.history` and `Batch.time`, (B, longest) int64 each.

    Times are None if the sequences have none, and 0 at padding. Their unit is that of the log:
    whole numbers as they were read (seconds, in most public logs), microseconds for dates and for
    fractions of seconds; see `softrec.data.reading.read_table`.

    Args:
        sequences: items, oldest first, perhaps with times.
        start: (B,) int64 the place of each history's first item.
        stop: (B,) int64 the place after its last one.
        padding: the number N that pads histories.
        side: where the padding stands.

    Example:
        >>> log = Sequences(np.array([0, 3]), np.array([5, 6, 7]), np.array([10, 20, 30]))
        >>> items, times = padded_histories(log, np.array([0, 2]), np.array([2, 3]), 9)
        >>> items.tolist(), times.tolist()
        ([[5, 6], [7, 9]], [[10, 20], [30, 0]])
    """
    places, real = places_of(start, stop, side)
    history = torch.from_numpy(filled(sequences.items, places, real, padding))
    if sequences.times is None:
        return history, None
    return history, torch.from_numpy(filled(sequences.times, places, real, 0))


def training_batch(
    data: Examples, chosen: np.ndarray, padding: int, side: Padding = "right"
) -> Batch:
    """Return the batch of the examples numbered `chosen`, (B,), with times if the log has them."""
    items, start, stop = data.sequences.items, data.start[chosen], data.stop[chosen]
    history, time = padded_histories(data.sequences, start, stop - 1, padding, side)
    user = torch.from_numpy(data.user[chosen])
    if not data.every:
        label = _int64(items[stop - 1])
        return Batch(history, label, torch.from_numpy(chosen), user, time=time)
    row, step = _enumerated(stop - start - 1)
    return Batch(
        history,
        _int64(items[start[row] + step + 1]),
        torch.from_numpy(chosen[row]),
        user,
        torch.from_numpy(row),
        torch.from_numpy(step),
        time,
    )


def context_batch(
    data: Examples, contexts: np.ndarray, padding: int, side: Padding = "right"
) -> Batch:
    """Return the batch of the contexts numbered `contexts`, (B,), with one prediction per row.

    `label` is the item that training predicts there, `example` the example of the context.
    """
    example, start, stop = data.stretches(contexts)
    history, time = padded_histories(data.sequences, start, stop, padding, side)
    return Batch(
        history,
        _int64(data.sequences.items[stop]),
        torch.from_numpy(example),
        torch.from_numpy(data.user[example]),
        time=time,
    )


def case_batches(
    cases: Cases, length: int, padding: int, size: int = 512, part: tuple[int, int] = (0, 1)
) -> Iterator[tuple[slice, Batch]]:
    """Yield (rows, batch) for evaluation cases, with the last `length` items of each history.

    The labels of these batches are the first relevant items; the evaluation does not use them.
    With a part (number, of how many) only every so many-th batch is made.
    """
    offsets = cases.history.offsets
    first = cases.relevant.items[cases.relevant.offsets[:-1]]
    for rows in islice(blocks(len(cases), size), part[0], None, part[1]):
        stop = offsets[1:][rows]
        start = np.maximum(offsets[:-1][rows], stop - length)
        history, time = padded_histories(cases.history, start, stop, padding)
        label, user = _int64(first[rows]), torch.from_numpy(cases.user[rows])
        yield (
            rows,
            Batch(history, label, torch.arange(rows.start, rows.stop), user, time=time),
        )


def _int64(items: np.ndarray) -> Tensor:
    """Return item numbers as a tensor; those of a file have 32 bits."""
    return torch.from_numpy(items.astype(np.int64, copy=False))


class TrainingBatches:
    """Shuffled batches of an epoch; its state is two numbers, so that it can be resumed exactly.

    The order of epoch e depends only on (seed, e), and not on how many batches were made before,
    nor on how many processes share each of them. Of very many examples it is not a permutation as a
    whole, see `Shuffled`.

    Args:
        data: the training examples.
        batch_size: examples in a batch, of all processes together; the last one of an epoch may be
            smaller.
        padding: the number N that pads histories.
        seed: of the order.
        side: where the padding stands.

    Attributes:
        part: (number, of how many): which part of each batch this process gets. A batch of fewer
            examples than processes is given to each as a whole.
    """

    def __init__(
        self,
        data: Examples,
        batch_size: int,
        padding: int,
        *,
        seed: int = 0,
        side: Padding = "right",
    ) -> None:
        self.data = data
        self.batch_size = batch_size
        self.padding = padding
        self.seed = seed
        self.side: Padding = side
        self.epoch = 0
        self.position = 0
        self.part: tuple[int, int] = (0, 1)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.data) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the remaining batches of the epoch, then move on to the next epoch."""
        chosen_at = self._order()
        for number in range(self.position, len(self)):
            begin = number * self.batch_size
            chosen = chosen_at(begin, begin + self.batch_size)
            # Counted before the batch is used: after a checkpoint it must not be repeated.
            last = number + 1 == len(self)
            self.epoch, self.position = (self.epoch + 1, 0) if last else (self.epoch, number + 1)
            yield self._batch(chosen)

    def _batch(self, chosen: np.ndarray) -> Batch:
        """Return the own part of the batch of the examples numbered `chosen`."""
        number, of = self.part
        if of == 1 or len(chosen) < of:
            return training_batch(self.data, chosen, self.padding, self.side)
        own = np.array_split(chosen, of)[number]
        start, stop = self.data.start[chosen], self.data.stop[chosen]
        total = int((stop - start - 1).sum()) if self.data.every else len(chosen)
        return training_batch(self.data, own, self.padding, self.side)._replace(total=total)

    def _order(self) -> Callable[[int, int], np.ndarray]:
        """Return the examples of this epoch at some places of its order."""
        n, seed = len(self.data), (self.seed, self.epoch)
        if n > LIMITS.shuffled:
            return Shuffled(n, seed).at
        order = np.random.default_rng(seed).permutation(n)
        return lambda begin, stop: order[begin:stop]

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch and the position of the next batch."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at the position of `state`."""
        self.epoch, self.position = state["epoch"], state["position"]
