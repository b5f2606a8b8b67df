"""Targets that are almost sure of the label, 1 - s_y of 5e-3 to 1e-6: single precision keeps them.

The tables of the oracle are made from the same stored numbers in float64, apart from the targets.
"""

from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional as F

from softrec.candidates import RowDraws, SharedUniform
from softrec.losses.bilateral import sl
from softrec.losses.reference import plain
from softrec.losses.softmax import decoupled, mixed
from softrec.losses.streaming import streamed
from softrec.objective import Objective
from softrec.targets.dense import DenseTarget
from softrec.targets.mixture import MixtureTarget
from softrec.targets.smoothing import PopularityTarget, UniformTarget
from softrec.targets.sparse import SparseTarget
from softrec.targets.teacher import TeacherTarget, TopTarget
from softrec.testing.losses import over_all
from softrec.types import Batch, ItemVectors, Target, Vectors

N, P, D = 23, 6, 5
LEFT = (5e-3, 7e-4, 1e-6)
LABEL = torch.tensor([4, 4, 0, 22, 4, 4])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


USERS, VECTORS, BIAS = 2 * normal(P, D), normal(N, D, seed=1), normal(N, seed=2)
ITEMS = ItemVectors(VECTORS, BIAS)
BATCH = Batch(LABEL[:, None], LABEL, torch.arange(P), torch.arange(P))


def with_label(rest, left):
    """Shares (P, k) of others and, first, of the label; in float32, the others' to the last bit."""
    rest = left * rest / rest.sum(1, keepdim=True)
    return torch.cat([1 - rest.sum(1, keepdim=True), rest], 1)


def dense_case(left):
    s = normal(P, N, seed=3).exp()
    s.scatter_(1, LABEL[:, None], 0)
    s = left * s / s.sum(1, keepdim=True)
    s.scatter_(1, LABEL[:, None], 1 - left)
    return DenseTarget(s), s.double()


def popular_case(left):
    """One item is nearly all: the label of four rows, and none of the others'."""
    s = normal(N, seed=4).exp()
    s[4] = 0
    s = left * s / s.sum()
    s[4] = 1 - left
    return PopularityTarget(s), s.double().expand(P, N)


def sparse_case(left):
    """Three others a row, of which one is listed twice."""
    others = (LABEL[:, None] + torch.tensor([1, 5, 5, 9])) % N
    items = torch.cat([LABEL[:, None], others], 1)
    shares = with_label(normal(P, 4, seed=5).exp(), left)
    table = torch.zeros(P, N, dtype=torch.float64).scatter_add(1, items, shares.double())
    return SparseTarget(items, shares), table


def top_case(left):
    target, table = sparse_case(left)
    floor = torch.full((P,), left / N)
    whole = TopTarget(SparseTarget(target.items, target.probs * (1 - left)), floor, N)
    table = torch.zeros(P, N, dtype=torch.float64).scatter_add(
        1, target.items, whole.best.probs.double()
    )
    return whole, table + floor.double()[:, None]


def teacher_case(left):
    """A teacher whose vectors give the label the odds (1 - left) / left."""
    users, vectors = normal(P, 3, seed=6), normal(N, 3, seed=7)
    logits = users.double() @ vectors.double().T / 0.5
    one_hot = F.one_hot(LABEL, N).float()
    rest = logits.masked_fill(one_hot > 0, -torch.inf).logsumexp(1)
    own = logits.gather(1, LABEL[:, None])[:, 0]
    lift = (rest + torch.tensor((1 - left) / left, dtype=torch.float64).log() - own) * 0.5
    # one more coordinate for each label: it lifts that item in the rows that have it
    wide = torch.cat([users, lift.float()[:, None] * torch.eye(P)], 1)
    items = torch.cat([vectors, one_hot.T], 1)
    table = (wide.double() @ items.double().T / 0.5).softmax(1)
    return TeacherTarget(wide, ItemVectors(items), 0.5), table


def mixture_case(left):
    parts = [sparse_case(left), teacher_case(left), dense_case(left)]
    shares = (0.3, 0.3, 0.4)
    target = MixtureTarget(tuple(target for target, _ in parts), shares)
    return target, sum(share * table for share, (_, table) in zip(shares, parts, strict=True))


CASES = {
    "dense": dense_case,
    "popularity": popular_case,
    "sparse": sparse_case,
    "top": top_case,
    "teacher": teacher_case,
    "mixture": mixture_case,
}


