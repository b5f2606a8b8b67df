"""A catalogue in shards: value and gradients are those of one process, in float64 to 1e-12."""

import itertools

import pytest
import torch
from processes import results
from torch import distributed

from messages import refused
from softrec.limits import limited
from softrec.losses.bilateral import sl
from softrec.losses.gradients import Wanted
from softrec.losses.softmax import SoftmaxProblem, SoftTarget, decoupled, hard, mixed
from softrec.losses.streaming import Sweep, streamed
from softrec.parallel import Catalogue
from softrec.targets.mixture import MixtureTarget
from softrec.targets.smoothing import PopularityTarget, UniformTarget, popularity
from softrec.targets.sparse import SparseTarget
from softrec.targets.teacher import TopTarget
from softrec.types import GivenWeights, ItemVectors, Offset

N, P, D = 23, 9, 4
LOSSES = {"hard": hard(), "mixed": mixed(), "decoupled": decoupled(0.7), "sl": {"sl": (sl, 1.0)}}


def numbers(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABEL = torch.tensor([0, 22, 11, 12, 5, 11, 7, 20, 3])
COUNTS = torch.arange(1.0, N + 1, dtype=torch.float64).flip(0)
TARGETS = {
    "uniform": UniformTarget(N),
    "popularity": PopularityTarget(popularity(COUNTS).double()),
    "sparse": SparseTarget(
        torch.randint(N, (P, 5), generator=torch.Generator().manual_seed(3)),
        numbers(P, 5, seed=4).softmax(1),
    ),
}
TARGETS["top"] = TopTarget.of(TARGETS["sparse"].items, 0.7 * TARGETS["sparse"].probs, N)
TARGETS["mixture"] = MixtureTarget(
    (TARGETS["uniform"], TARGETS["popularity"], TARGETS["sparse"], TARGETS["top"]),
    (0.2, 0.4, 0.3, 0.1),
)


# Items 0, 3, 6, ... of the first row, 1, 4, ... of the second: labels are among them and are not.
ENTRIES = torch.arange(P * N).view(P, N)[:, ::3] % N
OFFSET = Offset(
    torch.arange(P + 1) * ENTRIES.shape[1], ENTRIES.sort(1).values.flatten(),
    numbers(ENTRIES.numel(), seed=7),
)  # fmt: skip


def value_of(loss, target, weight, spread, *, bias, catalogue=None, rows=None, offset=None):
    """Return the total, the parts, and the gradients in users, own items and their bias."""
    own = slice(None) if catalogue is None else slice(catalogue.start, catalogue.stop)
    users = (spread * numbers(P, D, seed=1)).requires_grad_()
    vectors = numbers(N, D, seed=2)[own].requires_grad_()
    b = numbers(N, seed=5)[own].requires_grad_() if bias else None
    added = None if offset is None else offset.at(slice(0, P), LABEL[:, None])[:, 0]
    if offset is not None and catalogue is not None:
        offset = offset.between(catalogue.start, catalogue.stop)
    problem = SoftmaxProblem(
        users, ItemVectors(vectors, b), LABEL, offset=offset, label_offset=added,
        weigh=GivenWeights(numbers(P, seed=6).exp()),
    )  # fmt: skip
    soft = None if target is None else SoftTarget(target, LABEL)
    value = streamed(problem, loss, soft, weight, rows=rows, catalogue=catalogue)
    (3 * value.total).backward()
    found = {"total": value.total.detach(), **value.parts, "users": users.grad}
    found["vectors"] = vectors.grad
    return found if b is None else {**found, "bias": b.grad}


def every_case():
    catalogue = Catalogue(N)
    own = slice(catalogue.start, catalogue.stop)
    far = {}
    for loss in LOSSES:
        for target in (None, *TARGETS):
            if (loss == "hard") != (target is None) and loss != "sl":
                continue
            soft = None if target is None else TARGETS[target]
            for spread in (1.0, 60.0):
                forms = [(None, True, None), (4, False, None), (4, True, OFFSET)]
                for rows, bias, offset in forms if spread == 1.0 else forms[:2]:
                    ask = (LOSSES[loss], soft, 0.0 if soft is None else 0.4, spread)
                    with limited(tile=64 * 8):
                        given = {"bias": bias, "rows": rows, "offset": offset}
                        one = value_of(*ask, **given)
                        some = value_of(*ask, **given, catalogue=catalogue)
                    one["vectors"] = one["vectors"][own]
                    if bias:
                        one["bias"] = one["bias"][own]
                    assert one.keys() == some.keys()
                    far[loss, target, spread, bias, offset is None] = max(
                        float(((one[n] - some[n]) / one[n].abs().max().clamp(min=1)).abs().max())
                        for n in one
                    )
    return far, (catalogue.start, catalogue.stop), catalogue.owner(LABEL).tolist(), traffic()


def traffic():
    """Return the numbers that a step sends."""
    sent = []
    reduce = distributed.all_reduce

    def counted(tensor, *arguments, **named):
        sent.append(tensor.numel())
        return reduce(tensor, *arguments, **named)

    distributed.all_reduce = counted
    try:
        value_of(mixed(), TARGETS["uniform"], 0.4, 1.0, bias=True, catalogue=Catalogue(N))
    finally:
        distributed.all_reduce = reduce
    return sum(sent)


@pytest.fixture(scope="module", params=[2, 3])
def found(request, tmp_path_factory):
    return results(request.param, every_case, tmp_path_factory.mktemp("shards"))


def test_shards_have_the_loss_and_the_gradients_of_one_process(found):
    for far, *_ in found:
        assert len(far) > 60
        assert {case: distance for case, distance in far.items() if not distance < 1e-12} == {}


def test_each_item_has_one_owner(found):
    parts = [part for _, part, *_ in found]
    assert parts[0][0] == 0
    assert parts[-1][1] == N
    assert all(one[1] == other[0] for one, other in itertools.pairwise(parts))
    for _, _, owners, _ in found:
        assert owners == [
            next(n for n, (start, stop) in enumerate(parts) if start <= label < stop)
            for label in LABEL.tolist()
        ]


def test_a_step_sends_four_numbers_a_row_and_the_gradient_of_the_users(found):
    assert {sent for *_, sent in found} == {4 * P + P * D}


class OfTwo:
    """A shard of two, where nothing is sent."""

    n_items, start, stop, most = N, 0, 11, 12


def test_shards_of_two_sizes_have_the_same_blocks_of_rows():
    """Else one process would wait for a block that another one does not have."""
    found = set()
    with limited(kept=8 * 11 * 128):  # enough for 128 rows of 11 items, and not of 12
        for n in (11, 12):
            users, vectors = numbers(200, D, seed=1), numbers(n, D, seed=2)
            problem = SoftmaxProblem(users, ItemVectors(vectors), torch.zeros(200).long())
            sweep = Sweep(problem, hard(), None, 0.0, None, Wanted(*[False] * 7), OfTwo())
            found.add(str(sweep.size.blocks(200)))
            assert sweep.cut[-1].stop == n
    assert len(found) == 1


def test_what_shards_do_not_have_is_refused():
    users, vectors = numbers(P, D, seed=1), numbers(11, D, seed=2)
    problem = SoftmaxProblem(users, ItemVectors(vectors), LABEL)
    with refused(ValueError):
        whole = problem._replace(negatives=ItemVectors(numbers(N, D, seed=2)))
        streamed(whole, hard(), catalogue=OfTwo())
    with refused(ValueError):
        apart = problem._replace(positive=ItemVectors(users))
        streamed(apart, hard(), catalogue=OfTwo())
