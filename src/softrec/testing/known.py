"""Simulated data whose best possible ranking is known, and their split for training and test."""

from __future__ import annotations

import torch
from torch import Tensor

from softrec.types import Batch

LONGEST_WAIT = 100  # the largest time between two items


def chain(
    n_items: int,
    rows: int,
    length: int,
    *,
    randomness: float = 0.0,
    seed: int,
    times: bool = False,
) -> Batch:
    """Return histories of uniform items; the label is a permutation of the last item.

    Formula: with probability 1 - r the label is pi(last item), else it is uniform over all N
    items. The best prediction is pi(last item), which is correct with probability `best_top1`.

    Args:
        n_items: size N of the catalogue.
        rows: the number B of histories, each of another user.
        length: items L of each history.
        randomness: r, from 0 (deterministic) to 1 (noise).
        seed: of the random numbers and of the permutation.
        times: whether the batch has times, which increase and have no meaning.

    Raises:
        ValueError: if the randomness is not in [0, 1].

    Example:
        >>> batch = chain(5, rows=100, length=3, seed=0)
        >>> batch.history.shape
        torch.Size([100, 3])
        >>> len(set(zip(batch.history[:, -1].tolist(), batch.label.tolist(), strict=True)))
        5
    """
    if not 0 <= randomness <= 1:
        raise ValueError(f"randomness must be in [0, 1], got {randomness}")
    generator = torch.Generator().manual_seed(seed)
    after = torch.randperm(n_items, generator=generator)
    history = torch.randint(n_items, (rows, length), generator=generator)
    uniform = torch.randint(n_items, (rows,), generator=generator)
    random = torch.rand(rows, generator=generator) < randomness
    label = torch.where(random, uniform, after[history[:, -1]])
    return batch_of(history, label, time=_waits(history, generator) if times else None)


def best_top1(n_items: int, randomness: float) -> float:
    """Return the probability that the best prediction for a `chain` is correct: 1 - r + r / N.

    Example:
        >>> best_top1(10, randomness=0.5)
        0.55
    """
    return 1 - randomness + randomness / n_items


