"""The tiles of the streamed pass: every cut gives the result of whole tables."""

import pytest
import torch

from softrec.caches import MIB, USUAL, cache_bytes
from softrec.limits import limited
from softrec.losses.reference import plain
from softrec.losses.softmax import SoftmaxProblem, SoftTarget, decoupled, hard, mixed
from softrec.losses.streaming import streamed
from softrec.losses.tiles import Entries, Sizes, sizes
from softrec.targets.dense import DenseTarget
from softrec.targets.smoothing import PopularityTarget
from softrec.targets.sparse import SparseTarget
from softrec.targets.teacher import TeacherTarget
from softrec.types import ItemVectors

P, N, M, D = 13, 101, 37, 5
CPU = torch.device("cpu")
GENERATOR = torch.Generator().manual_seed(11)


def numbers(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


TARGETS = {
    "none": None,
    "shared": PopularityTarget(numbers(N).softmax(0)),
    "dense": DenseTarget(numbers(P, N).softmax(1)),
    "sparse": SparseTarget(
        torch.stack([torch.randperm(N, generator=GENERATOR)[:9] for _ in range(P)]),
        numbers(P, 9).softmax(1),
    ),
    "teacher": TeacherTarget(numbers(P, 3), ItemVectors(numbers(N, 3), numbers(N)), 0.7),
    "extreme teacher": TeacherTarget(60 * numbers(P, 3), ItemVectors(60 * numbers(N, 3)), 0.7),
}
LABEL = torch.tensor([0, 100, 6, 7, 8, 7, 99, 50, 51, 14, 13, 0, 100])  # at the cuts, repeated
CUTS = {  # items of a tile, rows of a block, whether the block is kept
    "one tile": (N, P, True),
    "kept": (7, 5, True),
    "computed again": (7, 5, False),
    "one item": (1, 4, True),
    "one item, computed again": (1, 4, False),
    "a row": (16, 1, True),
    "a short last tile": (50, P, False),
}


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def outcome(softmax, problem, loss, soft, weight):
    """Return the values of all rows and the gradients of all tensors.

    A positive that is in the sample has the vector of the sample, so the gradients are added.
    """
    leaves = [problem.users, *problem.negatives[:2]]
    if problem.positive is not None:
        inside, place = problem.place >= 0, problem.place.clamp(min=0)
        own = [tensor.detach().requires_grad_() for tensor in problem.positive[:2]]
        vectors = torch.where(inside[:, None], leaves[1][place], own[0])
        bias = torch.where(inside, leaves[2][place], own[1])
        problem, leaves = problem._replace(positive=ItemVectors(vectors, bias)), [*leaves, *own]
    found = softmax(problem, loss, soft, weight)
    return [*found.parts.values(), *torch.autograd.grad(found.total, leaves)]


def check(problem, loss, soft, weight, cut, tolerance=1e-10):
    items, rows, kept = cut
    itemsize = problem.users.element_size()
    expected = outcome(plain, problem, loss, soft, weight)
    with limited(tile=items * rows * itemsize, kept=2**30 if kept else 1):

        def cut_up(*arguments):
            return streamed(*arguments, rows=rows)

        found = outcome(cut_up, problem, loss, soft, weight)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def over_all(scale=1.0, dtype=torch.float64):
    users, vectors, bias = numbers(P, D) * scale, numbers(N, D), numbers(N) * scale
    tensors = [tensor.to(dtype).requires_grad_() for tensor in (users, vectors, bias)]
    return SoftmaxProblem(tensors[0], ItemVectors(*tensors[1:]), LABEL)


def over_a_sample(hits, masked):
    """Some positives are in the sample, one is hit, and nothing is left of the last row."""
    tensors = [numbers(P, D), numbers(M, D), numbers(M), numbers(P, D), numbers(P)]
    users, vectors, bias, own, own_bias = (tensor.requires_grad_() for tensor in tensors)
    place = torch.tensor([0, -1, 36, 6, 7, -1, 8, 20, 7, -1, 13, 36, 5])
    counts = torch.randint(1, 4, (M,), generator=GENERATOR).double()
    problem = SoftmaxProblem(users, ItemVectors(vectors, bias), place, ItemVectors(own, own_bias))
    problem = problem._replace(counts=counts, correction=numbers(M))
    if hits:
        problem = problem._replace(hits=torch.tensor([0.0, 0, 2, 1, 0, 0, 3, 0, 1, 0, 0, 1, 0]))
    if masked:
        rows = torch.tensor([1, 1, 4, *[12] * M])
        problem = problem._replace(masked=(rows, torch.tensor([3, 30, 7, *range(M)])))
    return problem


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", TARGETS)
def test_every_cut_over_all_items(name, cut, threads):
    target = TARGETS[name]
    soft = None if target is None else SoftTarget(target, LABEL)
    loss = hard() if soft is None else decoupled(0.6)
    check(over_all(), loss, soft, 0.0 if soft is None else 0.3, CUTS[cut])


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("scale", [20.0, 100.0])
@pytest.mark.parametrize("name", ["none", "sparse", "teacher"])
def test_every_cut_where_exponentials_overflow(name, scale, cut, threads):
    target = TARGETS[name]
    soft = None if target is None else SoftTarget(target, LABEL)
    loss = hard() if soft is None else mixed()
    problem = over_all(scale)
    assert float((problem.users @ problem.negatives.vectors.T).detach().abs().max()) > 90
    check(problem, loss, soft, 0.0 if soft is None else 0.3, CUTS[cut])


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("hits", "masked"), [(False, False), (True, False), (True, True)])
def test_every_cut_over_a_sample(hits, masked, cut, threads):
    check(over_a_sample(hits, masked), hard(), None, 0.0, CUTS[cut])


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["shared", "teacher"])
def test_every_cut_of_a_target_over_a_sample(name, cut, threads):
    problem = over_a_sample(hits=False, masked=False)
    items = torch.arange(M) * 2
    label = torch.where(problem.place >= 0, items[problem.place.clamp(min=0)], 100)
    soft = SoftTarget(TARGETS[name], label, items, N)
    check(problem, mixed(), soft, 0.4, CUTS[cut], 1e-9)


