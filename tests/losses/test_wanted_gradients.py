"""The streamed pass computes the gradients that are asked for, and holds no memory for others."""

from itertools import product

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from softrec.losses import pairwise
from softrec.losses.reference import plain
from softrec.losses.softmax import SoftmaxProblem, SoftTarget, hard, mixed
from softrec.losses.streaming import streamed
from softrec.targets.dense import DenseTarget
from softrec.targets.smoothing import PopularityTarget
from softrec.targets.sparse import SparseTarget
from softrec.targets.teacher import TeacherTarget
from softrec.testing import oracles
from softrec.types import ItemVectors

P, N, M, D, ROWS = 7, 11, 5, 3, 2
GENERATOR = torch.Generator().manual_seed(4)


def numbers(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


USERS, VECTORS, BIAS = numbers(P, D), numbers(N, D), numbers(N)
LABEL = torch.tensor([4, 0, 10, 4, 3, 8, 1])
TARGETS = {
    "none": None,
    "shared": PopularityTarget(numbers(N).softmax(0)),
    "sparse": SparseTarget(torch.tensor([[2, 4, 9, 0]]).repeat(P, 1), numbers(P, 4).softmax(1)),
    "teacher": TeacherTarget(numbers(P, 2), ItemVectors(numbers(N, 2)), 1.5),
    "dense": DenseTarget(numbers(P, N).softmax(1)),
}


MEAN_ITEMS = ("shared", "dense")  # are read by mean items of the users' shape


def leaves_of(tensors, wanted):
    return [t.clone().requires_grad_(w) for t, w in zip(tensors, wanted, strict=True)]


def check_gradients(total, leaves, expected):
    """Compare the gradients of those leaves that want one; the others have none."""
    if any(leaf.requires_grad for leaf in leaves):
        total.backward()
    else:
        assert not total.requires_grad
    for leaf, gradient in zip(leaves, expected, strict=True):
        if leaf.requires_grad:
            torch.testing.assert_close(leaf.grad, gradient, rtol=1e-9, atol=1e-11)
        else:
            assert leaf.grad is None


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("wanted", list(product([False, True], repeat=3)))
def test_any_of_users_items_and_bias_over_all_items(name, wanted):
    target, weight = TARGETS[name], 0.0 if name == "none" else 0.4
    every = leaves_of((USERS, VECTORS, BIAS), (True, True, True))
    probs = torch.zeros(P, N)
    if target is not None:
        probs = target.prob_of(torch.arange(N).expand(P, N))
    table = every[0] @ every[1].T + every[2]
    value = oracles.soft(table, LABEL, probs, weight).mean()
    expected = torch.autograd.grad(value, every)

    leaves = leaves_of((USERS, VECTORS, BIAS), wanted)
    problem = SoftmaxProblem(leaves[0], ItemVectors(*leaves[1:]), LABEL)
    soft = None if target is None else SoftTarget(target, LABEL)
    found = streamed(problem, hard() if soft is None else mixed(), soft, weight, rows=ROWS)
    torch.testing.assert_close(found.total, value)
    check_gradients(found.total, leaves, expected)


PLACE = torch.tensor([0, -1, 3, 0, -1, 2, -1])
SAMPLE = (numbers(P, D), numbers(M, D), numbers(M), numbers(P, D), numbers(P))
MEAN = (numbers(P, D), numbers(P, 1))


def over_sample(tensors, shared, loss, weight=0.0, **options):
    """Return the loss over a sample; two tensors more are a mean item that is given."""
    users, vectors, bias, own, own_bias, *mean = tensors
    negatives, positive = ItemVectors(vectors, bias), ItemVectors(own, own_bias)
    counts = torch.tensor([1.0, 2.0, 1.0, 3.0, 1.0], dtype=torch.float64)
    problem = SoftmaxProblem(users, negatives, PLACE, positive, counts)
    soft = SoftTarget(TARGETS["dense"], LABEL, mean=ItemVectors(*mean)) if mean else None
    return shared(problem, loss, soft, weight, **options).total


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tensors", "loss", "weight"),
    [
        (SAMPLE, hard(), 0.0),
        (SAMPLE, pairwise.bpr, 0.0),
        ((*SAMPLE, *MEAN), mixed(), 0.4),
    ],
    ids=["hard", "pairs", "mean item"],
)
def test_any_of_the_tensors_of_a_sample(tensors, loss, weight):
    every = leaves_of(tensors, [True] * len(tensors))
    value = over_sample(every, plain, loss, weight)
    expected = torch.autograd.grad(value, every)
    for wanted in product([False, True], repeat=len(tensors)):
        leaves = leaves_of(tensors, wanted)
        found = over_sample(leaves, streamed, loss, weight, rows=ROWS)
        torch.testing.assert_close(found, value)
        check_gradients(found, leaves, expected)


class Made(TorchDispatchMode):
    """Notes the shapes of all that is made, views left out."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        given = [*args, *(kwargs or {}).values()]
        memory = {t.untyped_storage().data_ptr() for t in given if isinstance(t, torch.Tensor)}
        if isinstance(made, torch.Tensor) and made.untyped_storage().data_ptr() not in memory:
            self.shapes.add(tuple(made.shape))
        return made


def made(leaves, target):
    problem = SoftmaxProblem(leaves[0], ItemVectors(*leaves[1:]), LABEL)
    soft = None if target is None else SoftTarget(target, LABEL)
    with Made() as seen:
        streamed(problem, mixed() if soft else hard(), soft, 0.4 if soft else 0.0, rows=ROWS)
    return seen.shapes


@pytest.mark.parametrize("name", ["none", "shared", "sparse", "teacher"])
@pytest.mark.parametrize("wanted", list(product([False, True], repeat=3)))
def test_no_memory_for_gradients_that_nobody_asks_for(name, wanted):
    shapes = made(leaves_of((USERS, VECTORS, BIAS), wanted), TARGETS[name])
    assert ((N, D) in shapes) == wanted[1]
    if name not in MEAN_ITEMS:
        assert ((P, D) in shapes) == wanted[0]


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_asked_for_where_nothing_is_recorded(name):
    leaves = leaves_of((USERS, VECTORS, BIAS), (True, True, True))
    with torch.no_grad():
        shapes = made(leaves, TARGETS[name])
    assert (N, D) not in shapes
    if name not in MEAN_ITEMS:
        assert (P, D) not in shapes
