"""The contract tests of all registered members in one call, for plugins and for softrec itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import torch
from pydantic import ValidationError

from softrec.candidates import CANDIDATES, StepSize
from softrec.data.batches import TrainingBatches, examples
from softrec.data.interactions import Interactions
from softrec.data.sources import SOURCES
from softrec.data.splits import Split, leave_last_out
from softrec.errors import no_such, one_line
from softrec.evaluation.metrics import METRICS
from softrec.experiments.build.model import build_model
from softrec.experiments.build.shop import shop_of
from softrec.experiments.build.targets import Training
from softrec.losses.settings import LOSSES, LossInputs
from softrec.models.registry import MODELS
from softrec.recipe.specs.data import DataSettings
from softrec.recipe.specs.models import ModelSettings
from softrec.recipe.specs.training import TrainingSettings
from softrec.registry import Registry
from softrec.scoring import Scoring
from softrec.simulation import simulate
from softrec.targets.mixture import MixtureTarget
from softrec.targets.settings import TARGETS
from softrec.targets.smoothing import UniformTarget
from softrec.testing.briefly import check_stored
from softrec.testing.checking import require
from softrec.testing.encoders import check_encoder
from softrec.testing.members import (
    check_candidates,
    check_metric,
    check_pairs,
    check_softmax,
    check_source,
    check_weights,
)
from softrec.testing.scorers import check_scorer
from softrec.testing.targets import check_target
from softrec.types import Scorer, Target
from softrec.weights import WEIGHTS
from softrec.weights.stored import StoredWeights

N_ITEMS, LENGTH, ROWS = 24, 6, 8
LOG = DataSettings(source="shop", shop={"n_items": N_ITEMS})
UNMOVED = ("attention.in_proj_bias", "attention.weights.bias")


class Checked(NamedTuple):
    """A registered member that was checked, or the reason why it was not."""

    kind: str
    name: str
    left_out: str = ""


def check_registered(
    kind: str | None = None,
    name: str | None = None,
    *,
    unmoved: Collection[str] = (),
    **settings: Any,
) -> list[Checked]:
    """Check the contract of all registered members, of those of one kind, or of one member.

    A member is built as by a recipe, on the log of a small simulated shop, with its default
    settings or with the given ones. If several members are checked, those that cannot be built
    without settings are left out, and the result says so.

    Args:
        kind: "target", "loss", "candidates", "weights", "model", "metric" or "data set"; by default
            all.
        name: of one member; by default all members of the kind.
        unmoved: endings of the names of parameters of models that cannot have a gradient, as in
            `check_encoder`.
        **settings: settings of the member `name`.

    Returns:
        The members, in the order of kinds and names.

    Raises:
        AssertionError: if a member breaks a rule; the message names both.

    Example:
        >>> check_registered("metric", "ndcg")
        [Checked(kind='metric', name='ndcg', left_out='')]
    """
    registries = {one.kind: one for one in sorted(Registry.all, key=lambda one: one.kind)}
    require(kind is None or kind in registries, no_such("kind", kind, registries))
    if name is not None:
        require(kind is not None, "say of which kind the one member is")
    checked: list[Checked] = []
    with tempfile.TemporaryDirectory() as folder:
        small = SmallShop(Path(folder), tuple(unmoved))
        for own, registry in registries.items():
            names = registry.choices() if kind in (None, own) and name is None else ()
            checked += [small.checked(own, one, {}) for one in names]
        if kind is not None and name is not None:
            known = registries[kind]
            require(name in known, no_such(kind, name, known.choices()))
            found = small.checked(kind, name, settings)
            require(not found.left_out, f"{kind} {name!r}: {found.left_out}; give settings")
            checked.append(found)
    return checked


@dataclass(frozen=True)
class SmallShop:
    """The data on which members are built."""

    folder: Path
    unmoved: tuple[str, ...] = ()

    def checked(self, kind: str, name: str, settings: Mapping[str, Any]) -> Checked:
        """Check one member.

        Raises:
            AssertionError: if it breaks a rule.
        """
        contracts: dict[str, Callable[[str, Mapping[str, Any]], str | None]] = {
            TARGETS.kind: self._target,
            LOSSES.kind: self._loss,
            CANDIDATES.kind: self._candidates,
            WEIGHTS.kind: self._weights,
            MODELS.kind: self._model,
            METRICS.kind: lambda one, _: check_metric(METRICS[one]),
            SOURCES.kind: lambda one, _: check_source(SOURCES[one], one),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                return Checked(kind, name, contracts[kind](name, settings) or "")
            except ValidationError as error:
                if not settings:
                    fields = ", ".join(".".join(map(str, e["loc"])) for e in error.errors())
                    return Checked(
                        kind,
                        name,
                        f"cannot be built without settings ({fields})".replace(" ()", ""),
                    )
                wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
                raise AssertionError(f"{kind} {name!r}: {'; '.join(wrong)}") from error
            except AssertionError as error:
                raise AssertionError(f"{kind} {name!r}: {error}") from error
            except Exception as error:
                what = one_line(f"{type(error).__name__}: {error}", 300)
                raise AssertionError(f"{kind} {name!r} fails: {what}") from error

    @cached_property
    def split(self) -> Split:
        """Return the split of a small log."""
        log = simulate(shop_of(LOG), n_users=2 * N_ITEMS, max_length=12)
        split, start, parts = leave_last_out(log, cold="keep"), 0, {}
        for name in ("train", "valid", "test"):
            part: Interactions = getattr(split, name)
            time = 60 * (start + pl.int_range(pl.len()))
            rated = part.frame.with_columns(time=time, weight=(1 + time % 7).cast(pl.Float32))
            parts[name] = replace(part, frame=rated)
            start += len(part.frame)
        return replace(split, **parts)

    @cached_property
    def batches(self) -> TrainingBatches:
        """Return batches of a few rows with one prediction per row, at its end."""
        data = examples(self.split.train.sequences, "prefixes", LENGTH)
        return TrainingBatches(data, ROWS, self.split.train.n_items)

    @cached_property
    def training(self) -> Training:
        """Return the data on which sources are fitted."""
        spec = TrainingSettings(length=LENGTH, windows="prefixes")
        data, encoder = self.batches.data, self._built("gru4rec", {"dim": 4})
        return _Uncached(self.split, data, spec, "gru4rec", encoder, Scoring(), LOG, self.folder)

    def _built(self, name: str, settings: Mapping[str, Any]) -> Any:
        seed = int(torch.randint(2**31, ()))
        spec = ModelSettings(name=name, **settings)
        return build_model(spec, self.split.train, LENGTH, seed=seed)

    def _model(self, name: str, settings: Mapping[str, Any]) -> None:
        make, n_items = partial(self._built, name, settings), self.split.train.n_items
        if isinstance(make(), Scorer):
            check_scorer(make, n_items)
        else:
            check_encoder(make, n_items, prefixes=False, unmoved=(*UNMOVED, *self.unmoved))

    def _target(self, name: str, settings: Mapping[str, Any]) -> str | None:
        spec = TARGETS[name](**settings)
        weight = spec.soft_weight
        require(0 <= weight <= 1, f"the weight of the soft target must be in [0, 1], got {weight}")
        if not weight:
            return "has no soft target"
        source = spec.build(self.training)
        for batch in list(self.batches)[:2]:
            target = source(batch)
            require(
                isinstance(target, Target),
                f"called with a batch it gives a {type(target).__name__}, expected a subclass of "
                "softrec.types.Target",
            )
            subtracts = isinstance(target, MixtureTarget) or (
                type(target).without is Target.without
            )
            rows, n_items = len(batch.label), self.split.train.n_items
            check_target(target, n_items, rows, by_subtraction=subtracts)
        return None

    def _loss(self, name: str, settings: Mapping[str, Any]) -> None:
        spec = LOSSES[name](**settings)
        uniform = UniformTarget(self.split.train.n_items)
        for weight in (0.0, 0.3) if spec.softmax else (0.0,):
            own = spec if weight else spec.for_label_alone()
            source = uniform if weight else None
            others = float(self.split.train.n_items - 1)
            given = LossInputs(source, weight, 1.0, others, lambda: list(self.batches)[:2])
            term = own.build(given)
            if callable(term.loss):
                check_pairs(term.loss)
            else:
                check_softmax(term.loss, weight)

    def _candidates(self, name: str, settings: Mapping[str, Any]) -> None:
        n_items = self.split.train.n_items
        for labels in (1, 10**9):  # what settings decide for a cheap step and for a costly one
            step = StepSize(n_items, width=8, labels=labels)
            spec, _ = CANDIDATES[name](**settings).decided(step)
            for softmax in (True, False):
                source = spec.build(self.training, softmax=softmax)
                if source is None:  # all items
                    continue
                for batch in list(self.batches)[:2]:
                    check_candidates(source, batch, n_items)

    def _weights(self, name: str, settings: Mapping[str, Any]) -> None:
        source = WEIGHTS[name](**settings).build(self.training)
        if source is None:  # all are 1
            return
        if isinstance(source, StoredWeights):
            check_stored(source, self.training.n_items)
        source.begin_epoch(self.training.encoder, 0)
        for batch in list(self.batches)[:2]:
            check_weights(source, batch)


@dataclass(frozen=True)
class _Uncached(Training):
    """Training data whose artifacts are written to a folder that is deleted afterwards."""

    place: Path = Path()

    def artifact(self, kind: str, facts: Mapping[str, Any], make: Callable[[Path], object]) -> Path:
        """Return the folder that `make` writes."""
        folder = Path(tempfile.mkdtemp(dir=self.place))
        make(folder)
        return folder
