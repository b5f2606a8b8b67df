"""Data of which the best possible ranking is known, and batches cut to train and to judge on."""

from __future__ import annotations

import torch
from torch import Tensor

from softrec.types import Batch

LONGEST_WAIT = 100  # between two items, in the unit of times


def chain(
    n_items: int,
    rows: int,
    length: int,
    *,
    randomness: float = 0.0,
    seed: int,
    times: bool = False,
) -> Batch:
    """Return histories of uniform items, after which the next item is a permutation of the last.

    Formula: with probability 1 - r the label is pi(last item), else it is uniform over all N
    items. Nothing beats naming pi(last item), which is right as often as `best_top1` says.

    Args:
        n_items: size N of the catalogue.
        rows: how many histories B to draw, of one user each.
        length: items L of each history.
        randomness: r, from 0 (certain) to 1 (noise).
        seed: of the draws, and of the permutation.
        times: whether the batch has times, increasing and of no meaning.

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
    """Return how often the best guess at the label of a `chain` is right: 1 - r + r / N.

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
    """Return rows of one colour each, the parity of its items: those of the history, and the label.

    A model that pools its history can learn this, whatever it sees of the order. The best ranking
    puts each label among the first N / 2 items; within them, nothing can be known.

    Args:
        n_items: size N of the catalogue, even.
        rows: how many rows B to draw.
        length: the most items of a history; it has from 1 to so many, padded on the right.
        users: for models that know users by number: how many there are. They come in turn, and the
            colour of user u is u % 2 in all of its rows; each item of its colour is once the label
            before any is again. None for one user a row, of any colour.
        seed: of the draws.
        times: whether the batch has times, increasing and of no meaning; 0 at padding.

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
    """Return labels by popularity, whatever the history, the user and the times.

    The probabilities of the items are those of `popular_probabilities`; the best ranking is by
    them. Histories are uniform.

    Args:
        n_items: size N of the catalogue.
        rows: how many rows B to draw.
        length: items L of each history.
        users: for models that know users by number: how many there are; they come in turn. None
            for one user a row.
        seed: of the draws.
        times: whether the batch has times, increasing.

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
    """Return numbers below n (rows,), for users in turn, each of whom draws without putting back.

    Drawn again for each n rounds: a new order for every user.
    """
    times = -(-rows // (users * n))
    orders = torch.rand(times, users, n, generator=generator).argsort(2)
    return orders.transpose(1, 2).flatten()[:rows]


def _waits(history: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(1, LONGEST_WAIT, history.shape, generator=generator).cumsum(1)


def batch_of(
    history: Tensor, label: Tensor, *, user: Tensor | None = None, time: Tensor | None = None
) -> Batch:
    """Return a batch that asks for one item after each history, of one user each unless told.

    Args:
        history: (B, L) int64.
        label: (B,) int64.
        user: (B,) int64, the numbers of the users; None for 0 .. B-1.
        time: (B, L) int64, when each item was taken.

    Example:
        >>> batch_of(torch.tensor([[1, 2], [3, 4]]), torch.tensor([3, 5])).user
        tensor([0, 1])
    """
    numbers = torch.arange(len(label))
    return Batch(history, label, numbers, numbers if user is None else user, time=time)


def halves(batch: Batch, size: int) -> tuple[Batch, Batch]:
    """Return the first `size` rows, to train on, and the others.

    Args:
        batch: each row asked once, at its end.
        size: how many rows to train on.

    Raises:
        ValueError: if the batch asks at steps within a history, or one part would be empty.

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