def truth(name, s, copies, correction):
    """Loss and gradients (users, vectors, bias) from tables in float64; P x N throughout."""
    leaves = [t.double().requires_grad_() for t in (USERS, VECTORS, BIAS)]
    z = leaves[0] @ leaves[1].T + leaves[2]
    column = LABEL[:, None]
    z_y, s_y = z.gather(1, column)[:, 0], s.gather(1, column)[:, 0]
    others = copies.scatter(1, column, 0)
    rest = (z + correction + others.log()).logsumexp(1)
    share = s.scatter(1, column, 0) * (others > 0)
    left, total = share.sum(1), share.sum(1) + s_y
    left, s_y = left / total, s_y / total
    mean = (share * z).sum(1) / share.sum(1)
    odds = z_y - rest
    if name == "rest":
        value = rest - mean
    elif name == "decoupled":
        others_q = 0.4 * left
        binary = (1 - others_q) * F.softplus(-odds) + others_q * F.softplus(odds)
        value = 0.7 * binary + 0.3 * (rest - mean)
    elif name == "mixed":
        value = F.softplus(-odds) + 0.4 * left * (z_y - mean)
    else:
        value = -odds + 0.4 * left * (z_y - mean)
    return value.detach(), torch.autograd.grad(value.mean(), leaves)


LOSSES = {
    "rest": decoupled(0.0),
    "decoupled": decoupled(0.7),
    "mixed": mixed(),
    "sl": {"sl": (sl, 1.0)},
}
LOSS = pytest.mark.parametrize("loss", LOSSES)
TARGET = pytest.mark.parametrize("target", CASES)
MASS = pytest.mark.parametrize("left", LEFT)


