"""Pair logits: the plain form, pair by pair and by dense blocks, all against loops in float64."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from messages import refused
from softrec.losses.gathers import gathered_logits, pair_logits

WAYS = {
    "plain": gathered_logits,
    "pair by pair": partial(pair_logits, dense=False),
    "dense blocks": partial(pair_logits, dense=True),
    "default": pair_logits,
}
ALL = pytest.mark.parametrize("way", WAYS)
FAST = pytest.mark.parametrize("way", [name for name in WAYS if name != "plain"])


def random_case(seed, rows=5, pairs=7, n_items=9, dim=3, *, bias=True, dtype=torch.float64):
    """Items in no order; the first of a row is also its last."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    items = torch.randint(n_items, (rows, pairs), generator=generator)
    items[:, -1:] = items[:, :1]
    return normal(rows, dim), normal(n_items, dim), items, normal(n_items) if bias else None


def outcome(way, users, vectors, items, bias, slope):
    """The logits, and the gradients of their sum weighted by `slope`."""
    leaves = [
        tensor.clone().requires_grad_() for tensor in (users, vectors, bias) if tensor is not None
    ]
    logits = way(*leaves[:2], items, *leaves[2:])
    return logits.detach(), *torch.autograd.grad(logits, leaves, slope)


def by_hand(users, vectors, items, bias, slope):
    """The same, pair after pair."""
    users, vectors = users.double(), vectors.double()
    logits = torch.zeros(items.shape, dtype=torch.float64)
    by_users, by_vectors = torch.zeros_like(users), torch.zeros_like(vectors)
    by_bias = torch.zeros(len(vectors), dtype=torch.float64)
    for b, row in enumerate(items.tolist()):
        for j, i in enumerate(row):
            g = slope[b, j].double()
            logits[b, j] = users[b].dot(vectors[i]) + (0 if bias is None else bias[i].double())
            by_users[b] += g * vectors[i]
            by_vectors[i] += g * users[b]
            by_bias[i] += g
    return logits, by_users, by_vectors, *([] if bias is None else [by_bias])


def slope_for(items, dtype=torch.float64):
    generator = torch.Generator().manual_seed(99)
    return torch.randn(items.shape, generator=generator, dtype=torch.float64).to(dtype)


@ALL
@settings(max_examples=25)
@given(
    st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 9), st.integers(1, 12), st.booleans()
)
def test_definition(way, seed, rows, pairs, n_items, bias):
    case = random_case(seed, rows, pairs, n_items, bias=bias)
    slope = slope_for(case[2])
    actual = outcome(WAYS[way], *case, slope)
    for got, expected in zip(actual, by_hand(*case, slope), strict=True):
        torch.testing.assert_close(got, expected)


@ALL
@pytest.mark.parametrize("block", [1, 20, 45])
def test_blocks_do_not_show(way, block, limit):
    """Blocks of one row, and blocks whose last is short."""
    limit(gathered=block, paired=block)
    case = random_case(1, rows=7)
    slope = slope_for(case[2])
    for got, expected in zip(outcome(WAYS[way], *case, slope), by_hand(*case, slope), strict=True):
        torch.testing.assert_close(got, expected)


@ALL
@pytest.mark.parametrize("pairs", [1, 7])
def test_finite_differences(way, pairs):
    users, vectors, items, bias = random_case(2, pairs=pairs)
    leaves = users.requires_grad_(), vectors.requires_grad_(), bias.requires_grad_()
    assert torch.autograd.gradcheck(lambda h, w, b: WAYS[way](h, w, items, b), leaves)


@ALL
def test_one_item_all_over_a_row(way):
    users, vectors, items, bias = random_case(3)
    items[2] = 4
    slope = slope_for(items)
    actual = outcome(WAYS[way], users, vectors, items, bias, slope)
    assert (actual[0][2] == actual[0][2, 0]).all()
    torch.testing.assert_close(actual[1][2], slope[2].sum() * vectors[4])


@ALL
@pytest.mark.parametrize(("rows", "pairs"), [(0, 3), (2, 0), (0, 0)])
def test_nothing_to_do(way, rows, pairs):
    case = random_case(4, rows, pairs)
    logits, by_users, by_vectors, by_bias = outcome(WAYS[way], *case, slope_for(case[2]))
    assert logits.shape == (rows, pairs)
    assert by_users.shape == (rows, 3)
    assert (by_vectors == 0).all()
    assert (by_bias == 0).all()


