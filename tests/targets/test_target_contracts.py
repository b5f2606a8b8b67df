"""Every target against its own table; sources; and the contract against broken targets."""

from dataclasses import FrozenInstanceError, dataclass, fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from messages import refused
from softrec.targets.dense import DenseTarget
from softrec.targets.mixture import MixtureSource, MixtureTarget
from softrec.targets.smoothing import PopularityTarget, UniformTarget
from softrec.targets.sparse import SparseTarget
from softrec.testing import check_target, oracles
from softrec.types import (
    Batch,
    Rest,
    Target,
)


def random_table(rows, n_items, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, n_items, generator=generator).mul(3).softmax(1)


def popular(n_items, seed=0):
    return PopularityTarget(random_table(1, n_items, seed)[0])


def sparse(rows, n_items, k=3, seed=0):
    """Items are drawn with replacement: some rows list one twice."""
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(n_items, (rows, k), generator=generator)
    return SparseTarget(items, random_table(rows, k, seed))


@dataclass(frozen=True)
class Plain(Target):
    """A target of two answers, as someone new to the library would write it."""

    target: Target

    def prob_of(self, items: Tensor) -> Tensor:
        return self.target.prob_of(items)

    def mean_item(self, vectors: Tensor) -> Tensor:
        return self.target.mean_item(vectors)


def made(name, rows, n_items):
    shared = UniformTarget(n_items), popular(n_items)
    own = sparse(rows, n_items), DenseTarget(random_table(rows, n_items))
    return {
        "uniform": shared[0],
        "popularity": shared[1],
        "sparse": own[0],
        "many items": sparse(rows, n_items, k=150),
        "dense": own[1],
        "shared mixture": MixtureTarget(shared, (0.25, 0.75)),
        "mixture": MixtureTarget((*shared, *own), (0.1, 0.2, 0.3, 0.4)),
        "mixture of one": MixtureTarget((own[0],), (1.0,)),
        "nested": MixtureTarget((MixtureTarget(shared, (0.5, 0.5)), own[1]), (0.6, 0.4)),
        "without spread": Plain(own[0]),
        "shared, without spread": Plain(shared[1]),
        "mixture without spread": MixtureTarget((Plain(shared[1]), Plain(own[1])), (0.3, 0.7)),
    }[name]


NAMES = [
    "uniform", "popularity", "sparse", "many items", "dense", "shared mixture", "mixture",
    "mixture of one", "nested", "without spread", "shared, without spread",
    "mixture without spread",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("rows", "n_items"), [(2, 2), (4, 11), (11, 4)])
def test_contract(name, rows, n_items):
    unknown = "without spread" in name  # its `without` is by subtraction
    check_target(made(name, rows, n_items), n_items, rows, by_subtraction=unknown)


@pytest.mark.parametrize("name", ["uniform", "popularity", "sparse", "mixture"])
def test_way_back_is_known(name):
    assert type(made(name, 3, 5)).add_mean_gradient is not Target.add_mean_gradient