def agree(value, leaves, expected, slopes):
    summed = sum(value.parts[name] for name in value.parts) if len(value.parts) == 1 else None
    if summed is not None:
        torch.testing.assert_close(summed.double(), expected, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(value.total.double(), expected.mean(), rtol=2e-6, atol=2e-6)
    for got, wanted in zip(torch.autograd.grad(value.total, leaves), slopes, strict=True):
        size = float(wanted.abs().max())
        torch.testing.assert_close(got.double(), wanted, rtol=4e-6, atol=4e-6 * size)


@pytest.mark.slow
@MASS
@TARGET
@LOSS
@pytest.mark.parametrize("softmax", [plain, streamed])
def test_over_the_full_catalogue(softmax, loss, target, left):
    soft, table = CASES[target](left)
    ones = torch.ones(P, N, dtype=torch.float64)
    others = table.scatter(1, LABEL[:, None], 0).sum(1)
    assert left / 2 < others[0] < 3 * left  # the case is what it says
    expected, slopes = truth(loss, table, ones, torch.zeros_like(ones))
    leaves = [t.clone().requires_grad_() for t in (USERS, VECTORS, BIAS)]
    items = ItemVectors(*leaves[1:])
    value = over_all(softmax)(LOSSES[loss], leaves[0], items, LABEL, soft, 0.4)
    agree(value, leaves, expected, slopes)


@dataclass(frozen=True)
class Held:
    """An encoder that is only its vectors."""

    leaves: list
    sparse: bool = False
    catalogue: None = None
    log_temperature: None = None

    @property
    def n_items(self):
        return len(self.leaves[1])

    def __call__(self, batch):
        return Vectors(self.leaves[0], ItemVectors(*self.leaves[1:]))


@pytest.mark.slow
@MASS
@TARGET
@pytest.mark.parametrize("loss", ["rest", "decoupled"])
@pytest.mark.parametrize("draws", ["shared", "for each row"])
@pytest.mark.parametrize("shared", [streamed, plain], ids=["streamed", "plain"])
def test_over_candidates(shared, draws, loss, target, left):
    soft, table = CASES[target](left)
    source = SharedUniform(N, 17) if draws == "shared" else RowDraws(N, 60)
    torch.manual_seed(1)
    chosen = source(BATCH)
    copies = torch.zeros(P, N, dtype=torch.float64)
    copies.scatter_add_(1, chosen.items.expand(P, -1), chosen.counts.double().expand(P, -1))
    shift = chosen.correction.double().max()  # all the same: both draw uniformly
    correction = torch.zeros_like(copies) + shift
    assert (chosen.correction == chosen.correction.max()).all()
    kept = copies.scatter(1, LABEL[:, None], 0) > 0
    assert ((table * kept).sum(1) > 0).all()  # every row has a rest to tell apart
    expected, slopes = truth(loss, table, copies, correction)
    leaves = [t.clone().requires_grad_() for t in (USERS, VECTORS, BIAS)]
    objective = Objective(LOSSES[loss], lambda batch: soft, 0.4, source, shared=shared)
    torch.manual_seed(1)
    agree(objective(Held(leaves), BATCH), leaves, expected, slopes)


@MASS
@pytest.mark.parametrize("draws", ["shared", "for each row"])
@pytest.mark.parametrize("shared", [streamed, plain], ids=["streamed", "plain"])
def test_exact_expectations_beside_a_sample(shared, draws, left):
    soft, table = popular_case(left)
    source = SharedUniform(N, 17) if draws == "shared" else RowDraws(N, 60)
    torch.manual_seed(1)
    chosen = source(BATCH)
    leaves = [t.double().requires_grad_() for t in (USERS, VECTORS, BIAS)]
    z = leaves[0] @ leaves[1].T + leaves[2]
    column = LABEL[:, None]
    copies = torch.zeros(P, N, dtype=torch.float64)
    copies.scatter_add_(1, chosen.items.expand(P, -1), chosen.counts.double().expand(P, -1))
    rest = (z + chosen.correction.double().max() + copies.scatter(1, column, 0).log()).logsumexp(1)
    share = table.scatter(1, column, 0)
    value = rest - (share * z).sum(1) / share.sum(1)
    slopes = torch.autograd.grad(value.mean(), leaves)
    single = [t.clone().requires_grad_() for t in (USERS, VECTORS, BIAS)]
    objective = Objective(
        decoupled(0.0), lambda batch: soft, 0.4, source, exact=True, shared=shared
    )
    torch.manual_seed(1)
    agree(objective(Held(single), BATCH), single, value.detach(), slopes)


@pytest.mark.parametrize("softmax", [plain, streamed])
def test_a_uniform_target_leaves_n_minus_1_of_n(softmax):
    table = torch.full((P, N), 1 / N, dtype=torch.float64)
    ones = torch.ones_like(table)
    expected, slopes = truth("decoupled", table, ones, torch.zeros_like(ones))
    leaves = [t.clone().requires_grad_() for t in (USERS, VECTORS, BIAS)]
    items = ItemVectors(*leaves[1:])
    value = over_all(softmax)(decoupled(0.7), leaves[0], items, LABEL, UniformTarget(N), 0.4)
    agree(value, leaves, expected, slopes)


@pytest.mark.parametrize("softmax", [plain, streamed])
@pytest.mark.parametrize("left", [1e-12, 1e-30])
def test_however_sure_the_target_is(softmax, left):
    for case in (sparse_case, teacher_case):
        soft, table = case(left)
        ones = torch.ones_like(table)
        expected, slopes = truth("rest", table, ones, torch.zeros_like(ones))
        leaves = [t.clone().requires_grad_() for t in (USERS, VECTORS, BIAS)]
        items = ItemVectors(*leaves[1:])
        value = over_all(softmax)(decoupled(0.0), leaves[0], items, LABEL, soft, 0.4)
        torch.testing.assert_close(value.total.double(), expected.mean(), rtol=1e-4, atol=1e-4)
        agree_roughly = {"rtol": 1e-4, "atol": 1e-4}
        for got, wanted in zip(torch.autograd.grad(value.total, leaves), slopes, strict=True):
            torch.testing.assert_close(got.double(), wanted, **agree_roughly)


@dataclass(frozen=True)
class OnlyTwoAnswers(Target):
    """A target of somebody's own, which has 1 - s_y by subtraction."""

    probs: torch.Tensor

    def prob_of(self, items):
        return self.probs.gather(1, items.view(P, -1)).view(items.shape)

    def mean_item(self, vectors):
        return self.probs.to(vectors) @ vectors


def test_a_target_with_two_answers_is_right_within_the_rounding_of_its_share():
    for left, tolerance in ((5e-3, 2e-4), (7e-4, 2e-3)):
        target, table = dense_case(left)
        ones = torch.ones_like(table)
        expected, _ = truth("rest", table, ones, torch.zeros_like(ones))
        own = OnlyTwoAnswers(target.probs)
        value = over_all(streamed)(decoupled(0.0), USERS, ITEMS, LABEL, own, 0.4)
        torch.testing.assert_close(
            value.total.double(), expected.mean(), rtol=tolerance, atol=tolerance
        )
    own = OnlyTwoAnswers(dense_case(1e-7)[0].probs)
    nothing = over_all(streamed)(decoupled(0.0), USERS, ITEMS, LABEL, own, 0.4)
    assert nothing.total == 0  # of 1 - s_y only rounding is left


@pytest.mark.parametrize("softmax", [plain, streamed])
@pytest.mark.parametrize("target", CASES)
@pytest.mark.parametrize("odds", [5.0, 12.0, 40.0])
def test_a_model_that_is_sure_still_learns_the_target(softmax, target, odds):
    """The slope c in R vanishes as p_y nears 1, and e in the mean logit does not."""
    soft, table = CASES[target](0.3)
    z = normal(P, N, seed=8).double()
    z.scatter_(1, LABEL[:, None], odds + 3)
    q = 0.6 * F.one_hot(LABEL, N) + 0.4 * table
    leaf = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(-(q * leaf.log_softmax(1)).sum(1).mean(), leaf)
    # users are unit vectors, so that the items' vectors are the logits
    vectors = z.T.contiguous().requires_grad_()
    users = torch.eye(P, dtype=torch.float64)
    total = over_all(softmax)(mixed(), users, ItemVectors(vectors), LABEL, soft, 0.4).total
    (found,) = torch.autograd.grad(total, vectors)
    torch.testing.assert_close(found.T, slope, rtol=1e-5, atol=2e-8)  # targets are float32
