"""From a recipe and its data to what is trained, on what, and towards what."""

from __future__ import annotations

from itertools import islice

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
from softrec.errors import RecipeError, RunError
from softrec.experiments.build import build_batches, build_model, events
from softrec.experiments.recipe import Recipe
from softrec.experiments.runs import open_run
from softrec.experiments.sources import Training, build_source
from softrec.experiments.specs.base import Trained
from softrec.experiments.specs.candidates import CandidatesSpec, FullSpec, InBatchSpec, SampledSpec
from softrec.experiments.specs.losses import (
    PAIRWISE,
    BslSpec,
    CclSpec,
    CmlSpec,
    DecoupledSpec,
    GbceSpec,
    LossSpec,
    SlSpec,
)
from softrec.experiments.specs.training import InterestSpec
from softrec.losses import pairwise
from softrec.losses.bilateral import bsl_reweight, grouped_label, negative_side, sl
from softrec.losses.distillation import interest_distillation
from softrec.losses.pairwise import PairwiseLoss
from softrec.losses.softmax import Parts, decoupled, hard, mixed
from softrec.objective import InterestPart, LabelPart, Objective
from softrec.scoring import Scoring
from softrec.taken import Taken
from softrec.types import Encoder, TargetSource

BATCHES_LOOKED_AT = 64  # for the mean share of the label, which the red line needs


def build(
    recipe: Recipe, split: Split, *, progress: bool | None = None
) -> tuple[Encoder, Objective, TrainingBatches]:
    """Return encoder, objective and batches of a recipe on its split."""
    spec = recipe.training
    encoder = build_model(recipe.model, split.train, spec.length, seed=recipe.seed)
    if spec.start is not None:
        begin(encoder, spec.start, split)
    batches = build_batches(spec, split, seed=recipe.seed)
    scoring = Scoring(recipe.loss.score, recipe.loss.score_temperature)
    training = Training(split, batches.data, spec, recipe.model, encoder, scoring, progress)
    return encoder, build_objective(recipe, training, batches), batches


def build_objective(recipe: Recipe, training: Training, batches: TrainingBatches) -> Objective:
    """Return the objective of a recipe."""
    target, loss, candidates = recipe.target, recipe.loss, recipe.candidates
    source = build_source(target, training) if target.soft_mass else None
    n_items = training.split.train.n_items
    label_part = _label_part(loss)
    return Objective(
        loss=_loss(loss, source, target.soft_mass, candidates, n_items, batches),
        source=source,
        weight=target.soft_mass if source is not None else 0.0,
        candidates=_candidates(candidates, loss, training),
        scoring=training.scoring,
        exact=not isinstance(candidates, FullSpec) and candidates.soft == "exact",
        label_part=label_part,
        interest_part=_interest_part(recipe.interest),
        l2=loss.l2,
    )


def _loss(
    spec: LossSpec,
    source: TargetSource | None,
    weight: float,
    candidates: CandidatesSpec,
    n_items: int,
    batches: TrainingBatches,
) -> Parts | PairwiseLoss:
    if isinstance(spec, PAIRWISE):
        return _pairwise(spec, candidates, n_items)
    if isinstance(spec, BslSpec):
        if spec.mode == "reweight":
            return {"bsl": (bsl_reweight(spec.exponent), 1.0)}
        if spec.mode == "multi":
            return {"negative": (negative_side(spec.exponent), 1.0)}
        if spec.mode == "bilateral":
            return {"negative": (negative_side(spec.score_temperature), 1.0)}
    if isinstance(spec, SlSpec):
        return {"sl": (sl, 1.0)}
    if source is None:
        return hard()
    if isinstance(spec, DecoupledSpec):
        balance = spec.balance
        return decoupled(
            _red_line(source, weight, batches) if isinstance(balance, str) else balance
        )
    return mixed()


def _pairwise(spec: LossSpec, candidates: CandidatesSpec, n_items: int) -> PairwiseLoss:
    if isinstance(spec, GbceSpec):
        drawn = candidates.size(n_items) if isinstance(candidates, SampledSpec) else n_items - 1
        return pairwise.gbce(spec.calibration, min(1.0, drawn / (n_items - 1)))
    if isinstance(spec, CclSpec):
        return pairwise.ccl(spec.margin, spec.negative_weight)
    if isinstance(spec, CmlSpec):
        return pairwise.hinge(spec.margin)
    return {
        "bpr": pairwise.bpr,
        "weighted-bpr": pairwise.softmax_weighted_bpr,
        "bce": pairwise.bce,
        "bce-sum": pairwise.bce_sum,
        "mse": pairwise.mse,
    }[spec.name]


def _label_part(spec: LossSpec) -> tuple[LabelPart, float] | None:
    if not isinstance(spec, BslSpec) or spec.mode not in ("multi", "bilateral"):
        return None
    if spec.mode == "multi":
        return grouped_label, 1.0
    sharpness = spec.score_temperature / spec.positive_temperature

    def grouped(label_logit: Tensor, user: Tensor) -> Tensor:
        return grouped_label(label_logit, user, sharpness)

    return grouped, spec.positive_temperature


def _interest_part(spec: InterestSpec | None) -> InterestPart | None:
    if spec is None or not spec.weight:
        return None

    def distilled(logits: Tensor, cosines: Tensor) -> Tensor:
        return spec.weight * interest_distillation(
            logits, cosines, spec.temperature, form=spec.form, detach=spec.stop_gradient
        )

    return distilled


def begin(encoder: Encoder, start: Trained, split: Split) -> None:
    """Give `encoder` the weights of a finished run, or of the part of it that fits.

    Raises:
        RunError: if the run was made from other data, or its model does not fit.
    """
    assert isinstance(start, str)  # recipes of runs have been settled
    run = open_run(start)
    run.check_data(split)
    other = run.encoder()
    try:
        if type(other) is type(encoder):
            encoder.load_state_dict(other.state_dict())  # pyright: ignore[reportAttributeAccessIssue]
        else:
            encoder.begin_from(other)  # pyright: ignore[reportAttributeAccessIssue]
    except (RuntimeError, ValueError, AttributeError) as error:
        text = " ".join(str(error).split())
        raise RunError(
            f"the model cannot begin from the {run.recipe.model.name} in {start}: {text}"
        ) from error


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


def _candidates(spec: CandidatesSpec, loss: LossSpec, training: Training) -> CandidateSource | None:
    if isinstance(spec, FullSpec):
        return None
    corrected = not isinstance(loss, PAIRWISE) if spec.correction is None else spec.correction
    counts = torch.from_numpy(training.split.train.item_counts).double()
    popular = counts / counts.sum()
    if isinstance(spec, InBatchSpec):
        return InBatch(popular if corrected else None, spec.mask_hits, spec.mask_positives)
    n_items = len(counts)
    number = spec.size(n_items)
    if spec.sampler == "uniform":
        if not spec.per_row and number > n_items:
            raise RecipeError(
                f"candidates.number is {number:,}, more than the {n_items:,} items; take fewer, "
                "or candidates: full"
            )
        if spec.per_row:
            taken = _taken(training.split.train) if spec.mask_positives else None
            return RowDraws(n_items, number, None, corrected, taken)
        return SharedUniform(n_items, number, corrected)
    probs = popular if spec.sampler == "popularity" else log_uniform(counts)
    if spec.per_row:
        return RowDraws(n_items, number, probs, corrected)
    return SharedDraws(probs, number, corrected)


def _taken(train: Interactions) -> Taken:
    user, item = events(train)
    return Taken.of(user, item, train.n_users, train.n_items)
