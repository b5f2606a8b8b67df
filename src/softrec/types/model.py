"""Models: encoders, which are trained, and scorers, which are counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from softrec.types.batch import Batch, ItemVectors, Vectors
from softrec.types.scores import OffsetScores, Products, Scores

LARGEST_GRID = 20  # combinations of settings of a scorer that are tried on validation, at most
LOG_TEMPERATURE = "learnt_log_temperature"  # of the parameter, in files of weights


class Model(nn.Module, ABC):
    """Scores items for users: an `Encoder`, which is trained, or a `Scorer`, which is counted.

    Attributes:
        n_items: size N of the catalogue; padding has the number N. Set by each model.
        reads: "history", or "user" for models that identify users by number and read no history.
        needs_times: whether it reads the times of the events of a history.
        catalogue: a `softrec.parallel.Catalogue` if its scores are those of one of the shards.
        PRESETS: settings of papers by name, arguments of the class.
    """

    n_items: int
    reads: Literal["history", "user"] = "history"
    needs_times: bool = False
    predicts_interests: bool = False
    catalogue: Any = None
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}

    @property
    def name(self) -> str:
        """Return the name of the model for messages."""
        return type(self).__name__

    @abstractmethod
    def scores(self) -> Callable[[Batch], Scores]:
        """Return a function from a batch to its scores; it is valid while the model is unchanged.

        Whatever does not depend on the batch is computed once, by this call.
        """

    def similarities(self) -> Callable[[Tensor, Tensor], Scores] | None:
        """Return a function from items and weights to the similarities of all items; None if none.

        The items are (B, m) int64, and the weights (B, m) of each row sum to 1. A score is the
        weighted mean of the similarities to the items of a row. The function is valid while the
        model is unchanged.
        """
        return None


class Encoder(Model):
    """A backbone: vectors for users and for items. It knows nothing of targets or losses.

    A model of your own has two methods: `items`, for what does not depend on the batch, and
    `forward`. Training calls `encoder(batch)`. Ranking and serving call `encoder.items()` once and
    `encoder(batch, items)` for each batch. `softrec.testing.check_encoder` says what is missing.

    Attributes:
        n_interests: K, if user vectors are (P, K, D); 1 for (P, D).
        predicts_interests: whether it returns `Vectors.interests`.
        sparse: whether its long tables have sparse gradients; see
            `softrec.training.optimizers.mark_sparse`.
        initialised_from: other models whose weights `initialise_from` accepts.
        DEFAULTS: fields of a recipe that names none of them, by section: the learning rate, and
            the scores of softmax losses.
        SEARCH: what `softrec tune` tries of those settings that the model has, as in `--space`.

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
    DEFAULTS: ClassVar[dict[str, dict[str, Any]]] = {}
    SEARCH: ClassVar[dict[str, str]] = {
        "dim": "32,64,128",
        "dropout": "0..0.6",
        "embedding_dropout": "0..0.6",
        "mlp_dropout": "0..0.6",
        "edge_dropout": "0..0.6",
        "message_dropout": "0..0.6",
        "predictor_dropout": "0..0.6",
    }

    @abstractmethod
    def items(self) -> ItemVectors:
        """Return the item vectors (N, D) and their bias (N,), if there is one."""

    @abstractmethod
    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the vectors of a batch: of the user of each prediction, and of all items.

        Args:
            batch: histories, users, and the places of the predictions.
            items: the result of `items()`, if it was computed before, once for many batches.
        """

    if TYPE_CHECKING:  # declares the type, because `__call__` of a module returns Any

        def __call__(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
            """Return `forward(batch, items)`."""
            ...

    def scores(self) -> Callable[[Batch], Scores]:
        """Return the function from a batch to the products of its vectors."""
        items = self.items()

        def products(batch: Batch) -> Scores:
            found = self(batch, items)
            own = Products(found.users, items, found.interests)
            offset, shards = found.offset, self.catalogue
            if offset is not None and shards is not None:
                offset = offset.between(shards.start, shards.stop)
            return own if offset is None else OffsetScores(own, offset)

        return products

    def as_trained(self) -> Encoder:
        """Return the encoder whose scores are trained, where rankings have others."""
        return self

    def similarities(self) -> Callable[[Tensor, Tensor], Scores]:
        """Return the function from items and weights to the weighted means of cosines."""
        unit = nn.functional.normalize(self.items().vectors, dim=-1)
        return lambda items, weights: Products(weighted(unit, items, weights), ItemVectors(unit))

    @property
    def log_temperature(self) -> nn.Parameter | None:
        """Return the logarithm of the temperature of the softmax, (), if it is learnt.

        Training divides scores by the temperature; rankings do not.
        """
        return self._parameters.get(LOG_TEMPERATURE)

    def learn_temperature(self, start: float | None) -> None:
        """Make the temperature of the softmax a parameter, which begins with `start`.

        Args:
            start: positive; None: it is no longer a parameter.
        """
        self._parameters.pop(LOG_TEMPERATURE, None)
        if start is not None:
            self.register_parameter(LOG_TEMPERATURE, nn.Parameter(torch.tensor(start).log()))

    def initialise_from(self, other: Encoder) -> None:
        """Copy the weights of a trained model.

        Raises:
            ValueError: if `other` is a model of another kind.
            RuntimeError: if it is one of another size.
        """
        if type(other) is not type(self):
            kinds = " or ".join(kind.__name__ for kind in (type(self), *self.initialised_from))
            raise ValueError(f"{self.name} is initialised from {kinds}, got {other.name}")
        self.load_state_dict(other.state_dict())


class Wrapper(Encoder):
    """An encoder around another one, whose name, mode and capabilities it has.

    Args:
        encoder: any encoder.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.n_items, self.n_interests = encoder.n_items, encoder.n_interests
        self.reads, self.needs_times = encoder.reads, encoder.needs_times
        self.predicts_interests = encoder.predicts_interests
        self.catalogue = encoder.catalogue
        self.train(encoder.training)  # a new module starts in training mode

    @property
    def name(self) -> str:
        """Return the name of the encoder inside."""
        return self.encoder.name

    def items(self) -> ItemVectors:
        """Return the item vectors of the encoder inside."""
        return self.encoder.items()


