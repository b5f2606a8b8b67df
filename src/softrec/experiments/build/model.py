"""From a recipe and its data to the model and its training batches."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from softrec.data.batches import Examples, TrainingBatches, examples
from softrec.data.interactions import Interactions
from softrec.data.splits import Split
from softrec.errors import DataError, RecipeError, one_line
from softrec.models.counted.sparse import TableScorer
from softrec.models.given import takes
from softrec.models.prior import Prior, WithPrior
from softrec.parallel import Catalogue
from softrec.recipe.specs.models import MODELS, SHARDS, ModelSettings
from softrec.recipe.specs.prior import PriorSettings
from softrec.recipe.specs.training import TrainingSettings
from softrec.types import Encoder, Events, Model

ROWS, LABELS = 128, 768  # of a batch, at most, by default


def notices(spec: ModelSettings, split: Split) -> list[str]:
    """Return messages about the data that a user of a run should know, one line each.

    Args:
        spec: the model; some identify users by number.
        split: the data.
    """
    lines = [split.aside.sentence()]
    untrained = split.untrained_users()
    if untrained and takes(MODELS[spec.name], "n_users"):
        lines.append(
            f"{untrained:,} users of the test part have only validation events and no training "
            f"event: {spec.name} has a vector for each user, and their vectors are never trained"
        )
    new = split.new_users()
    if new:
        lines.append(
            f"{new:,} users of the test part have no event before it, so that nothing is known of "
            "them and nothing asked"
        )
    return [line for line in (*lines, *split.notes()) if line]


def check_users(spec: ModelSettings, split: Split) -> None:
    """Refuse a model with a vector for each user where test users are new by the split.

    Raises:
        DataError: if it has such vectors.
    """
    if split.context is not None and takes(MODELS[spec.name], "n_users"):
        raise DataError(
            f"{spec.name} has a vector for each user, but the {split.name} split asks about users "
            "without a training event, whose vectors would never be trained; choose a model that "
            "reads histories, such as sasrec or gru4rec, or another split"
        )


def build_model(
    spec: ModelSettings,
    log: Interactions,
    length: int,
    *,
    seed: int | None,
    catalogue: Catalogue | None = None,
) -> Model:
    """Return a new model with initial weights; the same seed gives the same weights.

    Args:
        spec: which model, and its settings.
        log: the training part; graph models use its events.
        length: the longest history.
        seed: of the weights; None leaves them uninitialised, because others are loaded next.
        catalogue: the shards of the items, if this process has some of them.
    """
    model, n_items = MODELS[spec.name], log.n_items
    reads_times = model.needs_times or getattr(model, "fits_times", False)
    if reads_times and not log.has_time:
        raise DataError(
            f"{spec.name} reads the times of events, and the log has none; name their column with "
            f"--time, or use {'sasrec' if model.needs_times else 'popularity'}"
        )
    if n_items < 2 and issubclass(model, Encoder):
        raise DataError(
            f"the log has one item, {log.items.raw[0]!r}, and {spec.name} is trained to tell items "
            "apart; check that --item names the column of the items"
        )
    facts: dict[str, Callable[[], Any]] = {
        "length": lambda: length,
        "n_users": lambda: log.n_users,
        "edges": lambda: events(log),
        SHARDS: lambda: catalogue,
    }
    lacking = sorted(getattr(model, "__abstractmethods__", ()))
    if lacking:
        raise RecipeError(
            f"{spec.name} cannot be built: its class has no method {' and no '.join(lacking)}; "
            f"softrec.types.{'Encoder' if issubclass(model, Encoder) else 'Scorer'} says what it "
            "returns"
        )
    known = inspect.signature(model).parameters
    settings = {name: fact() for name, fact in facts.items() if name in known} | spec.settings
    if seed is not None:
        torch.manual_seed(seed)
    try:
        with _Undrawn() if seed is None else nullcontext():
            encoder = model(n_items, **settings)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        text = " ".join(str(error).split())
        told = {n: value for n, value in settings.items() if n not in ("edges", SHARDS)}
        given = ", ".join(f"{name}={value}" for name, value in told.items())
        if not given:
            raise RecipeError(f"{spec.name} cannot be built: {text}") from error
        raise RecipeError(
            f"{given} are not accepted by {spec.name}: {text}; change these settings"
        ) from error
    except (AttributeError, LookupError) as error:
        if MODELS.member(spec.name).in_tree:
            raise
        text = one_line(f"{type(error).__name__}: {error}", 250)
        raise RecipeError(f"{spec.name} cannot be built: {text}; --debug shows where") from error
    _check_made(spec.name, encoder, n_items)
    return encoder


def _check_made(name: str, model: Model, n_items: int) -> None:
    """Refuse a model that misses what its `__init__` has to set.

    Raises:
        RecipeError: if it does.
    """
    if "_parameters" not in vars(model):
        raise RecipeError(f"{name} cannot be used: its __init__ must begin with super().__init__()")
    own = getattr(model, "n_items", "not set")
    if own != n_items:
        raise RecipeError(
            f"{name} cannot be used: its n_items is {own}, expected {n_items}; set "
            "self.n_items = n_items in __init__"
        )


def table_scorer(spec: ModelSettings, log: Interactions, length: int) -> TableScorer:
    """Return a counted model with a table of items, not yet fitted."""
    scorer = build_model(spec, log, length, seed=None)  # it has no weights to draw
    assert isinstance(scorer, TableScorer)
    return scorer


def with_prior(
    encoder: Encoder,
    spec: PriorSettings | None,
    log: Interactions,
    length: int,
    temperature: float,
    *,
    fit: bool,
) -> Encoder:
    """Return the encoder with the prior of a recipe, if it has one.

    Args:
        encoder: the model.
        spec: the prior.
        log: the training part.
        length: the longest history.
        temperature: of the softmax that the model is trained with.
        fit: count the events; without it the counts are loaded next.
    """
    if spec is None:
        return encoder
    return WithPrior(encoder, prior_of(spec, log, length, temperature, fit=fit))


def prior_of(
    spec: PriorSettings, log: Interactions, length: int, temperature: float, *, fit: bool
) -> Prior:
    """Return the prior of a recipe; for the arguments see `with_prior`."""
    second = None if spec.second is None else partial(table_scorer, spec.second, log, length)
    prior = Prior(
        partial(table_scorer, spec.model, log, length), strength=spec.strength, floor=spec.floor,
        last=spec.last, items=spec.items, folds=spec.folds,
        temperature=temperature, popularity=spec.popularity, half_life=spec.half_life,
        second=second, second_strength=spec.second_strength,
    )  # fmt: skip
    if fit:
        prior.fit(training_events(log))
    return prior


DRAWS = (
    torch.Tensor.uniform_, torch.Tensor.normal_,
    nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_,
)  # fmt: skip
"""The functions that initialise weights; all other functions of `nn.init` call these."""


class _Undrawn(TorchFunctionMode):
    """A context in which weights are not initialised, which takes most of the time of a table."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, unless it fills a tensor with random numbers."""
        kwargs = kwargs or {}
        if func in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def events(log: Interactions) -> torch.Tensor:
    """Return the events as (user, item), (2, E) int64."""
    pairs = (log.frame[kind].to_numpy().astype(np.int64) for kind in ("user", "item"))
    return torch.from_numpy(np.stack(list(pairs)))


def training_events(log: Interactions) -> Events:
    """Return the events of the training part user by user, oldest first."""
    sequences = log.sequences
    times = None
    if sequences.times is not None:
        times = torch.from_numpy(sequences.times.astype(np.int64))
    items = torch.from_numpy(sequences.items.astype(np.int64, copy=False))
    return Events(torch.from_numpy(sequences.offsets), items, times)


def rows_of(spec: TrainingSettings, data: Examples) -> int:
    """Return how many examples a batch has: where no number is given, few where each is long.

    With thousands of labels a batch, a small log has few steps an epoch, and a model stays at the
    level of popularity for many epochs (docs/log.md).
    """
    if spec.batch_size is not None:
        return spec.batch_size
    labels = data.n_contexts / len(data)
    return max(1, min(ROWS, round(LABELS / labels)))


def build_batches(spec: TrainingSettings, split: Split, *, seed: int) -> TrainingBatches:
    """Return the shuffled training batches of a recipe."""
    data = examples(split.train.sequences, spec.windows, spec.length, stride=spec.stride)
    return TrainingBatches(
        data, rows_of(spec, data), split.train.n_items, seed=seed, side=spec.padding_side
    )
