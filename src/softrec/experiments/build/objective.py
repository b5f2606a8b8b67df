"""From a recipe and its data to what is trained, on what, and towards what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from softrec.candidates import (
    CandidateSource,
    InBatch,
    RowDraws,
    SharedDraws,
    SharedUniform,
    log_uniform,
)
from softrec.data.batches import TrainingBatches
from softrec.data.interactions import Interactions
from softrec.data.splits import Split
from softrec.errors import RecipeError
from softrec.experiments.build.model import build_batches, build_model, events
from softrec.experiments.build.start import begin
from softrec.experiments.build.targets import Training, build_source
from softrec.experiments.build.wiring import wired
from softrec.losses import pairwise
from softrec.losses.bilateral import bsl_reweight, grouped_label, negative_side, sl
from softrec.losses.distillation import interest_distillation
from softrec.losses.pairwise import PairwiseLoss
from softrec.losses.softmax import Parts, decoupled, hard, mixed
from softrec.objective import InterestPart, LabelPart, Objective
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.candidates import CandidatesSpec, FullSpec, InBatchSpec, SampledSpec
from softrec.recipe.specs.losses import (
    PAIRWISE,
    BceSpec,
    BprSpec,
    BslSpec,
    CclSpec,
    CmlSpec,
    DecoupledSpec,
    GbceSpec,
    LossSpec,
    MixedSpec,
    SlSpec,
)
from softrec.recipe.specs.training import InterestSpec
from softrec.scoring import Scoring
from softrec.taken import Taken
from softrec.training.lines import Tell
from softrec.types import Encoder, TargetSource

BATCHES_LOOKED_AT = 64  # for the mean share of the label, which the red line needs


def build(
    recipe: Recipe,
    split: Split,
    *,
    progress: bool | None = None,
    tell: Tell = lambda _: None,
) -> tuple[Encoder, Objective, TrainingBatches]:
    """Return encoder, objective and batches of a recipe on its split."""
    spec = recipe.training
    encoder = build_model(recipe.model, split.train, spec.length, seed=recipe.seed)
    if spec.start is not None:
        begin(encoder, spec.start, split, seed=recipe.seed, tell=tell)
    batches = build_batches(spec, split, seed=recipe.seed)
    scoring = Scoring(recipe.loss.score, recipe.loss.score_temperature)
    training = Training(split, batches.data, spec, recipe.model, encoder, scoring, progress)
    return encoder, build_objective(recipe, training, batches), batches


def build_objective(recipe: Recipe, training: Training, batches: TrainingBatches) -> Objective:
    """Return the objective of a recipe."""
    target, loss, candidates = recipe.target, recipe.loss, recipe.candidates
    source = build_source(target, training) if target.soft_mass else None
    weight = target.soft_mass if source is not None else 0.0
    given = Given(source, weight, candidates, training.split.train.n_items, batches)
    term = wired(LOSSES, type(loss), f"loss: {loss.name}")(loss, given)
    return Objective(
        loss=term.loss,
        source=source,
        weight=weight,
        candidates=build_candidates(candidates, loss, training),
        scoring=training.scoring,
        exact=not isinstance(candidates, FullSpec) and candidates.soft == "exact",
        label_part=term.label_part,
        interest_part=_interest_part(recipe.interest),
        l2=loss.l2,
    )


# --- losses ---


@dataclass(frozen=True)
class Given:
    """What a loss may depend on beside its own settings."""

    source: TargetSource | None
    weight: float
    candidates: CandidatesSpec
    n_items: int
    batches: TrainingBatches


class Term(NamedTuple):
    """A loss, and what it asks of the labels of a whole batch."""

    loss: Parts | PairwiseLoss
    label_part: tuple[LabelPart, float] | None = None


def _mixed(spec: MixedSpec, given: Given) -> Term:
    return Term(hard() if given.source is None else mixed())


def _decoupled(spec: DecoupledSpec, given: Given) -> Term:
    if given.source is None:
        raise RecipeError(
            "loss: decoupled needs a soft target with alpha above 0; choose one, or loss: mixed"
        )
    if isinstance(spec.balance, str):
        return Term(decoupled(_red_line(given.source, given.weight, given.batches)))
    return Term(decoupled(spec.balance))


def _sl(spec: SlSpec, given: Given) -> Term:
    return Term({"sl": (sl, 1.0)})


def _bsl(spec: BslSpec, given: Given) -> Term:
    return wired(BSL, spec.mode, f"loss: bsl in mode {spec.mode}")(spec, given)


def _bsl_reweight(spec: BslSpec, given: Given) -> Term:
    return Term({"bsl": (bsl_reweight(spec.exponent), 1.0)})


def _bsl_multi(spec: BslSpec, given: Given) -> Term:
    return Term({"negative": (negative_side(spec.exponent), 1.0)}, (grouped_label, 1.0))


def _bsl_bilateral(spec: BslSpec, given: Given) -> Term:
    sharpness = spec.score_temperature / spec.positive_temperature
    return Term(
        {"negative": (negative_side(spec.score_temperature), 1.0)},
        (partial(grouped_label, sharpness=sharpness), spec.positive_temperature),
    )


def _gbce(spec: GbceSpec, given: Given) -> Term:
    others = given.n_items - 1
    sampled = isinstance(given.candidates, SampledSpec)
    drawn = given.candidates.size(given.n_items) if sampled else others  # pyright: ignore[reportAttributeAccessIssue]
    return Term(pairwise.gbce(spec.calibration, min(1.0, drawn / others)))


def _ccl(spec: CclSpec, given: Given) -> Term:
    return Term(pairwise.ccl(spec.margin, spec.negative_weight))


def _cml(spec: CmlSpec, given: Given) -> Term:
    return Term(pairwise.hinge(spec.margin))


def _plain(spec: BprSpec | BceSpec, given: Given) -> Term:
    return Term(wired(PLAIN, spec.name, f"loss: {spec.name}"))


LOSSES: Mapping[type, Callable[[Any, Given], Term]] = {
    MixedSpec: _mixed,
    DecoupledSpec: _decoupled,
    SlSpec: _sl,
    BslSpec: _bsl,
    GbceSpec: _gbce,
    CclSpec: _ccl,
    CmlSpec: _cml,
    BprSpec: _plain,
    BceSpec: _plain,
}
BSL: Mapping[str, Callable[[BslSpec, Given], Term]] = {
    "reweight": _bsl_reweight,
    "multi": _bsl_multi,
    "single": _sl,  # the code's name for what is SL
    "bilateral": _bsl_bilateral,
}
PLAIN: Mapping[str, PairwiseLoss] = {
    "bpr": pairwise.bpr,
    "weighted-bpr": pairwise.softmax_weighted_bpr,
    "bce": pairwise.bce,
    "bce-sum": pairwise.bce_sum,
    "mse": pairwise.mse,
}


def _interest_part(spec: InterestSpec | None) -> InterestPart | None:
    if spec is None or not spec.weight:
        return None

    def distilled(logits: Tensor, cosines: Tensor) -> Tensor:
        return spec.weight * interest_distillation(
            logits, cosines, spec.temperature, form=spec.form, detach=spec.stop_gradient
        )

    return distilled


def _red_line(source: TargetSource, weight: float, batches: TrainingBatches) -> float:
    """Return lambda2* = 1 / (1 + lambda1 (1 - q_y)) at the mean share q_y of the labels.

    There the decoupled loss is, in the mean, the mixed one. q_y is meant over the first batches
    of an epoch's order, whose state is left as it was.
    """
    state = batches.state_dict()
    shares = [
        source(batch).prob_of(batch.label).double().mean()
        for batch in islice(iter(batches), BATCHES_LOOKED_AT)
    ]
    batches.load_state_dict(state)
    return 1 / (1 + weight * (1 - float(torch.stack(shares).mean())))


# --- candidates ---


def build_candidates(
    spec: CandidatesSpec, loss: LossSpec, training: Training
) -> CandidateSource | None:
    """Return what draws the candidates of a batch; None where they are all items."""
    build = wired(CANDIDATES, type(spec), f"candidates: {spec.name}")
    if isinstance(spec, FullSpec):
        return build(spec, False, training)
    corrected = not isinstance(loss, PAIRWISE) if spec.correction is None else spec.correction
    return build(spec, corrected, training)


def _full(spec: FullSpec, corrected: bool, training: Training) -> None:
    return None


def _in_batch(spec: InBatchSpec, corrected: bool, training: Training) -> CandidateSource:
    frequency = _popularity(_label_counts(training)) if corrected else None
    return InBatch(frequency, spec.mask_hits, spec.mask_positives)


def _sampled(spec: SampledSpec, corrected: bool, training: Training) -> CandidateSource:
    counts = _counts(training)
    n_items = len(counts)
    number = spec.size(n_items)
    distribution = wired(SAMPLERS, spec.sampler, f"candidates.sampler: {spec.sampler}")
    probs = None if distribution is None else distribution(counts)
    if spec.per_row:
        taken = _taken(training.split.train) if spec.mask_positives else None
        return RowDraws(n_items, number, probs, corrected, taken)
    if probs is not None:
        return SharedDraws(probs, number, corrected)
    if number > n_items:
        raise RecipeError(
            f"candidates.number is {number:,}, more than the {n_items:,} items; take fewer, "
            "or candidates: full"
        )
    return SharedUniform(n_items, number, corrected)


def _counts(training: Training) -> Tensor:
    return torch.from_numpy(training.split.train.item_counts).double()


def _label_counts(training: Training) -> Tensor:
    """Return how often each item is a label of an epoch: of the windows, not of the events."""
    _, stop = training.data.histories()
    labels = torch.from_numpy(training.data.sequences.items[stop])
    return labels.long().bincount(minlength=training.split.train.n_items).double()


def _popularity(counts: Tensor) -> Tensor:
    return counts / counts.sum()


CANDIDATES: Mapping[type, Callable[[Any, bool, Training], CandidateSource | None]] = {
    FullSpec: _full,
    InBatchSpec: _in_batch,
    SampledSpec: _sampled,
}
SAMPLERS: Mapping[str, Callable[[Tensor], Tensor] | None] = {
    "uniform": None,
    "popularity": _popularity,
    "log-uniform": log_uniform,
}
"""How likely each item is, from how often it occurs in the training part; None: all alike."""


def _taken(train: Interactions) -> Taken:
    user, item = events(train)
    return Taken.of(user, item, train.n_users, train.n_items)
