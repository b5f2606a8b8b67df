"""The weight of the soft target by counts and by epochs: numbers and what it teaches."""

import json

import numpy as np
import polars as pl
import pytest
import torch

import softrec
from messages import refused
from softrec.adapters.loss import CatalogueLoss
from softrec.errors import RecipeError
from softrec.objective import Objective
from softrec.targets.mass import Mass, last_item
from softrec.targets.smoothing import UniformTarget
from softrec.testing import oracles
from softrec.testing.encoders import at_every_step, padded
from softrec.testing.known import batch_of
from softrec.testing.learning import trained
from softrec.types import Encoder, ItemVectors, Vectors

N = 6


class Free(Encoder):
    """A vector for each history of one item, so that each has a softmax of its own."""

    n_items, reads = N, ("history",)

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.zeros(N, N))
        self.vectors = torch.nn.Parameter(torch.eye(N), requires_grad=False)

    def items(self):
        return ItemVectors(self.vectors)

    def forward(self, batch, items=None):
        return Vectors(self.table[batch.history[:, 0]], items or self.items())


@pytest.mark.parametrize("strength", [2.0, 10.0])
def test_a_count_model_learns_the_posterior_mean(strength):
    """Where all of a history's labels are the same, a_0 = 1 gives (n e_y + k s) / (n + k)."""
    labels = torch.tensor([0] * 1 + [1] * 4 + [2] * 20)
    counts = torch.bincount(labels, minlength=N)
    mass = Mass(1.0, counts, strength=strength)
    objective = Objective.towards(UniformTarget(N), mass)
    model = trained(Free, batch_of(labels[:, None], labels), objective, steps=400, lr=0.2)
    items = torch.arange(3)
    with torch.no_grad():
        found = model.table[items].double().softmax(1)
    n = counts[:3, None].double()
    expected = (n * torch.eye(N)[:3].double() + strength / N) / (n + strength)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)


def test_the_weights_of_a_batch():
    counts = torch.tensor([0.0, 1.0, 3.0, 9.0, 0.0, 1.0])
    history = [[0, 2], [3], [5, 4, 1]]
    batch = padded(history, N)._replace(label=torch.tensor([2, 0, 3]))
    known = {"label-count": [3, 0, 9], "context-count": [3, 9, 1]}
    for of, n in known.items():
        mass = Mass(0.8, counts, of=of, strength=2.0, first=0.5, last=1.0, epochs=4)
        for epoch, factor in ((0, 0.5), (2, 0.75), (4, 1.0), (9, 1.0)):
            mass.epoch = epoch
            expected = 0.8 * factor * 2 / (torch.tensor(n) + 2)
            torch.testing.assert_close(mass(batch), expected)
    falls = Mass(0.4, first=1.0, last=0.0, epochs=2)
    falls.epoch = 1
    torch.testing.assert_close(falls(batch), torch.full((3,), 0.2))
    assert not list(falls.state_dict())


def test_the_last_item_of_each_prediction():
    """On either side of the padding, at each step, and of an empty history none."""
    whole = padded([[4, 5, 0], [1]], N)
    steps = at_every_step(whole, [3, 1])
    for batch in (steps, steps._replace(history=torch.tensor([[4, 5, 0], [N, N, 1]]))):
        assert last_item(batch, N)[0].tolist() == [4, 5, 0, 1]
    empty = whole._replace(history=torch.tensor([[4, 5, 0], [N, N, N]]))
    item, some = last_item(empty, N)
    assert item.tolist() == [0, 0]
    assert some.tolist() == [True, False]
    mass = Mass(0.8, torch.ones(N), of="context-count", strength=1.0)
    torch.testing.assert_close(mass(empty), torch.tensor([0.4, 0.8]))


def test_an_objective_reads_the_weights_of_its_batch():
    """The value is that of each example at its own weight, over all items and over some."""
    counts = torch.tensor([0.0, 1.0, 3.0, 9.0, 0.0, 1.0])
    batch = batch_of(torch.tensor([[0], [1], [2]]), torch.tensor([2, 3, 1]))
    model = Free()
    model.table.data = torch.randn(N, N, generator=torch.Generator().manual_seed(0))
    objective = Objective.towards(UniformTarget(N), Mass(0.8, counts, strength=2.0))
    found = objective(model, batch)
    uniform = torch.full((1, N), 1 / N)
    each = [oracles.soft(model.table[i][None], batch.label[i][None], uniform, w)
            for i, w in enumerate([0.8 * 2 / 5, 0.8 * 2 / 11, 0.8 * 2 / 3])]  # fmt: skip
    torch.testing.assert_close(found.total.double(), torch.cat(each).mean().detach().double(),
                               atol=1e-6, rtol=1e-6)  # fmt: skip


@pytest.fixture
def clicks():
    rng = np.random.default_rng(0)
    items = (rng.integers(12, size=(40, 1)) + np.arange(6)) % 12
    return pl.DataFrame({"user": np.repeat(np.arange(40), 6), "item": items.ravel()})


TINY = {"model": "sasrec", "epochs": 2, "batch_size": 16, "length": 5, "model.dim": 8,
        "model.layers": 1, "metrics": ("ndcg@10",)}  # fmt: skip


@pytest.mark.parametrize("loss", ["mixed", "decoupled", "red line", "sl"])
def test_a_run_with_weights_of_its_examples(tmp_path, clicks, loss):
    mass = {"by": "label-count", "strength": 3, "last": 0.5}
    red = loss == "red line"
    loss = {"loss": "decoupled", "balance": "red-line"} if red else {"loss": loss}
    run = softrec.fit(clicks, out=tmp_path / "run", target="uniform", alpha=0.6,
                      **{"target.mass": mass}, **loss, **TINY)  # fmt: skip
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["soft_weight"] == 0.6
    labels = clicks.group_by("user", maintain_order=True).agg(pl.col("item").slice(1, 3))
    n = labels.explode("item")["item"].value_counts()["count"]
    expected = 0.3 * (n * (3 / (n + 3))).sum() / n.sum()
    assert facts["target"]["mean_weight"] == pytest.approx(expected)
    assert softrec.open_run(run.folder).evaluate()["ndcg@10"] == pytest.approx(run.test["ndcg@10"])


def test_another_weight_is_another_training(tmp_path, clicks):
    """With sampled candidates for each row, which are read by the table of scores, too."""
    some = {"candidates": "sampled", "number": 5, "candidates.per_row": True}
    found = {}
    for mass in (None, "label-count", {"first": 0.0}):
        target = {"name": "uniform", "alpha": 0.6, "mass": mass}
        run = softrec.fit(clicks, out=tmp_path / f"{mass}", target=target, **TINY, **some)
        found[str(mass)] = run.encoder().items().vectors
    for one, other in (("None", "label-count"), ("None", "{'first': 0.0}")):
        assert not torch.equal(found[one], found[other])


@pytest.mark.parametrize("target", [
    {"name": "one-hot", "mass": "label-count"}, {"name": "uniform", "mass": "popularity"},
    {"name": "uniform", "mass": {"by": "label-count", "strength": 0}},
    {"name": "uniform", "mass": {"first": 1.5}},
    {"name": "mixture", "of": [{"weight": 1.0, "target": {"name": "uniform", "mass": "constant"}}]},
])  # fmt: skip
def test_what_a_recipe_refuses(tmp_path, clicks, target):
    with refused(RecipeError):
        softrec.fit(clicks, out=tmp_path / "run", target=target, **TINY)


def test_another_library_has_no_training_part():
    with refused(RecipeError):
        CatalogueLoss(torch.ones(4), "uniform", mass="label-count")
