"""The shapes and protocols that every part of softrec agrees on.

Shape legend
------------
B   rows of a batch (histories)
P   predictions asked of a batch; P == B unless every position is trained
L   length of a padded history
M   candidates (negatives) scored against the positive; M == N for the full catalogue
N   items of the catalogue; items are numbered 0 .. N-1, and N itself is padding in a history
D   width of user and item vectors
K   interests of a user, where a model has several

Padding is one past the last item so that no number is ever shifted: a label, a row of the item
vectors, a candidate and a column of the scores are the same number everywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

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
    """The interests of users and their predicted logits: the score is that of the mean."""

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


class Scores(ABC):
    """The scores of a batch over all items, computed a block of rows at a time.

    Ranking, evaluation and serving know models by these alone. An encoder's are `Products` of its
    vectors; a model that scores directly has a subclass of its own.

    Attributes:
        n_items: size N of the catalogue.
        like: a tensor of the type and on the device of the scores.
        tables: how many tables (b, N) `fill` uses at a time, that of the scores included.
    """

    n_items: int
    like: Tensor
    tables: int = 1

    @abstractmethod
    def __len__(self) -> int:
        """Return the number P of rows."""

    @abstractmethod
    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write the scores of some rows to `out` (b, N), whatever it held, and return it."""

    def at(self, rows: slice, items: Tensor) -> Tensor:
        """Return the scores (b, m) of items (b, m) of some rows; equal items have equal scores."""
        whole = self.fill(rows, self.like.new_empty(len(items), self.n_items))
        return whole.gather(1, items.long())

    def held(self, m: int) -> int:
        """Return how many numbers `at` holds for a row that is asked for m items."""
        return self.n_items * self.tables


class Products(Scores):
    """Scores that are inner products: users @ vectors.T + bias.

    Args:
        users: (P, D), or (P, K, D) for several interests, of which the best counts.
        items: vectors (N, D) and bias (N,) or None.
        interests: of models that predict them.

    Example:
        >>> scores = Products(torch.tensor([[1.0, 2.0]]), ItemVectors(torch.eye(2)))
        >>> scores.fill(slice(0, 1), torch.empty(1, 2))
        tensor([[1., 2.]])
    """

    def __init__(
        self, users: Tensor, items: ItemVectors, interests: Interests | None = None
    ) -> None:
        self.users, self.items, self.interests = users, items, interests
        self.n_items = len(items.vectors)
        self.like = users
        self.tables = users.shape[1] if users.dim() == 3 else 1
        self._transposed = items.vectors.T
        self._products = users.new_empty(0, self.n_items)  # of interests, kept for the next block

    def __len__(self) -> int:
        return len(self.users)

    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write the products of some rows to `out` (b, N)."""
        flat = self.users[rows].reshape(-1, self.users.shape[-1])
        if self.tables > 1:
            if len(self._products) < len(flat):
                self._products = out.new_empty(len(flat), self.n_items)
            scores = self._multiplied(flat, self._products)
            torch.amax(scores.view(-1, self.tables, self.n_items), 1, out=out)
        elif len(flat) > 1:
            torch.mm(flat, self._transposed, out=out)
        else:
            out.copy_(self._multiplied(flat, out.new_empty(2, self.n_items)))
        if self.items.bias is not None:
            out += self.items.bias
        return out

    def _multiplied(self, flat: Tensor, out: Tensor) -> Tensor:
        """Return the products of rows (F, D), of which one alone is doubled.

        One row alone is multiplied in another way, by which equal vectors need not score alike.
        """
        factor = flat if len(flat) > 1 else flat.repeat(2, 1)
        return torch.mm(factor, self._transposed, out=out[: len(factor)])[: len(flat)]

    def at(self, rows: slice, items: Tensor) -> Tensor:
        """Return the scores (b, m) of items (b, m), each a sum of its own.

        A batched matrix product rounds by the place of an item in the block, so that equal items
        would not tie.
        """
        users = self.users[rows]
        interests = users if users.dim() == 3 else users[:, None]
        vectors = self.items.vectors.index_select(0, items.flatten()).unflatten(0, items.shape)
        scores = (vectors * interests[:, :1]).sum(-1)
        for interest in interests[:, 1:].unbind(1):
            scores = torch.maximum(scores, (vectors * interest[:, None]).sum(-1))
        bias = self.items.bias
        return scores if bias is None else scores + bias[items.long()]

    def held(self, m: int) -> int:
        """Return the numbers of the gathered vectors and of their products."""
        return 2 * m * self.users.shape[-1]


class Model(nn.Module, ABC):
    """What scores items for users: an `Encoder`, trained, or a `Scorer`, counted.

    Attributes:
        n_items: size N of the catalogue; padding has the number N. Set by each model.
        reads: "history", or "user" for models that know users by number and read no history.
        needs_times: whether it reads the times of the events of a history.
        PRESETS: settings of papers by name, arguments of the class.
    """

    n_items: int
    reads: Literal["history", "user"] = "history"
    needs_times: bool = False
    predicts_interests: bool = False
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}

    @property
    def name(self) -> str:
        """Return the name of the model for messages."""
        return type(self).__name__

    @abstractmethod
    def scores(self) -> Callable[[Batch], Scores]:
        """Return the function from a batch to its scores, while the model does not change.

        What does not depend on the batch is computed once, now.
        """


class Encoder(Model):
    """A backbone: vectors for users and for items. It knows nothing of targets or losses.

    A model of your own has two methods: `items`, for what does not depend on the batch, and
    `forward`. Training calls `encoder(batch)`. Ranking and serving call `encoder.items()` once and
    `encoder(batch, items)` for each batch. `softrec.testing.check_encoder` tells what is missing.

    Attributes:
        n_interests: K, where user vectors are (P, K, D); 1 for (P, D).
        predicts_interests: whether it gives `Vectors.interests`.
        sparse: whether its long tables take sparse gradients; see
            `softrec.training.optimizers.mark_sparse`.
        initialised_from: other models whose weights `initialise_from` takes.

    `Model` has the others: `n_items`, `reads`, `needs_times`, `PRESETS`.

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

    n_interests: int = 1
    sparse: bool = False
    initialised_from: ClassVar[tuple[type[Encoder], ...]] = ()

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

    def scores(self) -> Callable[[Batch], Scores]:
        """Return the function from a batch to the products of its vectors."""
        items = self.items()

        def products(batch: Batch) -> Products:
            found = self(batch, items)
            return Products(found.users, items, found.interests)

        return products

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


