"""Weights of examples: every way to compute a loss takes the mean of weight times value."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.candidates import Candidates, InBatch, RowDraws, SharedUniform
from softrec.losses.bilateral import bsl_reweight, grouped_label, negative_side, sl
from softrec.losses.debiased import debiased_softmax
from softrec.losses.front import softmax_loss
from softrec.losses.pairwise import bce, bpr
from softrec.losses.reference import plain
from softrec.losses.softmax import SoftmaxProblem, SoftTarget, decoupled, hard, mixed
from softrec.losses.streaming import streamed
from softrec.objective import Objective
from softrec.scoring import Scoring
from softrec.targets.dense import DenseTarget
from softrec.types import Batch, Encoder, GivenWeights, ItemVectors, Vectors
from softrec.weights import AtRank

N, D, P = 17, 3, 7
LOSSES = {
    "hard": hard(), "mixed": mixed(), "decoupled": decoupled(0.3),
    "sl": {"sl": (sl, 1.0)}, "two": {"a": (sl, 0.5), "b": (bsl_reweight(1.3), 2.0)},
    "debiased": {"debiased": (debiased_softmax(0.01, N - 1, -3.0), 1.0)},
    "bpr": bpr, "bce": bce,
}  # fmt: skip
CANDIDATES = {
    "full": None, "shared": SharedUniform(N, 6), "per row": RowDraws(N, 5), "in-batch": InBatch(),
}  # fmt: skip


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


class Given(Encoder):
    """Its vectors are given."""

    def __init__(self, seed=0):
        super().__init__()
        self.n_items = N
        parts = (normal(P, D, seed=seed), normal(N, D, seed=seed + 1), normal(N, seed=seed + 2))
        self.parts = [torch.nn.Parameter(part) for part in parts]

    def items(self):
        return ItemVectors(*self.parts[1:])

    def forward(self, batch, items=None):
        return Vectors(self.parts[0], items or self.items())


class Source:
    """Weights of all kinds, with the batch that asked."""

    def __init__(self, weigh):
        self.weigh = weigh

    def __call__(self, batch):
        return self.weigh

    def begin_epoch(self, encoder, epoch):
        raise AssertionError("no epoch begins here")


LABEL = torch.tensor([3, 0, 16, 3, 8, 1, 12])
BATCH = Batch(LABEL[:, None], LABEL, torch.arange(P), torch.tensor([0, 0, 1, 1, 2, 3, 0]))
PROBS = normal(P, N, seed=9).softmax(1)
GIVEN = torch.tensor([0.0, 1.0, 2.5, 0.1, 1.0, 3.0, 0.7], dtype=torch.float64)
WEIGHTS = {
    "given": GivenWeights(GIVEN),
    "at rank": AtRank(normal(P, seed=11), 0.7),
    "at rank, without gradient": AtRank(normal(P, seed=11), 0.7, gradient=False),
}


def worked_out(kind, logit):
    """The weights by their definitions."""
    if kind == "given":
        return GIVEN
    own = logit.detach() if "without" in kind else logit
    return 1 / (1 + torch.exp(-(own - normal(P, seed=11)) / 0.7))


def gradients(value, encoder):
    return torch.autograd.grad(value, encoder.parts)


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("candidates", CANDIDATES)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_mean_of_weight_times_value(loss, candidates, kind):
    """One example at a time without weights, then the mean with weights, all by autograd."""
    encoder, soft = Given(), loss in ("mixed", "decoupled")
    made = {
        "loss": LOSSES[loss], "source": (lambda _: DenseTarget(PROBS)) if soft else None,
        "weight": 0.3 if soft else 0.0,
    }  # fmt: skip
    torch.manual_seed(5)
    chosen = None if candidates == "full" else CANDIDATES[candidates](BATCH)
    fixed = None if chosen is None else lambda _: chosen
    value = Objective(**made, candidates=fixed, weights=Source(WEIGHTS[kind]))(encoder, BATCH)
    found = gradients(value.total, encoder)
    users, vectors, bias = encoder.parts
    logit = (users * vectors[LABEL]).sum(1) + bias[LABEL]
    terms = []
    for row in range(P):  # with a weight of its own, by the mean over rows that weigh nothing else
        only = GivenWeights(torch.nn.functional.one_hot(torch.tensor(row), P).double())
        own = Objective(**(made | {"shared": plain}), candidates=fixed, weights=Source(only))
        terms.append(P * own(encoder, BATCH).total)
    expected = (worked_out(kind, logit) * torch.stack(terms)).mean()
    torch.testing.assert_close(value.total, expected)
    for own, other in zip(found, gradients(expected, encoder), strict=True):
        torch.testing.assert_close(own, other, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("candidates", CANDIDATES)
@pytest.mark.parametrize("loss", LOSSES)
def test_one_example_of_weight_p_is_that_example_alone(loss, candidates):
    """What the test above builds on, from the values without weights."""
    encoder, soft = Given(), loss in ("mixed", "decoupled")
    torch.manual_seed(5)
    chosen = None if candidates == "full" else CANDIDATES[candidates](BATCH)
    made = {
        "loss": LOSSES[loss], "source": (lambda _: DenseTarget(PROBS)) if soft else None,
        "weight": 0.3 if soft else 0.0, "candidates": None if chosen is None else lambda _: chosen,
    }  # fmt: skip
    whole = Objective(**made)(encoder, BATCH)
    parts = {"loss": 1.0} if callable(LOSSES[loss]) else {
        name: factor for name, (_, factor) in LOSSES[loss].items()}  # fmt: skip
    values = sum(factor * whole.parts[name] for name, factor in parts.items())
    for row in range(P):
        weights = GivenWeights(P * torch.nn.functional.one_hot(torch.tensor(row), P).double())
        one = Objective(**made, weights=Source(weights))(encoder, BATCH)
        torch.testing.assert_close(one.total, values[row])
        assert one.parts.keys() == whole.parts.keys()
        for name, part in whole.parts.items():  # parts are told without weights
            torch.testing.assert_close(one.parts[name], part)


@given(st.integers(1, 4), st.integers(0, 2**20), st.sampled_from(list(WEIGHTS)))
def test_blocks_of_rows_have_the_weights_of_their_rows(rows, seed, kind):
    encoder = Given(seed)
    users, vectors, bias = encoder.parts
    problem = SoftmaxProblem(users, ItemVectors(vectors, bias), LABEL, weigh=WEIGHTS[kind])
    for loss, soft in ((mixed(), SoftTarget(DenseTarget(PROBS), LABEL)), (bpr, None)):
        weight = 0.0 if soft is None else 0.4
        fast = streamed(problem, loss, soft, weight, rows=rows)
        slow = plain(problem, loss, soft, weight)
        torch.testing.assert_close(fast.total, slow.total)
        for own, other in zip(
            gradients(fast.total, encoder), gradients(slow.total, encoder), strict=True
        ):
            torch.testing.assert_close(own, other, atol=1e-10, rtol=1e-8)


def test_weights_of_one_change_no_digit():
    encoder = Given()
    for loss in LOSSES.values():
        if loss in (LOSSES["mixed"], LOSSES["decoupled"]):
            continue
        own, other = (
            Objective(loss, weights=weights)(encoder, BATCH)
            for weights in (None, Source(GivenWeights(torch.ones(P, dtype=torch.float64))))
        )
        assert own.total == other.total
        for one, two in zip(
            gradients(own.total, encoder), gradients(other.total, encoder), strict=True
        ):
            assert torch.equal(one, two)


def test_the_term_of_the_labels_is_weighed_too():
    """BSL with groups of labels: both of its terms."""
    encoder = Given()
    scoring = Scoring("cosine", 0.5)
    made = {"loss": {"negative": (negative_side(1.1), 1.0)}, "scoring": scoring,
            "label_part": (grouped_label, 2.0)}  # fmt: skip
    value = Objective(**made)(encoder, BATCH)
    weighed = Objective(**made, weights=Source(GivenWeights(GIVEN)))(encoder, BATCH)
    expected = (GIVEN * (1.0 * value.parts["negative"] + 2.0 * value.parts["label"])).mean()
    torch.testing.assert_close(weighed.total, expected)


def test_rows_without_negatives_have_the_loss_0():
    encoder = Given()
    nothing = Candidates(torch.arange(N), torch.ones(N), None, torch.zeros(P),
                         tuple(torch.ones(P, N).nonzero().T))  # fmt: skip
    for kind in WEIGHTS:
        value = Objective(candidates=lambda _: nothing, weights=Source(WEIGHTS[kind]))(
            encoder, BATCH
        )
        assert value.total == 0
        assert all((part == 0).all() for part in gradients(value.total, encoder))


def test_softmax_loss_takes_weights_of_any_leading_shape():
    users, items = normal(2, 3, D), normal(N, D, seed=1)
    label, weights = torch.randint(N, (2, 3)), torch.rand(2, 3, dtype=torch.float64)
    each = [[softmax_loss(users[i, j, None], items, label[i, j, None]) for j in range(3)]
            for i in range(2)]  # fmt: skip
    expected = (torch.tensor(each, dtype=torch.float64) * weights).mean()
    torch.testing.assert_close(softmax_loss(users, items, label, example_weights=weights), expected)
    with refused(ValueError):
        softmax_loss(users, items, label, example_weights=weights[0])


@pytest.mark.parametrize("candidates", [None, SharedUniform(N, 6), RowDraws(N, 5)])
def test_with_a_weight_of_the_soft_target_for_each_example(candidates):
    """Both are of the rows: the value of a row at its own weights, and then the mean."""
    encoder, soft = Given(), torch.tensor([0.0, 1.0, 0.2, 0.5, 0.9, 0.1, 0.3]).double()
    torch.manual_seed(3)
    chosen = None if candidates is None else candidates(BATCH)
    made = {"source": lambda _: DenseTarget(PROBS), "loss": mixed()}
    made["candidates"] = None if chosen is None else lambda _: chosen
    both = Objective(**made, weight=lambda _: soft, weights=Source(GivenWeights(GIVEN)))(
        encoder, BATCH
    )
    rows = [
        Objective(**made, weight=float(weight))(encoder, BATCH).parts["soft"][row]
        for row, weight in enumerate(soft)
    ]
    torch.testing.assert_close(both.total, (torch.stack(rows) * GIVEN).mean())
