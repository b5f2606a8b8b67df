"""The shapes and protocols that every part of softrec agrees on.

Shape legend
------------
B   rows of a batch (histories)
P   predictions asked of a batch; P == B unless every position is trained
L   length of a padded history
M   candidates that a label is told from; M == N for the full catalogue
N   items of the catalogue; items are numbered 0 .. N-1, and N itself is padding in a history
D   width of user and item vectors
K   interests of a user, where a model has several

Padding is one past the last item so that no number is ever shifted: a label, a row of the item
vectors, a candidate and a column of the scores are the same number everywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


class Batch(NamedTuple):
    """What one training or evaluation step needs to know, as tensors on one device.

    A prediction is asked for at `(row, step)`: after the item number `step` (counted from 0, the
    oldest item kept) of history `row`. Counting real items rather than columns makes the question
    the same for left and right padding. Both are None when each row is asked once, at its end.
    """

    history: Tensor  # (B, L) int64, oldest first, padded with N on either side
    label: Tensor  # (P,) int64, the item to predict
    example: Tensor  # (P,) int64, which training example this is; sources with a memory need it
    user: Tensor  # (B,) int64
    row: Tensor | None = None  # (P,) int64
    step: Tensor | None = None  # (P,) int64
    time: Tensor | None = None  # (B, L) int64, of each event of the history

    @property
    def prediction_user(self) -> Tensor:
        """Return the user of each prediction, (P,)."""
        return self.user if self.row is None else self.user[self.row]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(*(None if part is None else part.to(device) for part in self))  # pyright: ignore[reportArgumentType]


class ItemVectors(NamedTuple):
    """The output layer of a model: logits are `users @ vectors.T + bias`."""

    vectors: Tensor  # (N, D)
    bias: Tensor | None = None  # (N,)
    carried: Any = None  # what `Encoder.items` found along the way and `Encoder.forward` needs


class Interests(NamedTuple):
    """What a user may want, and how much a model expects each: the score is that of the mean."""

    vectors: Tensor  # (P, K, D)
    logits: Tensor  # (P, K)

    def mean(self) -> Tensor:
        """Return the user vectors (P, D): the interests weighted by the softmax of their logits."""
        return (self.logits.softmax(-1)[:, None] @ self.vectors).squeeze(1)


class StoredVectors(NamedTuple):
    """What the vectors of a batch are made of, as by a graph. The penalty l2 is on these."""

    users: Tensor  # (P, D)
    items: Tensor  # (N, D)


class Vectors(NamedTuple):
    """What an encoder gives for a batch."""

    users: Tensor  # (P, D), or (P, K, D): an item's score is then that of its best interest
    items: ItemVectors
    interests: Interests | None = None  # of models that predict them; `users` is their mean
    stored: StoredVectors | None = None  # where the vectors are made of others


class Encoder(nn.Module, ABC):
    """A backbone: vectors for users and for items. It knows nothing of targets or losses.

    A model of your own has two methods: `items`, for what does not depend on the batch, and
    `forward`. Training calls `encoder(batch)`. Ranking and serving call `encoder.items()` once and
    `encoder(batch, items)` for each batch. `softrec.testing.check_encoder` tells what is missing.

    Attributes:
        n_items: size N of the catalogue; padding has the number N. Set by each model.
        n_interests: K, where user vectors are (P, K, D); 1 for (P, D).
        reads: "history", or "user" for models that know users by number and read no history.
        needs_times: whether it reads the times of events.
        predicts_interests: whether it gives `Vectors.interests`.
        initialised_from: other models whose weights `initialise_from` takes.
        PRESETS: settings of papers by name, arguments of the class.

    Example:
        >>> class Popular(Encoder):
        ...     def __init__(self, n_items):
        ...         super().__init__()
        ...         self.n_items = n_items
        ...         self.weight = nn.Parameter(torch.zeros(n_items, 1))
        ...     def items(self):
        ...         return ItemVectors(self.weight)
        ...     def forward(self, batch, items=None):
        ...         users = self.weight.new_ones(len(batch.label), 1)
        ...         return Vectors(users, items or self.items())
        >>> model, one = Popular(5), torch.tensor([3])
        >>> vectors = model(Batch(one[None], one, one, one))
        >>> vectors.users.shape, vectors.items.vectors.shape
        (torch.Size([1, 1]), torch.Size([5, 1]))
    """

    n_items: int
    n_interests: int = 1
    reads: Literal["history", "user"] = "history"
    needs_times: bool = False
    predicts_interests: bool = False
    initialised_from: ClassVar[tuple[type[Encoder], ...]] = ()
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}

    @abstractmethod
    def items(self) -> ItemVectors:
        """Return the item vectors (N, D) and their bias (N,), if there is one."""

    @abstractmethod
    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the vectors of a batch: of the users at the places it asks for, and of all items.

        Args:
            batch: histories, users and places.
            items: what `items()` returned, for models to compute it once for many batches.
        """

    if TYPE_CHECKING:  # the `__call__` of a module could return anything

        def __call__(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
            """Return `forward(batch, items)`."""
            ...

    @property
    def name(self) -> str:
        """Return the name of the model for messages."""
        return type(self).__name__

    def initialise_from(self, other: Encoder) -> None:
        """Take over the weights of a trained model.

        Raises:
            ValueError: if `other` is a model of another kind.
            RuntimeError: if it is one of another size.
        """
        if type(other) is not type(self):
            kinds = " or ".join(kind.__name__ for kind in (type(self), *self.initialised_from))
            raise ValueError(f"{self.name} is initialised from {kinds}, got {other.name}")
        self.load_state_dict(other.state_dict())


@runtime_checkable
class Target(Protocol):
    """A distribution s over the N items for each row, known by its answers, never by its table."""

    def prob_of(self, items: Tensor) -> Tensor:
        """Return s at one item a row, or at several: (P,) or (P, M) int64 -> the same shape."""
        ...

    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return sum_i s_i v_i: (N, D) -> (P, D), or (1, D) when all rows share one s."""
        ...


@runtime_checkable
class TargetSource(Protocol):
    """Fitted once, from data or from a trained model; makes the target of a batch."""

    def __call__(self, batch: Batch) -> Target:
        """Return the soft target for the P predictions of `batch`."""
        ...


@runtime_checkable
class SpreadingTarget(Target, Protocol):
    """A target that also knows the way back of `mean_item`; optional, for speed only."""

    def spread(self, rows: Tensor, out: Tensor) -> None:
        """Add sum_b s_b rows_b^T to `out` in place: rows (P, D) or (1, D), out (N, D)."""
        ...


@runtime_checkable
class RestrictableTarget(Target, Protocol):
    """A target that can be cut down to some of the items; optional, for speed only."""

    def within(self, items: Tensor) -> Target:
        """Return s over `items` (M,) alone, numbered 0 .. M-1, not renormalised."""
        ...


class Others(NamedTuple):
    """A target without one item of each row, such as the label: s_i for all i but that one.

    Taken off is only a share that `mass` holds as much of, so that no difference cancels.
    """

    target: Target  # s, but for the item left out
    surplus: Tensor  # (P,) what `target` still gives to that item: to be taken off
    mass: Tensor  # (P,) what the others have in all


@runtime_checkable
class SeparableTarget(Target, Protocol):
    """A target that can be asked without the label; optional, for precision where s_y is near 1."""

    def without(self, place: Tensor) -> Others:
        """Return s without the item `place` (P,) of each row; -1 stands for none."""
        ...


@runtime_checkable
class StreamedTarget(Target, Protocol):
    """A softmax as large as the catalogue: a teacher's. Losses read it a block at a time."""

    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write the logits of some rows, divided by the temperature, to `out` (b, N)."""
        ...

    def logits_of(self, items: Tensor) -> Tensor:
        """Return the logits, divided by the temperature, at items (P,) or (P, M)."""
        ...

    def within(self, items: Tensor) -> StreamedTarget:
        """Return the softmax over `items` (M,) alone, numbered 0 .. M-1."""
        ...


@runtime_checkable
class ListedTarget(Target, Protocol):
    """A few items a row. Over all items, losses read and write them in the block of logits."""

    def listed(self) -> tuple[Tensor, Tensor]:
        """Return the items (P, k) and their shares (P, k), which add up to all of s."""
        ...


@dataclass(frozen=True)
class ZeroExtended:
    """Any target over some of the items, from its two answers: the others have zero vectors."""

    target: Target
    items: Tensor  # (M,) int64, distinct
    n_items: int

    def prob_of(self, items: Tensor) -> Tensor:
        """Return s at places 0 .. M-1 of `self.items`."""
        return self.target.prob_of(self.items[items])

    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return the sum over `self.items` of s_i v_i, (P, D) or (1, D)."""
        whole = vectors.new_zeros(self.n_items, vectors.shape[1])
        return self.target.mean_item(whole.index_copy(0, self.items, vectors))

    def without(self, place: Tensor) -> Others:
        """Return the same without the item at one place a row."""
        inside = place >= 0
        item = torch.where(inside, self.items[place.clamp(min=0)], -1)
        target, surplus, _ = without(self.target, item)
        some = ZeroExtended(target, self.items, self.n_items)
        return Others(some, surplus, _left(_total(some, len(self.items), surplus), surplus))


def within(target: Target, items: Tensor, n_items: int) -> Target:
    """Return `target` over `items` (M,) alone, numbered 0 .. M-1; its mass may be below 1."""
    if isinstance(target, RestrictableTarget):
        return target.within(items)
    return ZeroExtended(target, items, n_items)


def without(target: Target, place: Tensor, n_items: int | None = None) -> Others:
    """Return `target` without the item `place` (P,) of each row; -1 stands for none.

    A target that cannot say 1 - s_y itself has it by subtraction, with the rounding of s_y: what
    is below 8 units in its last place counts as 0.

    Args:
        target: the soft target of the P rows.
        place: (P,) int64.
        n_items: of a target over some items, whose shares sum to less than 1; None: they sum to 1.
    """
    if isinstance(target, SeparableTarget):
        return target.without(place)
    share = target.prob_of(place.clamp(min=0)).detach().masked_fill(place < 0, 0)
    whole = torch.ones_like(share) if n_items is None else _total(target, n_items, share)
    return Others(target, share, _left(whole, share))


def _total(target: Target, n_items: int, like: Tensor) -> Tensor:
    """Return the sum of a target over its items, (P,) or (1,)."""
    return target.mean_item(torch.ones(n_items, 1, dtype=like.dtype, device=like.device))[:, 0]


def _left(total: Tensor, share: Tensor) -> Tensor:
    """Return what is left of `total` beside `share`, and 0 where that is only rounding."""
    left = total.detach() - share
    return torch.where(left > 8 * torch.finfo(left.dtype).eps * total.detach(), left, 0)


def add_mean_gradient(target: Target, rows: Tensor, out: Tensor) -> None:
    """Add the gradient of sum(mean_item(W) * rows) in W to `out` (N, D), in place.

    A target without `spread` is differentiated by autograd. Since `mean_item` is linear, the
    values it is asked at do not matter, and `out` itself can stand in for W.
    """
    if isinstance(target, SpreadingTarget):
        target.spread(rows, out)
        return
    with torch.enable_grad():
        stand_in = out.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(target.mean_item(stand_in), stand_in, rows)
    out += gradient.to_dense() if gradient.is_sparse else gradient


@contextmanager
def evaluating(encoder: Encoder) -> Iterator[None]:
    """Put a model in evaluation mode, and back as it was afterwards.

    Example:
        >>> with evaluating(encoder), torch.no_grad():  # doctest: +SKIP
        ...     items = encoder.items()
    """
    was_training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(was_training)