def checkerboard(
    n_items: int,
    rows: int,
    length: int,
    *,
    users: int | None = None,
    seed: int,
    times: bool = False,
) -> Batch:
    """Return rows in which all items, those of the history and the label, are even or all are odd.

    The parity is called the colour of the row. A model that pools its history can learn this, also
    if it ignores the order. The best ranking puts each label among the first N / 2 items; their
    order cannot be predicted.

    Args:
        n_items: size N of the catalogue, even.
        rows: the number B of rows.
        length: the longest history; a history has 1 to `length` items, padded on the right.
        users: the number of users, for models that identify users by number. Rows go through the
            users in turn, and the colour of user u is u % 2 in all its rows. Each item of the
            colour is the label once before one is repeated. None for another user in each row.
        seed: of the random numbers.
        times: whether the batch has times, which increase and have no meaning; 0 at padding.

    Raises:
        ValueError: if the number of items is odd.

    Example:
        >>> batch = checkerboard(6, rows=4, length=2, users=2, seed=0)
        >>> batch.user
        tensor([0, 1, 0, 1])
        >>> batch.label % 2
        tensor([0, 1, 0, 1])
    """
    if n_items % 2:
        raise ValueError(f"a checkerboard has an even number of items, got {n_items}")
    generator = torch.Generator().manual_seed(seed)
    colour = torch.randint(2, (rows, 1), generator=generator)
    drawn = torch.randint(n_items // 2, (rows, length + 1), generator=generator)
    user = None
    if users is not None:
        user = torch.arange(rows) % users
        colour = user[:, None] % 2
        drawn[:, length] = _rounds(rows, users, n_items // 2, generator)
    drawn = 2 * drawn + colour
    lengths = torch.randint(1, length + 1, (rows, 1), generator=generator)
    padding = torch.arange(length) >= lengths
    history = drawn[:, :length].masked_fill(padding, n_items)
    time = _waits(history, generator).masked_fill(padding, 0) if times else None
    return batch_of(history, drawn[:, length], user=user, time=time)


def noise(
    n_items: int,
    rows: int,
    length: int,
    *,
    users: int | None = None,
    seed: int,
    times: bool = False,
) -> Batch:
    """Return labels by popularity, independent of the history, the user and the times.

    The probabilities of the items are `popular_probabilities`; the best ranking is in their order.
    Histories are uniform.

    Args:
        n_items: size N of the catalogue.
        rows: the number B of rows.
        length: items L of each history.
        users: the number of users, for models that identify users by number; rows go through them
            in turn. None for another user in each row.
        seed: of the random numbers.
        times: whether the batch has times, which increase.

    Example:
        >>> batch = noise(3, rows=6000, length=2, seed=0)
        >>> (batch.label.bincount() / 6000 - popular_probabilities(3)).abs().max() < 0.02
        tensor(True)
    """
    generator = torch.Generator().manual_seed(seed)
    history = torch.randint(n_items, (rows, length), generator=generator)
    label = torch.multinomial(
        popular_probabilities(n_items), rows, replacement=True, generator=generator
    )
    user = None if users is None else torch.arange(rows) % users
    time = _waits(history, generator) if times else None
    return batch_of(history, label, user=user, time=time)


def popular_probabilities(n_items: int) -> Tensor:
    """Return the probabilities of the items in `noise`, (N,) float64: in proportion to i + 1.

    Example:
        >>> popular_probabilities(3)
        tensor([0.1667, 0.3333, 0.5000], dtype=torch.float64)
    """
    weights = torch.arange(1, n_items + 1).double()
    return weights / weights.sum()


def _rounds(rows: int, users: int, n: int, generator: torch.Generator) -> Tensor:
    """Return random numbers below n (rows,), for users in turn, each without replacement.

    After n rounds each user has a new random order.
    """
    times = -(-rows // (users * n))
    orders = torch.rand(times, users, n, generator=generator).argsort(2)
    return orders.transpose(1, 2).flatten()[:rows]


def _waits(history: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(1, LONGEST_WAIT, history.shape, generator=generator).cumsum(1)


def batch_of(
    history: Tensor, label: Tensor, *, user: Tensor | None = None, time: Tensor | None = None
) -> Batch:
    """Return a batch with one prediction after each history.

    Args:
        history: (B, L) int64.
        label: (B,) int64.
        user: (B,) int64, the numbers of the users; by default 0 .. B-1.
        time: (B, L) int64, the time of each event.

    Example:
        >>> batch_of(torch.tensor([[1, 2], [3, 4]]), torch.tensor([3, 5])).user
        tensor([0, 1])
    """
    numbers = torch.arange(len(label))
    return Batch(history, label, numbers, numbers if user is None else user, time=time)


def halves(batch: Batch, size: int) -> tuple[Batch, Batch]:
    """Return the first `size` rows, for training, and the other rows.

    Args:
        batch: a batch with one prediction per row, at its end.
        size: how many rows are for training.

    Raises:
        ValueError: if the batch has predictions inside a history, or one part would be empty.

    Example:
        >>> train, test = halves(chain(5, rows=10, length=3, seed=0), 6)
        >>> len(train.label), len(test.label)
        (6, 4)
    """
    if batch.row is not None:
        raise ValueError("only batches that ask each row once, at its end, can be cut by rows")
    if not 0 < size < len(batch.label):
        raise ValueError(f"size must be within 1 .. {len(batch.label) - 1}, got {size}")
    first, rest = (
        batch_of(
            batch.history[part],
            batch.label[part],
            user=batch.user[part],
            time=None if batch.time is None else batch.time[part],
        )._replace(example=batch.example[part])
        for part in (slice(size), slice(size, None))
    )
    return first, rest