class Events(NamedTuple):
    """The training part of a log: the events user by user, oldest first."""

    offsets: Tensor  # (U + 1,) int64: user u has items[offsets[u]:offsets[u + 1]]
    items: Tensor  # (E,) int64
    times: Tensor | None = None  # (E,) int64, if the log has times

    @property
    def users(self) -> Tensor:
        """Return the user of each event, (E,) int64."""
        lengths = self.offsets.diff()
        return torch.repeat_interleave(torch.arange(len(lengths)), lengths)


class Scorer(Model):
    """A model that is counted, not trained: it reads the training part once and scores directly.

    A model of your own has two methods: `fit`, which stores its counts as buffers of any size,
    and `forward`. `softrec.testing.check_scorer` says what is missing.

    Attributes:
        fits_times: whether `fit` reads the times of events.
        GRID: for settings that a recipe does not give, the values that are tried on validation; at
            most 20 combinations.
        SCORING: the settings that only `forward` reads, so that changing them needs no new `fit`.

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
        """Count the events of the training part, and store what scoring needs as buffers."""

    @abstractmethod
    def forward(self, batch: Batch) -> Scores:
        """Return the scores of all items for each prediction of a batch."""

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
        """Load buffers, with the sizes that they have in `state_dict`."""
        for place, module in self.named_modules():
            for name in module._buffers:
                key = f"{place}.{name}" if place else name
                if key in state_dict:
                    module._buffers[name] = torch.empty_like(state_dict[key])
        return super().load_state_dict(state_dict, strict, assign)


def weighted(vectors: Tensor, items: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sums of the vectors of items, (B, D).

    Args:
        vectors: (N, D).
        items: (B, m) int64.
        weights: (B, m).
    """
    return (weights[..., None].to(vectors.dtype) * vectors[items]).sum(1)


def device_of(model: Model) -> torch.device:
    """Return the device of the parameters and buffers of a model; the CPU if it has none."""
    for part in chain(model.parameters(), model.buffers()):
        return part.device
    return torch.device("cpu")


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """A context in which a model is in evaluation mode; afterwards it is in the mode it had before.

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
