"""Talos: golden values, what it becomes at its ends, and the border in the objective."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.candidates import InBatch, RowDraws, SharedUniform
from softrec.data.batches import examples
from softrec.data.interactions import Sequences
from softrec.losses.border import talos
from softrec.losses.reference import plain
from softrec.losses.streaming import streamed
from softrec.models.mf import MF
from softrec.objective import Objective
from softrec.scoring import Scoring
from softrec.types import Batch
from softrec.weights import Thresholds

DIGITS = {"rtol": 0, "atol": 6e-11}
POSITIVE = torch.tensor([0.3], dtype=torch.float64)
OTHERS = torch.tensor([[0.1, 0.45, -0.4]], dtype=torch.float64)
ONES = torch.ones(1, 3, dtype=torch.float64)
N, P = 9, 5
LABEL = torch.tensor([0, 3, 3, 8, 1])
BATCH = Batch(torch.full((P, 1), N), LABEL, torch.arange(P), torch.tensor([0, 1, 2, 3, 0]))


@pytest.mark.parametrize(
    ("denominator", "expected"),
    [  # log((s(.1)^5 + s(.45)^5 + s(-.4)^5 [+ s(.3)^5]) / s(.3)^5), worked out with Python's math
        ("all", 1.1509682970),
        ("negatives", 0.7706878961),
    ],
)
def test_golden(denominator, expected):
    found = talos(0.2, denominator)(POSITIVE, OTHERS, ONES)
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64), **DIGITS)


@given(st.integers(0, 2**31), st.floats(0.05, 1.0))
def test_what_it_becomes(seed, t):
    """Far below the border SL and cross-entropy, far above it the logarithm of a number."""
    generator = torch.Generator().manual_seed(seed)
    f = torch.rand(5, 7, generator=generator, dtype=torch.float64)
    low, high = f - 60, f + 60
    for name, whole in (("negatives", f[:, 1:]), ("all", f)):
        loss = talos(t, name)
        ones = torch.ones_like(f[:, 1:])
        below = (whole / t).logsumexp(1) - f[:, 0] / t
        torch.testing.assert_close(loss(low[:, 0], low[:, 1:], ones), below)
        many = torch.full((5,), float(whole.shape[1])).double().log()
        torch.testing.assert_close(loss(high[:, 0], high[:, 1:], ones), many)


@given(st.integers(0, 2**31), st.floats(0.05, 1.0))
def test_with_the_label_in_the_sum_it_is_a_cross_entropy(seed, t):
    """That of the softmax over sigmoid^(1/t): it has the lower bound 0, SL's form has none."""
    generator = torch.Generator().manual_seed(seed)
    f = 4 * torch.randn(5, 7, generator=generator, dtype=torch.float64)
    counts = torch.randint(0, 3, (5, 6), generator=generator).double()
    counts[:, 0] = 1
    mass = f.sigmoid() ** (1 / t)
    others = (counts * mass[:, 1:]).sum(1)
    expected = -(mass[:, 0] / (mass[:, 0] + others)).log()
    torch.testing.assert_close(talos(t)(f[:, 0], f[:, 1:], counts), expected)
    assert (expected >= 0).all()
    torch.testing.assert_close(talos(t, "negatives")(f[:, 0], f[:, 1:], counts),
                               (others / mass[:, 0]).log())  # fmt: skip


def model(dtype=torch.float64):
    torch.manual_seed(1)
    return MF(N, n_users=4, dim=3, output_bias=True).to(dtype)


CANDIDATES = {"full": None, "shared": SharedUniform(N, 4), "rows": RowDraws(N, 4),
              "one": RowDraws(N, 1), "in-batch": InBatch()}  # fmt: skip


@pytest.mark.parametrize("scoring", [Scoring(), Scoring("cosine"), Scoring("euclidean", 0.5)])
@pytest.mark.parametrize("name", CANDIDATES)
@pytest.mark.parametrize("shared", [streamed, plain])
def test_the_border_is_subtracted_from_all_scores(scoring, name, shared):
    """One row after the other, by loops in float64; the border has no gradient."""
    encoder, border = model(), torch.tensor([0.3, -0.2, 0.1, 0.0, -1.5], dtype=torch.float64)

    class Given(torch.nn.Module):
        def forward(self, batch):
            return border

    torch.manual_seed(3)
    chosen = None if CANDIDATES[name] is None else CANDIDATES[name](BATCH)
    source = None if chosen is None else lambda _: chosen
    objective = Objective(talos(0.3), candidates=source, scoring=scoring, border=Given(),
                          shared=shared)  # fmt: skip
    value = objective(encoder, BATCH)
    users, items, *_ = encoder(BATCH)
    made = scoring.items(items)
    f = scoring.users(users) @ made.vectors.T + made.bias - border[:, None]
    counts = torch.zeros(P, N, dtype=torch.float64)
    for row in range(P):
        if chosen is None:
            counts[row] = 1
        else:
            some = chosen.items.expand(P, -1)[row]
            counts[row].index_add_(0, some, chosen.counts.double().expand(P, -1)[row])
        counts[row, LABEL[row]] = 0 if chosen is None or chosen.hits is None else chosen.hits[row]
    mass = f.sigmoid() ** (1 / 0.3)
    own = mass.gather(1, LABEL[:, None])[:, 0]
    left = (counts * mass).sum(1)
    expected = torch.where(left > 0, -(own / (own + left)).log(), 0)
    torch.testing.assert_close(value.parts["loss"], expected)
    parameters = list(encoder.parameters())
    mine = torch.autograd.grad(value.total, parameters)
    theirs = torch.autograd.grad(expected.mean(), parameters)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_the_border_is_read_when_an_epoch_begins():
    """K of all items are at or above it, and a checkpoint has it."""
    encoder, data = model(), examples(Sequences.of([[0, 1], [3, 4], [5], [6, 7, 8]]), "last", 3)
    made = [Thresholds(data, 4, "user", Scoring("cosine"), rank=3, every=1) for _ in range(2)]
    first, again = (Objective(talos(0.3), scoring=Scoring("cosine"), border=b) for b in made)
    first.begin_epoch(encoder, 0)
    users, items, *_ = encoder(BATCH)
    z = torch.cosine_similarity(users[:, None], items.vectors, dim=-1) + items.bias
    assert ((z.float() >= first.border(BATCH)[:, None]).sum(1) == 3).all()
    again.load_state_dict(first.state_dict())
    torch.testing.assert_close(first(encoder, BATCH).total, again(encoder, BATCH).total)


@pytest.mark.parametrize(
    "make",
    [lambda: talos(0.0), lambda: talos(0.1, "none")],  # pyright: ignore
    ids=["t", "denominator"],
)
def test_what_is_refused(make):
    with refused(ValueError):
        make()