class Events(NamedTuple):
    """The training part of a log: the events user by user, oldest first."""

    offsets: Tensor  # (U + 1,) int64: user u has items[offsets[u]:offsets[u + 1]]
    items: Tensor  # (E,) int64
    times: Tensor | None = None  # (E,) int64, where the log has them

    @property
    def users(self) -> Tensor:
        """Return the user of each event, (E,) int64."""
        lengths = self.offsets.diff()
        return torch.repeat_interleave(torch.arange(len(lengths)), lengths)


class Scorer(Model):
    """A model that is counted, not trained: it sees the training part once and scores directly.

    A model of your own has two methods: `fit`, which keeps what it counts as buffers, of any size,
    and `forward`. `softrec.testing.check_scorer` tells what is missing.

    Attributes:
        fits_times: whether `fit` reads the times of events.
        GRID: the values of settings that are tried on validation, where a recipe gives none; a
            dozen combinations at most.
        SCORING: the settings that only `forward` reads, so that a change of them needs no `fit`.

    Example:
        >>> class Last(Scorer):
        ...     def __init__(self, n_items):
        ...         super().__init__()
        ...         self.n_items = n_items
        ...         self.register_buffer("counts", torch.empty(0))
        ...     def fit(self, events):
        ...         self.counts = events.items.bincount(minlength=self.n_items).float()
        ...     def forward(self, batch):
        ...         rows = torch.ones(len(batch.label), 1)
        ...         return Products(rows, ItemVectors(self.counts[:, None]))
        >>> model, one = Last(3), torch.tensor([1])
        >>> model.fit(Events(torch.tensor([0, 2]), torch.tensor([2, 2])))
        >>> model(Batch(one[None], one, one, one)).fill(slice(0, 1), torch.empty(1, 3))
        tensor([[0., 0., 2.]])
    """

    fits_times: bool = False
    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {}
    SCORING: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def fit(self, events: Events) -> None:
        """Count the events of the training part, and keep what scoring needs as buffers."""

    @abstractmethod
    def forward(self, batch: Batch) -> Scores:
        """Return the scores of a batch: at the places it asks for, of all items."""

    if TYPE_CHECKING:

        def __call__(self, batch: Batch) -> Scores:
            """Return `forward(batch)`."""
            ...

    def scores(self) -> Callable[[Batch], Scores]:
        """Return the model itself."""
        return self

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load buffers, which take the sizes that they have in the state."""
        for name in self._buffers:
            if name in state_dict:
                self._buffers[name] = torch.empty_like(state_dict[name])
        return super().load_state_dict(state_dict, strict, assign)


class Target(ABC):
    """A distribution s over the N items for each row, known by its answers, never by its table.

    Two answers make a target; all else has a default in terms of them. A default is right for any
    target; one that knows better answers faster, or keeps digits where s_y is nearly 1.

    Example:
        >>> class Middle(Target):
        ...     def prob_of(self, items):
        ...         return (items == 1).float()
        ...     def mean_item(self, vectors):
        ...         return vectors[1:2]
        >>> Middle().within(torch.tensor([1, 4]), n_items=6).prob_of(torch.tensor([0, 1]))
        tensor([1., 0.])
    """

    @abstractmethod
    def prob_of(self, items: Tensor) -> Tensor:
        """Return s at one item a row, or at several: (P,) or (P, M) int64 -> the same shape."""

    @abstractmethod
    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return sum_i s_i v_i: (N, D) -> (P, D), or (1, D) when all rows have the same s."""

    def add_mean_gradient(self, rows: Tensor, out: Tensor) -> None:
        """Add the gradient of sum(mean_item(W) * rows) in W to `out` (N, D), in place.

        By autograd. Since `mean_item` is linear, the values it is asked at do not matter, and
        `out` itself can stand in for W.
        """
        with torch.enable_grad():
            stand_in = out.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.mean_item(stand_in), stand_in, rows)
        out += gradient.to_dense() if gradient.is_sparse else gradient

    def without(self, place: Tensor) -> Rest:
        """Return s without the item `place` (P,) of each row; -1 stands for none.

        By subtraction, with the rounding of s_y: what is below 8 units in its last place counts
        as 0.
        """
        prob = self.prob_of(place.clamp(min=0)).detach().masked_fill(place < 0, 0)
        return Rest(self, prob, _left(torch.ones_like(prob), prob))

    def within(self, items: Tensor, n_items: int) -> Target:
        """Return s over `items` (M,) alone, ascending, numbered 0 .. M-1, not renormalised.

        Whoever overrides it overrides `without`, too: what is left no longer sums to 1.
        """
        return _Within(self, items, n_items)

    def among(self, label: Tensor, items: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return what s gives to the label (P,) and to items (P, M) of each row, but the hidden.

        Right up to one factor a row, by which losses divide.
        """
        return self.prob_of(label), self.prob_of(items).masked_fill(hidden, 0)


class Rest(NamedTuple):
    """A target without one item of each row, such as the label: s_i for all i but that one.

    What is subtracted is at most as large as `mass`, so that no difference cancels.
    """

    target: Target  # s, but for the item left out
    surplus: Tensor  # (P,) what `target` still gives to that item: to be subtracted
    mass: Tensor  # (P,) what the other items have in all


class ListedTarget(Target):
    """A few items a row. Over all items, losses read and write them in the block of logits."""

    @abstractmethod
    def listed(self) -> tuple[Tensor, Tensor]:
        """Return the items (P, k) and their probabilities (P, k), which add up to all of s."""


class LogitTarget(Target):
    """A softmax as large as the catalogue: a teacher's. Losses read it a block at a time."""

    @abstractmethod
    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write the logits of some rows, divided by the temperature, to `out` (b, N)."""

    @abstractmethod
    def logits_of(self, items: Tensor) -> Tensor:
        """Return the logits, divided by the temperature, at items (P,) or (P, M)."""

    @abstractmethod
    def within(self, items: Tensor, n_items: int) -> LogitTarget:
        """Return the softmax over `items` (M,) alone, numbered 0 .. M-1."""

    def among(self, label: Tensor, items: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the softmax over label (P,) and items (P, M) of each row, but the hidden."""
        logits = torch.cat([self.logits_of(label)[:, None], self.logits_of(items)], 1)
        hidden = torch.cat([torch.zeros_like(hidden[:, :1]), hidden], 1)
        probs = logits.masked_fill(hidden, -torch.inf).softmax(1)
        return probs[:, 0], probs[:, 1:]


class TargetSource(Protocol):
    """Fitted once, from data or from a trained model; makes the target of a batch.

    What it remembers as tensors are buffers of an `nn.Module`, so that it moves with the rest.
    """

    def __call__(self, batch: Batch) -> Target:
        """Return the soft target for the P predictions of `batch`."""
        ...


@dataclass(frozen=True)
class _Within(Target):
    """Any target over some of the items, from its two answers: the others have zero vectors."""

    target: Target
    items: Tensor  # (M,) int64, distinct
    n_items: int

    def prob_of(self, items: Tensor) -> Tensor:
        return self.target.prob_of(self.items[items])

    def mean_item(self, vectors: Tensor) -> Tensor:
        whole = vectors.new_zeros(self.n_items, vectors.shape[1])
        return self.target.mean_item(whole.index_copy(0, self.items, vectors))

    def without(self, place: Tensor) -> Rest:
        item = torch.where(place >= 0, self.items[place.clamp(min=0)], -1)
        target, surplus, _ = self.target.without(item)
        some = _Within(target, self.items, self.n_items)
        ones = torch.ones(len(self.items), 1, dtype=surplus.dtype, device=surplus.device)
        return Rest(some, surplus, _left(some.mean_item(ones)[:, 0], surplus))


def _left(total: Tensor, prob: Tensor) -> Tensor:
    """Return what is left of `total` beside `prob`, and 0 where that is only rounding."""
    left = total.detach() - prob
    return torch.where(left > 8 * torch.finfo(left.dtype).eps * total.detach(), left, 0)


def device_of(model: Model) -> torch.device:
    """Return where the parameters and buffers of a model are; the CPU if it has none."""
    for part in (*model.parameters(), *model.buffers()):
        return part.device
    return torch.device("cpu")


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """Put a model in evaluation mode, and back as it was afterwards.

    Example:
        >>> with evaluating(model), torch.no_grad():  # doctest: +SKIP
        ...     score = model.scores()
    """
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
