"""What makes no loss is refused, with what was expected and what came; nothing is guessed."""

import math

import pytest
import torch

from messages import refused
from softrec.candidates import InBatch, SharedUniform
from softrec.losses import pairwise
from softrec.losses.bilateral import bsl_reweight, grouped_label, negative_side, sl
from softrec.losses.distillation import interest_distillation
from softrec.losses.reference import plain
from softrec.losses.softmax import (
    SoftmaxProblem,
    SoftmaxStats,
    TargetAnswers,
    binary_part,
    decoupled,
    hard,
    hard_cross_entropy,
    mixed,
    rest_part,
    soft_cross_entropy,
)
from softrec.losses.streaming import streamed
from softrec.losses.table import table_loss
from softrec.objective import Objective
from softrec.scoring import Scoring
from softrec.targets.dense import DenseTarget
from softrec.targets.mixture import MixtureTarget
from softrec.targets.smoothing import UniformTarget, popularity
from softrec.targets.teacher import TeacherTarget
from softrec.testing import random_case
from softrec.testing.losses import over_all
from softrec.types import Batch, Encoder, ItemVectors, Vectors

CASE = random_case(0, rows=4, n_items=6)
TARGET = DenseTarget(CASE.probs)
FULL = pytest.mark.parametrize("softmax", [plain, streamed])
SHARED = pytest.mark.parametrize("shared", [streamed, plain])
SOFT = [soft_cross_entropy, binary_part, rest_part, hard_cross_entropy, sl, bsl_reweight(1.1)]
SOFT.append(negative_side(1.1))


@FULL
@pytest.mark.parametrize("weight", [2.0, -0.1, 1.0000001, math.nan, math.inf])
def test_weights_that_are_no_share(softmax, weight):
    with refused(ValueError):
        over_all(softmax)(mixed(), CASE.users, CASE.items, CASE.label, TARGET, weight)


@pytest.mark.parametrize("weight", [2.0, -0.1, math.nan])
@pytest.mark.parametrize("loss", SOFT)
def test_weights_of_a_single_loss(loss, weight):
    two = torch.zeros(2)
    with refused(ValueError):
        loss(SoftmaxStats(two, two), TargetAnswers(two, two, two), weight)


@pytest.mark.parametrize("loss", SOFT)
def test_numbers_that_are_not_one_per_example(loss):
    two, one = torch.zeros(2), torch.zeros(1)
    for stats, answers in (
        (SoftmaxStats(two, one), TargetAnswers(two, two, two)),
        (SoftmaxStats(two, two[:, None]), TargetAnswers(two, two, two)),
        (SoftmaxStats(two, two), TargetAnswers(two, one, two)),
        (SoftmaxStats(two, two), TargetAnswers(two, two, two[None])),
        (SoftmaxStats(two[:, None], two[:, None]), TargetAnswers(*[two[:, None]] * 3)),
    ):
        with refused(ValueError):
            loss(stats, answers, 0.5)


@pytest.mark.parametrize("balance", [3.0, -0.5, 1.1, math.nan])
def test_balances_that_are_no_share(balance):
    with refused(ValueError):
        decoupled(balance)


@FULL
def test_a_target_that_is_missing(softmax):
    for parts in (decoupled(0.5), {"alone": (rest_part, 1.0)}):
        with refused(ValueError):
            over_all(softmax)(parts, CASE.users, CASE.items, CASE.label, None, 0.0)
    with refused(ValueError):
        over_all(softmax)(mixed(), CASE.users, CASE.items, CASE.label, None, 0.3)
    with refused(ValueError):
        over_all(softmax)({}, CASE.users, CASE.items, CASE.label, None, 0.0)


def test_objectives_of_nothing():
    for options in (
        {"loss": decoupled(0.5)},
        {"loss": mixed(), "weight": 0.5},
        {"loss": mixed(), "weight": 2.0, "source": UniformTarget(6)},
        {"loss": pairwise.bpr, "source": UniformTarget(6)},
        {"loss": pairwise.bpr, "weight": 0.5},
        {"l2": -1.0},
        {"l2": math.nan},
    ):
        with refused(ValueError):
            Objective(**options)


@FULL
def test_shapes_and_labels(softmax):
    users, items, label = CASE.users, CASE.items, CASE.label
    wide = ItemVectors(torch.zeros(6, 9), None)
    for given in (
        (users, items, label[:3]),
        (users, items, label[:1]),
        (users, items, label[:, None]),
        (users[0], items, label),
        (users[:0], items, label[:0]),
        (users, wide, label),
        (users, ItemVectors(items.vectors, items.bias[:1]), label),
        (users, items, label + 6),
        (users, items, label - 6),
        (users, ItemVectors(items.vectors[:1]), 0 * label),
    ):
        with refused(ValueError):
            over_all(softmax)(hard(), *given, None, 0.0)


