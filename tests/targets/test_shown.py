"""Only items with evidence: what was never shown has no gradient, and no part of the softmax."""

import polars as pl
import pytest
import torch

import softrec
from messages import refused
from softrec.candidates import Shown, ShownSettings
from softrec.data.splits import leave_last_out
from softrec.errors import RecipeError
from softrec.experiments.build.objective import build
from softrec.losses.softmax import decoupled, mixed
from softrec.objective import Objective
from softrec.recipe.recipe import read_recipe
from softrec.targets.smoothing import PopularityTarget, UniformTarget
from softrec.testing.known import batch_of
from softrec.testing.learning import trained
from softrec.types import Encoder, ItemVectors, Vectors

N, NEVER = 8, [2, 5]
KNOWN = [item for item in range(N) if item not in NEVER]


class Table(Encoder):
    """Logits of the items, the same for each history, as the bias of the items."""

    n_items, reads = N, ("history",)

    def __init__(self, logits):
        super().__init__()
        self.bias = torch.nn.Parameter(logits)
        self.vectors = torch.nn.Parameter(torch.randn(N, 3, dtype=logits.dtype))

    def items(self):
        return ItemVectors(self.vectors, self.bias)

    def forward(self, batch, items=None):
        users = torch.ones(len(batch.history), 3, dtype=self.bias.dtype)
        return Vectors(users, items or self.items())


SOURCES = {
    "uniform": UniformTarget(N),
    "popularity": PopularityTarget(torch.arange(1.0, N + 1) / 36),
}


@pytest.mark.parametrize("source", SOURCES)
def test_label_smoothing_is_over_the_items_with_evidence(source):
    """The value is the cross-entropy over these items alone, the gradient elsewhere is 0."""
    torch.manual_seed(0)
    model = Table(torch.randn(N, dtype=torch.float64))
    label = torch.tensor([0, 3, 7, 3])
    objective = Objective(mixed(), SOURCES[source], 0.3, Shown(torch.tensor(KNOWN)))
    value = objective(model, batch_of(label[:, None], label))
    value.total.backward()
    logits = (model.vectors.sum(1) + model.bias).detach()[KNOWN].requires_grad_()
    s = SOURCES[source].prob_of(torch.tensor(KNOWN)).double()
    q = 0.7 * torch.nn.functional.one_hot(label, N)[:, KNOWN] + 0.3 * s / s.sum()
    expected = -(q * logits.log_softmax(0)).sum(1).mean()
    expected.backward()
    torch.testing.assert_close(value.total.detach(), expected.detach(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(model.bias.grad[KNOWN], logits.grad, rtol=1e-5, atol=1e-6)
    assert not model.bias.grad[NEVER].any()
    assert not model.vectors.grad[NEVER].any()


def test_with_all_items_it_is_the_full_catalogue():
    torch.manual_seed(0)
    label, found = torch.tensor([0, 3, 7, 3]), []
    logits = torch.randn(N, dtype=torch.float64)
    for candidates in (None, Shown(torch.arange(N))):
        torch.manual_seed(1)
        model = Table(logits.clone())
        objective = Objective(decoupled(0.6), UniformTarget(N), 0.3, candidates)
        objective(model, batch_of(label[:, None], label)).total.backward()
        found.append((model.bias.grad, model.vectors.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def flat():
    """A table of equal logits, of which only the biases are trained."""
    model = Table(torch.zeros(N))
    model.vectors.requires_grad_(False).zero_()
    return model


def test_a_new_item_keeps_its_place():
    """Training lowers it over all items, and leaves it where it is over those shown."""
    label, moved = torch.tensor([0, 3, 7, 3]), {}
    for name, candidates in {"full": None, "shown": Shown(torch.tensor(KNOWN))}.items():
        objective = Objective(mixed(), UniformTarget(N), 0.1, candidates)
        batch = batch_of(label[:, None], label)
        moved[name] = trained(flat, batch, objective, steps=60).bias.detach()
    assert (moved["full"][NEVER] < -0.5).all()
    assert (moved["shown"][NEVER] == 0).all()


def test_a_run_over_the_items_shown(tmp_path):
    rows = [(user, (user + step) % 5 if step < 3 else 5, step)
            for user in range(30) for step in range(5)]  # fmt: skip
    log = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    run = softrec.fit(log, out=tmp_path / "run", candidates="shown", target="uniform", epochs=1,
                      cold_items="keep", model="mf", windows="interactions")  # fmt: skip
    assert run.recipe.candidates.name == "shown"
    assert run.recommender().log.n_items == 6


@pytest.mark.parametrize("windows", ["last", "positions"])
def test_uniform_has_no_floor_for_what_was_never_shown(windows):
    """Items with a training event, be it in histories alone, have 1 / |C| each; others have no s,
    no gradient, and no place in the denominator."""
    rows = [
        (user, item, step)  # item 4 is never a label, item 5 is for the test
        for user in range(6)
        for step, item in enumerate([4, user % 4, (user + 1) % 4, (user + 2) % 4, 5])
    ]
    log = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    split = leave_last_out(softrec.Interactions.read(log), cold="keep")
    recipe = read_recipe({
        "data": {"source": "log.csv"}, "model": {"name": "gru4rec", "dim": 4, "dropout": 0.0},
        "target": {"name": "uniform", "alpha": 0.3}, "candidates": {"name": "shown"},
        "training": {"windows": windows, "length": 3},
    })  # fmt: skip
    encoder, objective, batches = build(recipe, split)
    batch = next(iter(batches))
    number = dict(zip(split.train.items.raw, range(6), strict=True))
    assert {number[4], number[5]}.isdisjoint(batch.label.tolist())
    known = torch.tensor(sorted(set(range(6)) - {number[5]}))
    value = objective(encoder, batch)
    value.total.backward()
    vectors = encoder(batch)
    logits = (vectors.users @ vectors.items.vectors.T + vectors.items.bias)[:, known]
    label = torch.nn.functional.one_hot(torch.searchsorted(known, batch.label), len(known))
    q = 0.7 * label + 0.3 / len(known)
    torch.testing.assert_close(value.total, -(q * logits.log_softmax(1)).sum(1).mean())
    tables = (part for part in encoder.parameters() if len(part) in (6, 7))
    grads = [part.grad for part in tables if part.grad is not None]
    assert grads
    assert not any(grad[number[5]].any() for grad in grads)
    assert any(grad[number[4]].any() for grad in grads)


class Nothing:
    item_counts = torch.tensor([0.0, 3.0, 0.0])


def test_one_item_has_nothing_beside_it():
    with refused(RecipeError):
        ShownSettings().build(Nothing(), softmax=True)
