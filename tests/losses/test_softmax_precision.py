"""Low precision against plain PyTorch, and what the streamed pass allocates."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from messages import refused
from softrec.losses.reference import plain
from softrec.losses.softmax import decoupled, mixed
from softrec.losses.streaming import streamed
from softrec.targets.smoothing import UniformTarget
from softrec.testing import oracles, random_case
from softrec.testing.losses import oracle_outcome, outcome_of, over_all
from softrec.types import ItemVectors


def plain_pytorch(case, weight):
    """Logits, log-softmax and a table of targets, all in the precision of the case."""
    leaves = [case.users, case.items.vectors, case.items.bias]
    users, vectors, bias = (leaf.detach().clone().requires_grad_() for leaf in leaves)
    logits = users @ vectors.T + bias
    q = oracles.fitted(case.label, case.probs, weight).to(logits.dtype)
    values = F.cross_entropy(logits, q, reduction="none")
    gradients = torch.autograd.grad(values.mean(), [users, vectors, bias])
    names = ["value", "gradient of the users", "gradient of the item vectors"]
    return dict(zip([*names, "gradient of the bias"], [values, *gradients], strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weight", [1e-6, 0.2, 1.0])
@pytest.mark.parametrize("spread", [0.5, 4.0])
def test_not_less_exact_than_plain_pytorch(dtype, weight, spread):
    """Against the truth for the same rounded inputs, in float64: at most twice the error.

    The error is the root of the mean square; the largest of a few hundred roundings is luck.
    """

    def error_of(tensor):
        return (tensor.double() - exact).square().mean().sqrt()

    for seed in range(4):
        case = random_case(seed, rows=24, n_items=200, dim=16, spread=spread, dtype=dtype)
        truth = oracle_outcome(case, oracles.soft, weight).all
        plain = plain_pytorch(case, weight)
        for number, ours in outcome_of(case, mixed(), weight, streamed).all.items():
            exact = truth[number]
            error, budget = error_of(ours), 2 * error_of(plain[number])
            floor = 0.1 * torch.finfo(dtype).eps * exact.abs().max()
            assert error <= budget + floor, (number, seed, float(error), float(budget))


@pytest.mark.parametrize("parts", [mixed(), decoupled(0.7)], ids=["mixed", "decoupled"])
def test_half_precision_vectors_have_single_precision_statistics(parts):
    case = random_case(0, rows=8, n_items=50, dim=8, dtype=torch.bfloat16)
    outcome = outcome_of(case, parts, 0.3, streamed)
    assert outcome.values.dtype == torch.float32
    for name in ("users", "vectors", "bias"):
        assert getattr(outcome, name).dtype == torch.bfloat16


class Allocations(TorchDispatchMode):
    """Remembers the size of the largest storage any operation has returned."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.largest = max(self.largest, leaf.untyped_storage().nbytes())
        return out


def largest_allocation(softmax, n_rows, n_items, **options):
    """Return what a pass allocates in a new thread, which keeps no blocks of earlier passes."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(largest_of_a_pass, softmax, n_rows, n_items, **options).result()


def largest_of_a_pass(softmax, n_rows, n_items, **options):
    users = torch.randn(n_rows, 4, requires_grad=True)
    items = ItemVectors(torch.randn(n_items, 4, requires_grad=True), None)
    label = torch.arange(n_rows)
    with Allocations() as allocations:
        loss = over_all(softmax)
        loss(decoupled(0.7), users, items, label, UniformTarget(n_items), 0.3, **options)
    return allocations.largest


def test_no_table_of_rows_times_items():
    rows, n_items, in_a_block = 256, 20_000, 16
    table, block = 4 * rows * n_items, 4 * in_a_block * n_items
    assert largest_allocation(plain, rows, n_items) >= table  # the spy sees tables
    assert largest_allocation(streamed, rows, n_items, rows=in_a_block) == block


def test_gradient_is_given_once():
    case = random_case(0)
    users = case.users.clone().requires_grad_()
    total = over_all(streamed)(mixed(), users, case.items, case.label, UniformTarget(13), 0.1).total
    (total * 3).backward(retain_graph=True)
    tripled = users.grad.clone()
    users.grad = None
    with refused(RuntimeError):
        total.backward()
    twice = over_all(plain)(mixed(), users, case.items, case.label, UniformTarget(13), 0.1).total
    twice.backward()
    torch.testing.assert_close(tripled, 3 * users.grad)


def test_one_item_is_no_choice():
    with refused(ValueError):
        over_all(streamed)(
            mixed(), torch.ones(1, 2), ItemVectors(torch.ones(1, 2)), torch.tensor([0]), None, 0.0
        )
