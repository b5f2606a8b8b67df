"""One weight of the soft target for each example: every loss and pass against its rows alone."""

from functools import partial

import pytest
import torch

import softrec.losses.softmax as losses
from messages import refused
from softrec.losses.bilateral import bsl_reweight, sl
from softrec.losses.debiased import debiased_softmax
from softrec.losses.front import softmax_loss
from softrec.losses.pairwise import bpr
from softrec.losses.reference import plain
from softrec.losses.softmax import SoftmaxProblem, SoftmaxStats, SoftTarget, decoupled, hard, mixed
from softrec.losses.streaming import streamed
from softrec.losses.table import table_loss
from softrec.targets.dense import DenseTarget
from softrec.targets.smoothing import UniformTarget
from softrec.targets.sparse import SparseTarget
from softrec.testing import oracles, random_case
from softrec.testing.losses import SoftmaxCase, outcome_of

LOSSES = {
    "mixed": mixed(), "decoupled": decoupled(0.7), "hard": hard(), "sl": {"sl": (sl, 1.0)},
    "bsl": {"bsl": (bsl_reweight(1.2), 1.0)},
    "debiased": {"debiased": (debiased_softmax(0.01, 28, -2.0), 1.0)},
}  # fmt: skip
ROWS, N = 17, 29


def weights(seed=0, rows=ROWS):
    found = torch.rand(rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return found.index_fill(0, torch.tensor([0]), 0).index_fill(0, torch.tensor([1]), 1)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shared", [plain, partial(streamed, rows=4), streamed])
def test_each_row_has_its_own_weight(name, shared):
    """The gradient of the mean is that of each row at its own weight, added."""
    case, each = random_case(3, rows=ROWS, n_items=N, dim=8), weights()
    found, slopes = outcome_of(case, LOSSES[name], each, shared), []
    for row, weight in enumerate(each.tolist()):
        one = slice(row, row + 1)
        alone = SoftmaxCase(case.users[one], case.items, case.label[one], case.probs[one])
        alone = outcome_of(alone, LOSSES[name], weight, plain)
        torch.testing.assert_close(found.values[row], alone.values[0])
        torch.testing.assert_close(found.users[row], alone.users[0] / ROWS)
        slopes.append(alone.vectors)
    torch.testing.assert_close(found.vectors, torch.stack(slopes).mean(0))


def test_the_mixed_loss_is_the_cross_entropy_with_each_mixture():
    case, each = random_case(5, rows=ROWS, n_items=N, dim=8), weights(2)
    found = outcome_of(case, mixed(), each, streamed)
    z, q = case.table(), torch.nn.functional.one_hot(case.label, N) * (1 - each[:, None])
    q = q + each[:, None] * case.probs
    torch.testing.assert_close(found.values, -(q * z.log_softmax(1)).sum(1))
    slopes = (z.softmax(1) - q) / ROWS
    torch.testing.assert_close(found.vectors, slopes.T @ case.users)
    same = outcome_of(case, mixed(), torch.full((ROWS,), 0.25), streamed)
    torch.testing.assert_close(same.values, oracles.soft(z, case.label, case.probs, 0.25))


TARGETS = {
    "uniform": UniformTarget(N), "dense": DenseTarget(torch.rand(ROWS, N).softmax(1)),
    "sparse": SparseTarget(torch.randint(N, (ROWS, 3)), torch.full((ROWS, 3), 1 / 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("some", [False, True])
def test_the_streamed_pass_is_the_reference(name, some):
    """For each way to read a target, over all items and over some."""
    case = random_case(7, rows=ROWS, n_items=N, dim=8, dtype=torch.float32)
    label = case.label
    items = torch.arange(3, N) if some else None
    outcomes = []
    for shared in (plain, partial(streamed, rows=5)):
        users, vectors = case.users.clone().requires_grad_(), case.items.vectors.clone()
        vectors.requires_grad_()
        if items is None:
            problem = SoftmaxProblem(users, case.items._replace(vectors=vectors, bias=None), label)
            soft = SoftTarget(TARGETS[name], label)
        else:
            own = case.items._replace(vectors=vectors[label], bias=None)
            table = case.items._replace(vectors=vectors[items], bias=None)
            place = torch.where(label >= 3, label - 3, -1)
            counts = torch.ones(len(items))
            problem = SoftmaxProblem(users, table, place, own, counts)
            soft = SoftTarget(TARGETS[name], label, items, N)
        value = shared(problem, decoupled(0.6), soft, weights(4).float())
        value.total.backward()
        outcomes.append((value.total.detach(), users.grad, vectors.grad))
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=2e-5)


def test_softmax_loss_takes_one_for_each_label():
    generator = torch.Generator().manual_seed(1)
    users, items = (torch.randn(*s, 8, generator=generator) for s in ((2, 3), (N,)))
    label, each = torch.randint(N, (2, 3), generator=generator), weights(rows=6).float().view(2, 3)
    found = softmax_loss(users, items, label, target=UniformTarget(N), weight=each)
    parts = [
        softmax_loss(user, items, own, target=UniformTarget(N), weight=float(weight))
        for user, own, weight in zip(
            users.view(6, 1, 8), label.view(6, 1), each.flatten(), strict=True
        )
    ]
    torch.testing.assert_close(found, torch.stack(parts).mean())


def stats(rows=4):
    return SoftmaxStats(torch.zeros(rows), torch.ones(rows)), losses.no_answers(torch.zeros(rows))


def given(weight, *, soft=True, shared=streamed, loss=None):
    case = random_case(1, rows=4, n_items=5)
    problem = SoftmaxProblem(case.users, case.items, case.label)
    target = SoftTarget(UniformTarget(5), case.label) if soft else None
    return shared(problem, mixed() if loss is None else loss, target, weight)


@pytest.mark.parametrize("make", [
    lambda: given(torch.tensor([0.1, 0.2, 1.1, 0])), lambda: given(torch.tensor([0.1, -0.2, 1, 0])),
    lambda: given(torch.tensor([0.1, torch.nan, 1, 0])), lambda: given(torch.ones(3)),
    lambda: given(torch.ones(4, 1), shared=plain), lambda: given(torch.zeros(4), soft=False),
    lambda: given(torch.ones(4), soft=False, loss=bpr),
    lambda: losses.soft_cross_entropy(*stats(), torch.ones(1)),
    lambda: table_loss(torch.zeros(4), torch.zeros(4, 2), torch.ones(4, 2), mixed(),
                       answers=losses.no_answers(torch.zeros(4)), weight=torch.ones(3)),
    lambda: softmax_loss(torch.zeros(4, 2), torch.zeros(5, 2), torch.zeros(4, dtype=torch.int64),
                         target=UniformTarget(5), weight=torch.ones(2)),
])  # fmt: skip
def test_what_is_refused(make):
    with refused(ValueError):
        make()