@FAST
def test_only_the_gradients_that_are_asked_for(way):
    users, vectors, items, _ = random_case(5)
    slope = slope_for(items)
    _, by_users, by_vectors = by_hand(users, vectors, items, None, slope)
    for leaf, frozen, expected in ((0, 1, by_users), (1, 0, by_vectors)):
        tensors = [users.clone(), vectors.clone()]
        tensors[leaf].requires_grad_()
        (WAYS[way](*tensors, items) * slope).sum().backward()
        torch.testing.assert_close(tensors[leaf].grad, expected)
        assert tensors[frozen].grad is None


@FAST
def test_tensors_need_not_be_contiguous(way):
    users, vectors, items, bias = random_case(6)
    strided = users.T.contiguous().T, vectors.T.contiguous().T, items.T.contiguous().T, bias
    slope = slope_for(items).T.contiguous().T
    for got, expected in zip(
        outcome(WAYS[way], *strided, slope), by_hand(*strided, slope), strict=True
    ):
        torch.testing.assert_close(got, expected)


@FAST
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_not_worse_than_the_plain_form(way, dtype):
    case = random_case(7, rows=9, pairs=50, n_items=40, dim=16, dtype=dtype)
    slope = slope_for(case[2], dtype)
    exact = by_hand(*case, slope)
    plain = outcome(gathered_logits, *case, slope)
    logits, *gradients = outcome(WAYS[way], *case, slope)
    assert logits.dtype == torch.float32
    assert all(gradient.dtype == dtype for gradient in gradients)
    for got, reference, expected in zip((logits, *gradients), plain, exact, strict=True):
        error = (got.double() - expected).abs().max()
        budget = (reference.double() - expected).abs().max()
        assert error <= 2 * budget + torch.finfo(dtype).eps * expected.abs().max()


@FAST
def test_half_precision_users_on_single_precision_items(way):
    users, vectors, items, bias = random_case(8, dtype=torch.float32)
    leaf = users.bfloat16().requires_grad_()
    logits = WAYS[way](leaf, vectors, items, bias)
    assert logits.dtype == torch.float32
    logits.sum().backward()
    assert leaf.grad.dtype == torch.bfloat16


@FAST
@pytest.mark.parametrize("wrong", [-1, 9])
def test_items_outside_the_catalogue(way, wrong):
    users, vectors, items, _ = random_case(9)
    items[1, 3] = wrong
    with pytest.raises((IndexError, RuntimeError)):
        WAYS[way](users, vectors, items)


def test_shapes_must_fit():
    users, vectors, items, _ = random_case(10)
    with refused(ValueError):
        pair_logits(users, vectors, items[:3])
    with refused(ValueError):
        pair_logits(users, vectors, items[:, 0])


def test_the_default_goes_by_size():
    """Dense products, of rows by items, pay where the items are few against the pairs of a row."""
    dense = []
    for n_items in (56, 57):
        case = random_case(11, rows=5, pairs=7, n_items=n_items, bias=False)[:3]
        with Largest() as largest:
            pair_logits(*case)
        dense.append(largest.numbers >= 5 * n_items)
    assert dense == [True, False]


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that any operation returns."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:
                self.numbers = max(self.numbers, tensor.numel())
        return made


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_is_as_large_as_the_vectors_of_all_pairs(way, dtype, limit):
    limit(gathered=1000, paired=1000)
    users, vectors, items, _ = random_case(12, rows=20, pairs=30, n_items=40, dim=16, dtype=dtype)
    with Largest() as largest:
        logits = WAYS[way](users.requires_grad_(), vectors.requires_grad_(), items)
        logits.sum().backward()
    if way == "plain":
        assert largest.numbers >= 20 * 30 * 16
    else:
        assert largest.numbers <= 1000


@FAST
def test_half_precision_is_rounded_in_the_vectors_alone(way):
    """Logits and gradients as exact as single precision has them, for the same rounded vectors."""
    users, vectors, items, bias = random_case(3, pairs=40, dim=64, dtype=torch.bfloat16)
    logits = WAYS[way](users, vectors, items, bias)
    assert logits.dtype == torch.float32
    slope = torch.ones(items.shape, dtype=torch.float64)
    expected = by_hand(users, vectors, items, bias, slope)[0]
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)