@pytest.mark.parametrize("far", [-200.0, 200.0])
@pytest.mark.parametrize("kept", [True, False])
def test_logits_far_from_zero_are_as_accurate(far, kept):
    near = over_all(dtype=torch.float32)
    expected = outcome(plain, near, hard(), None, 0.0)
    bias = (near.negatives.bias.detach() + far).requires_grad_()
    moved = near._replace(negatives=ItemVectors(near.negatives.vectors, bias))
    with limited(tile=4 * 7 * P, kept=2**30 if kept else 1):
        found = outcome(streamed, moved, hard(), None, 0.0)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5)  # of 200, not of 1


@pytest.mark.parametrize("name", ["none", "sparse", "teacher"])
def test_threads_give_the_same_numbers_each_time(name, threads):
    target = TARGETS[name]
    soft = None if target is None else SoftTarget(target, LABEL)
    problem = over_all(dtype=torch.float32)
    with limited(tile=4 * 2 * P):
        one, two = (
            outcome(streamed, problem, hard() if soft is None else mixed(), soft, 0.0)
            for _ in range(2)
        )
    assert all(torch.equal(*both) for both in zip(one, two, strict=True))


def test_entries_are_added_and_summed_where_they_are():
    items, rows = torch.tensor([4, 0, 2, 4, 2]), torch.tensor([1, 0, 1, 0, 1])
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    tiles = Sizes(2, 2, True).tiles(5)
    assert tiles == [slice(0, 2), slice(2, 4), slice(4, 5)]
    entries, table = Entries(items, rows, values, 2).cut(tiles), torch.zeros(5, 2)
    for tile in tiles:
        entries.add(tile, table[tile], torch.tensor([1.0, 100.0]))
    assert table.tolist() == [[2, 0], [0, 0], [0, 2000], [0, 0], [8, 100]]
    ones, sums = torch.arange(10.0).view(5, 2), torch.zeros(2)
    for tile in tiles:
        entries.sums(tile, ones[tile], sums)
    assert sums.tolist() == [0 * 2 + 8 * 8, 9 * 1 + 5 * (4 + 16)]


@pytest.mark.parametrize("n_items", [2, 1000, 43_229, 262_000, 1_000_000, 10**9])
@pytest.mark.parametrize("n_rows", [1, 256, 1024, 50_000])
def test_blocks_and_tiles_stay_small_however_many_items(n_items, n_rows):
    cut = sizes(n_rows, n_items, 4, CPU)
    assert 1 <= cut.rows <= n_rows
    assert 1 <= cut.items <= n_items
    assert cut.items == 1 or cut.items * cut.rows * 4 <= cache_bytes(2) // 2
    if cut.kept:
        assert cut.rows * n_items * 4 <= 192 * MIB
        assert cut.rows >= min(n_rows, 64)
    else:
        assert cut.rows <= 1024
    blocks = -(-n_rows // cut.rows)
    assert blocks * cut.rows - n_rows < blocks  # equal blocks


def test_a_million_items_are_computed_twice_and_not_kept():
    with limited(kept=192 * MIB):
        assert not sizes(256, 1_000_000, 4, CPU).kept
        assert sizes(256, 1_000_000, 4, CPU, rows=4).kept  # 16 MB
    with limited(kept=2**30):
        assert sizes(256, 1_000_000, 4, CPU).kept


def test_caches_are_those_that_the_system_tells(tmp_path):
    for index, (level, kind, size) in enumerate(
        [("1", "Data", "48K"), ("2", "Instruction", "7K"), ("2", "Unified", "2048K")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    (tmp_path / "index9").mkdir()  # tells nothing
    assert cache_bytes(2, tmp_path) == 2 * MIB
    assert cache_bytes(3, tmp_path) == USUAL[3]