@pytest.mark.slow
@settings(max_examples=40)
@given(
    st.integers(2, 8),
    st.integers(2, 30),
    st.lists(st.floats(0.01, 1), min_size=4, max_size=4),
    st.integers(0, 10_000),
)
def test_any_mixture_is_linear(rows, n_items, sizes, seed):
    shares = tuple(size / sum(sizes) for size in sizes)
    members = (
        UniformTarget(n_items),
        popular(n_items, seed),
        sparse(rows, n_items, 1 + seed % 5, seed),
        DenseTarget(random_table(rows, n_items, seed + 1)),
    )
    mixture = MixtureTarget(members, shares)
    check_target(mixture, n_items, rows)
    tables = [s * oracles.dense(t, rows, n_items) for s, t in zip(shares, members, strict=True)]
    table = oracles.dense(mixture, rows, n_items)
    torch.testing.assert_close(table, torch.stack(tables).sum(0), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@settings(max_examples=40)
@given(st.integers(2, 6), st.integers(2, 20), st.integers(1, 90), st.integers(0, 10_000))
def test_sparse_is_its_table(rows, n_items, k, seed):
    target = sparse(rows, n_items, k, seed)
    check_target(target, n_items, rows)
    table = torch.zeros(rows, n_items).scatter_add(1, target.items, target.probs)
    actual = oracles.dense(target, rows, n_items)
    torch.testing.assert_close(actual, table.double(), rtol=1e-5, atol=1e-6)


def test_sparse_gradient_touches_its_own_rows_only():
    target = SparseTarget(torch.tensor([[0, 3], [3, 3]]), torch.tensor([[0.5, 0.5], [0.9, 0.1]]))
    out = torch.zeros(5, 2)
    target.add_mean_gradient(torch.ones(2, 2), out)
    torch.testing.assert_close(out[:, 0], torch.tensor([0.5, 0.0, 0.0, 1.5, 0.0]))


def test_the_way_back_reaches_a_bias():
    """The buffer of a bias is a column seen through a view: what is added must arrive in it."""
    for name in NAMES:
        target, bias = made(name, 4, 7), torch.zeros(7)
        rows = torch.ones_like(target.mean_item(bias[:, None]))
        target.add_mean_gradient(rows, bias[:, None])
        torch.testing.assert_close(bias.sum(), rows.sum(), msg=name)


def test_what_sources_remember_moves_and_is_not_saved():
    source = MixtureSource((UniformTarget(5), popular(5)), (0.25, 0.75))
    assert not source.state_dict()
    assert [probs.dtype for probs in source.double().buffers()] == [torch.float64]


def test_sources():
    nothing = torch.zeros(3, dtype=torch.int64)
    batch = Batch(nothing[:, None], nothing, nothing, nothing)
    sources = UniformTarget(5), popular(5)
    for source in sources:
        assert source(batch) is source
    mixture = MixtureSource(sources, (0.25, 0.75))(batch)
    assert mixture == MixtureTarget(sources, (0.25, 0.75))


@pytest.mark.parametrize("shares", [(0.5,), (0.5, 0.6), (-0.1, 1.1), (0.2, 0.3, 0.5)])
def test_shares_that_are_no_distribution(shares):
    targets = UniformTarget(3), UniformTarget(3)
    with refused(ValueError):
        MixtureTarget(targets, shares)
    with refused(ValueError):
        MixtureSource(targets, shares)


# --- a contract that nothing can break proves nothing ---


@dataclass(frozen=True)
class Broken(Plain):
    fault: str

    def prob_of(self, items: Tensor) -> Tensor:
        answer = self.target.prob_of(items)
        if self.fault == "sum":
            return answer * 1.01
        if self.fault == "rows":
            return answer.mean().expand_as(answer)
        if self.fault == "grad":
            return answer * torch.ones(1, requires_grad=True)
        return answer

    def mean_item(self, vectors: Tensor) -> Tensor:
        mean = self.target.mean_item(vectors)
        match self.fault:
            case "mean":
                return mean + vectors[:1]
            case "dtype":
                return mean.double()
            case "shape":
                return mean[0]
            case "detached":
                return mean + 0 * vectors.sum() - mean + mean.detach()
            case "leaf":
                return mean * torch.ones(1, requires_grad=vectors.requires_grad).to(vectors)
            case _:
                return mean


@dataclass(frozen=True)
class WrongWayBack(Plain):
    def add_mean_gradient(self, rows: Tensor, out: Tensor) -> None:
        out += rows.sum(0)


@pytest.mark.parametrize(
    "fault",
    [
        "sum",
        "rows",
        "grad",
        "mean",
        "dtype",
        "shape",
        "detached",
        "leaf",
    ],
)
def test_broken_targets_are_found(fault):
    target = DenseTarget(random_table(3, 6))
    with refused(AssertionError):
        check_target(Broken(target, fault), 6, 3)


def test_a_wrong_way_back_is_found():
    with refused(AssertionError):
        check_target(WrongWayBack(DenseTarget(random_table(3, 6))), 6, 3)


@pytest.mark.parametrize("name", ["uniform", "popularity", "sparse", "dense", "mixture"])
def test_what_is_left_beside_the_label_is_known(name):
    assert type(made(name, 3, 5)).without is not Target.without


@pytest.mark.parametrize("sharpness", [1, 20, 60])
def test_what_is_left_of_a_popularity_of_one_item(sharpness):
    """However much the most popular item has, the sum of the others is not a difference."""
    probs = (sharpness * torch.randn(9, generator=torch.Generator().manual_seed(3))).softmax(0)
    check_target(PopularityTarget(probs), 9, 4)


@dataclass(frozen=True)
class WrongWithout(DenseTarget):
    fault: str

    def without(self, place: Tensor) -> Rest:
        rest, surplus, mass = super().without(place)
        match self.fault:
            case "mass":
                return Rest(rest, surplus, mass + 1e-4)
            case "subtracts":
                share = self.prob_of(place.clamp(min=0)) * (place >= 0)
                return Rest(DenseTarget(self.probs), share, mass)
            case "everywhere":
                return Rest(DenseTarget(self.probs), surplus, mass)
            case _:
                return Rest(rest, surplus[:1], mass)


@pytest.mark.parametrize(
    "fault",
    [
        "mass",
        "subtracts",
        "everywhere",
        "shape",
    ],
)
def test_a_wrong_rest_is_found(fault):
    with refused(AssertionError):
        check_target(WrongWithout(random_table(3, 6), fault), 6, 3)


@pytest.mark.parametrize("name", ["sparse", "dense", "mixture", "nested"])
def test_targets_do_not_change(name):
    target = made(name, 3, 5)
    for part in fields(target):
        with pytest.raises(FrozenInstanceError):
            setattr(target, part.name, None)


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="sparse products need MKL")
def test_a_gradient_without_room_for_an_item_is_refused():
    """By the product of a sparse matrix, which would write past the end."""
    listed = SparseTarget(torch.tensor([[0, 4], [2, 3]]), torch.full((2, 2), 0.5))
    with refused(IndexError):
        listed.add_mean_gradient(torch.ones(2, 3), torch.zeros(4, 3))