@SHARED
def test_problems_that_do_not_fit(shared):
    users, items = CASE.users, CASE.items
    own = ItemVectors(items.vectors[CASE.label], items.bias[CASE.label])
    nowhere = torch.full((4,), -1)
    fits = {"users": users, "negatives": items, "place": nowhere, "positive": own}
    shared(SoftmaxProblem(**fits), hard())
    for change in (
        {"positive": ItemVectors(own.vectors[:1], own.bias[:1])},
        {"place": nowhere[:1]},
        {"counts": torch.ones(1)},
        {"counts": torch.ones(6), "correction": torch.ones(1)},
    ):
        with refused(ValueError):
            shared(SoftmaxProblem(**fits | change), hard())
    one = SoftmaxProblem(users, ItemVectors(items.vectors[:1]), torch.zeros(4, dtype=torch.int64))
    for loss in (hard(), pairwise.bpr):
        with refused(ValueError):
            shared(one, loss)


def test_tables_that_do_not_fit():
    two, counts = torch.zeros(2), torch.ones(2, 3)
    answers = TargetAnswers(two, two, two)
    with refused(ValueError):
        table_loss(two, 0 * counts, counts, decoupled(0.5))
    with refused(ValueError):
        table_loss(two, 0 * counts, counts, mixed(), answers=answers, weight=7)
    with refused(ValueError):
        table_loss(two, 0 * counts, counts, pairwise.bpr, answers=answers)
    with refused(ValueError):
        table_loss(two[:1], 0 * counts, counts, hard())


PAIRS = [
    pairwise.bpr,
    pairwise.softmax_weighted_bpr,
    pairwise.bce,
    pairwise.bce_sum,
    pairwise.mse,
    pairwise.gbce(0.5, 0.5),
    pairwise.ccl(0.5, 1.0),
    pairwise.hinge(0.5),
]


@pytest.mark.parametrize("loss", PAIRS)
def test_pairs_that_do_not_fit(loss):
    label, others = torch.zeros(2), torch.zeros(2, 3)
    loss(label, others, torch.ones(1, 3))
    for given in (
        (label[:1], others, torch.ones(2, 3)),
        (label[:, None], others, torch.ones(2, 3)),
        (label, others[0], torch.ones(2, 3)),
        (label, others, torch.ones(3)),
        (label, others, torch.ones(2, 1)),
        (label, others[:1], torch.ones(1, 3)),
    ):
        with refused(ValueError):
            loss(*given)


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0])
def test_settings_that_are_no_number(number):
    for make in (
        lambda: pairwise.hinge(number),
        lambda: pairwise.ccl(0.5, number),
        lambda: pairwise.gbce(number, 0.5),
        lambda: pairwise.gbce(0.5, number),
        lambda: bsl_reweight(number),
        lambda: negative_side(number),
        lambda: grouped_label(torch.zeros(2), torch.zeros(2).long(), number),
        lambda: Scoring("cosine", number),
        lambda: popularity(torch.ones(3), temperature=number),
        lambda: TeacherTarget(torch.zeros(1, 2), ItemVectors(torch.zeros(3, 2)), number),
        lambda: interest_distillation(torch.zeros(1, 2), torch.zeros(1, 2), number),
        lambda: MixtureTarget((UniformTarget(3), UniformTarget(3)), (number, 1 - number)),
    ):
        with refused(ValueError):
            make()


def test_two_distributions_of_different_shapes():
    with refused(ValueError):
        interest_distillation(torch.zeros(4, 2), torch.zeros(1, 2), 1.0)


@SHARED
@pytest.mark.parametrize("exact", [False, True])
def test_soft_targets_over_candidates_that_a_row_leaves_out(shared, exact):
    masked = InBatch(mask_positives=True)
    options = {"candidates": masked, "shared": shared}
    batch = _batch(torch.tensor([0, 1, 2, 0]))
    assert Objective(**options)(_Encoder(), batch).total.isfinite()
    soft = Objective(mixed(), UniformTarget(6), 0.5, exact=exact, **options)
    with refused(ValueError):
        soft(_Encoder(), batch)


def test_labels_of_a_sample_are_items():
    with pytest.raises((IndexError, ValueError)):
        Objective(candidates=SharedUniform(6, 3))(_Encoder(), _batch(torch.tensor([0, 1, 2, 6])))


class _Encoder(Encoder):
    n_items = 6

    def forward(self, batch, items=None):
        return Vectors(CASE.users, items or self.items())

    def items(self):
        return CASE.items


def _batch(label):
    return Batch(label[:, None], label, label, label)
