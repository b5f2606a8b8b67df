"""The loss for other people's loops: against softrec's objective, and against whole tables."""

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import softrec.adapters.recbole
import softrec.adapters.rectools
import softrec.adapters.replay
from messages import refused
from softrec.adapters import CatalogueLoss
from softrec.errors import RecipeError, SoftrecError
from softrec.losses import bpr, decoupled, hard
from softrec.objective import Objective
from softrec.targets import PopularityTarget, SparseTarget, UniformTarget, popularity
from softrec.types import Batch, ItemVectors, Vectors


class Fixed(torch.nn.Module):
    """An encoder with given vectors."""

    sparse = False
    catalogue = log_temperature = None
    name = "fixed"

    def __init__(self, users, items):
        super().__init__()
        self.users, self.items, self.n_items = users, items, len(items)

    def forward(self, batch):
        return Vectors(self.users, ItemVectors(self.items))


@st.composite
def batches(draw):
    """Rows of labels with padding, vectors and counts; all of float64."""
    seed, n = draw(st.integers(0, 2**31)), draw(st.integers(2, 12))
    rows, length = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    torch.manual_seed(seed)
    label = torch.randint(n, (rows, length))
    real = torch.rand(rows, length) < draw(st.sampled_from([0.3, 0.8, 1.0]))
    real[0, 0] = True
    users = torch.randn(rows, length, 3, dtype=torch.float64)
    items = torch.randn(n, 3, dtype=torch.float64)
    return users, items, label, real, torch.randint(50, (n,))


def with_gradients(value, *tensors):
    return value, *torch.autograd.grad(value, tensors)


TARGETS = {
    "one-hot": lambda counts: ("one-hot", {}, None, 0.0),
    "uniform": lambda counts: ("uniform", {"alpha": 0.3}, UniformTarget(len(counts)), 0.3),
    "pop+": lambda counts: (
        "pop+",
        {"alpha": 0.5, "temperature": 2.0},
        PopularityTarget(popularity(counts, temperature=2.0)),
        0.25,
    ),
}


@pytest.mark.parametrize("kind", TARGETS)
@given(batches())
def test_it_is_the_objective_on_the_labels_that_are_no_padding(kind, batch):
    users, items, label, real, counts = batch
    name, settings, source, weight = TARGETS[kind](counts)
    users.requires_grad_()
    items.requires_grad_()
    loss = CatalogueLoss(counts, name, padding=len(items), **settings)
    padded = label.masked_fill(~real, len(items))
    found = with_gradients(loss(users, items, padded), users, items)

    objective = Objective() if source is None else Objective.towards(source, weight)
    nothing = torch.zeros(1, 1, dtype=torch.int64)
    batch = Batch(nothing, label[real], example=nothing, user=nothing)
    value = objective(Fixed(users[real], items), batch).total
    expected = with_gradients(value, users, items)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert not found[1][~real].any(), "padding has a gradient"


@given(batches(), st.sampled_from(["one-hot", "uniform", "pop+"]), st.floats(0, 1))
def test_with_a_row_for_padding_it_is_the_cross_entropy_of_whole_tables(batch, name, alpha):
    users, items, label, real, counts = batch
    items = torch.cat([torch.randn(1, 3, dtype=torch.float64), items])  # row 0 is padding
    label = torch.where(real, label + 1, 0)
    counts = torch.cat([torch.tensor([1000]), counts])
    loss = CatalogueLoss(counts, name, padding=0, **({} if name == "one-hot" else {"alpha": alpha}))

    logits = (users @ items.T)[real]
    soft = {"uniform": torch.ones(len(items)), "pop+": counts.clamp(min=1)}.get(name, counts)
    soft = soft.double()
    soft[0] = 0
    a = {"one-hot": 0, "uniform": alpha, "pop+": alpha / 2}[name]
    rows = (1 - a) * F.one_hot(label[real], len(items)) + a * soft / max(soft.sum(), 1)
    expected = F.cross_entropy(logits, rows)
    torch.testing.assert_close(loss(users, items, label), expected, rtol=1e-6, atol=1e-6)
    if name == "one-hot":
        theirs = F.cross_entropy((users @ items.T).flatten(0, 1), label.flatten(), ignore_index=0)
        torch.testing.assert_close(loss(users, items, label), theirs, rtol=1e-12, atol=1e-12)


def vectors(*shape, n=6):
    torch.manual_seed(1)
    return torch.randn(*shape, 4, requires_grad=True), torch.randn(n, 4, requires_grad=True)


def test_a_batch_of_padding_alone_has_the_loss_0_and_no_gradient():
    users, items = vectors(2, 3)
    loss = CatalogueLoss(torch.ones(6), "uniform", padding=0)(
        users, items, torch.zeros(2, 3).long()
    )
    loss.backward()
    assert loss == 0
    assert not users.grad.any()
    assert not items.grad.any()


def test_a_target_of_ones_own_is_in_the_numbers_of_the_table():
    users, items = vectors(5)
    label = torch.tensor([1, 2, 3, 4, 5])
    neighbour = torch.tensor([0, 2, 3, 4, 5, 1])

    def own(label):
        return SparseTarget(neighbour[label][:, None], torch.ones(len(label), 1))

    loss = CatalogueLoss(torch.ones(6), own, weight=0.25, padding=0)
    logp = (users @ items.T).log_softmax(1)
    rows = torch.arange(5)
    expected = -(0.75 * logp[rows, label] + 0.25 * logp[rows, neighbour[label]]).mean()
    torch.testing.assert_close(loss(users, items, label), expected)


def test_a_bias_a_mask_and_other_losses():
    users, items = vectors(2, 2)
    bias, label = torch.randn(6), torch.tensor([[1, 2], [3, 4]])
    real = torch.tensor([[True, False], [True, True]])
    logits = (users @ items.T + bias)[real]
    hard = CatalogueLoss(torch.ones(6))(users, items, label, bias=bias, real=real)
    torch.testing.assert_close(hard, F.cross_entropy(logits, label[real]))
    # DesoRec's loss is linear in its balance.
    ends = [
        CatalogueLoss(torch.ones(6), "uniform", loss=decoupled(b))(users, items, label)
        for b in (0, 0.5, 1)
    ]
    torch.testing.assert_close(ends[1], (ends[0] + ends[2]) / 2)
    pairs = CatalogueLoss(torch.ones(6), loss=bpr)(users, items, label)
    assert pairs.isfinite()


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("pop", {}),
        ("csn", {}),
        ("pop+", {"alfa": 0.1}),
        ("pop+", {"alpha": 2}),
        ("pop+", {"weight": 0.2}),
        (UniformTarget(3), {}),
        (UniformTarget(3), {"weight": 0.1, "alpha": 0.1}),
    ],
)
def test_what_does_not_fit_is_refused(target, settings):
    with refused(RecipeError):
        CatalogueLoss(torch.ones(3), target, **settings)


def test_counts_are_one_number_for_each_row():
    with refused(RecipeError):
        CatalogueLoss(torch.ones(3, 3))
    users, items = vectors(2)
    with refused(ValueError):
        CatalogueLoss(torch.ones(7))(users, items, torch.tensor([1, 2]))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0])
def test_counts_are_finite(number):
    with refused(RecipeError):
        CatalogueLoss([3.0, number, 1.0], "pop+", padding=0)


@pytest.mark.parametrize("loss", ["hard", hard(), bpr, "mxed"])
def test_losses_that_use_no_soft_target_or_are_unknown(loss):
    for target, settings in (("uniform", {"alpha": 0.3}), (UniformTarget(3), {"weight": 0.3})):
        with refused(RecipeError):
            CatalogueLoss(torch.ones(3), target, loss=loss, **settings)
    if loss != "mxed":
        assert CatalogueLoss(torch.ones(3), "uniform", loss=loss, alpha=0).weight == 0


def test_a_weight_of_ones_own_is_a_share():
    with refused(RecipeError):
        CatalogueLoss(torch.ones(3), UniformTarget(3), weight=1.2)


OWN = {
    "a tensor": lambda label: torch.ones(len(label), 6) / 6,
    "half": lambda label: SparseTarget(label[:, None], torch.full((len(label), 1), 0.5)),
    "few rows": lambda label: SparseTarget(label[:1, None], torch.ones(1, 1)),
    "not a number": lambda label: SparseTarget(label[:, None], torch.ones(len(label), 1) / 0 * 0),
}


@pytest.mark.parametrize("wrong", OWN)
def test_a_target_of_ones_own_is_asked_once(wrong):
    users, items = vectors(5)
    asked = []

    def own(label):
        asked.append(label)
        return OWN[wrong](label)

    loss = CatalogueLoss(torch.ones(6), own, weight=0.25)
    with refused(RecipeError):
        loss(users, items, torch.arange(5))
    assert len(asked) == 1


# --- the parts for libraries, with a stand-in of each ---


class LikeRecBole(torch.nn.Module):
    """A model with the names that RecBole's sequential models have."""

    ITEM_SEQ, ITEM_SEQ_LEN, POS_ITEM_ID, n_items, loss_type = "seq", "length", "item", 6, "CE"

    def __init__(self, scale=1.0):
        super().__init__()
        torch.manual_seed(2)
        self.item_embedding = torch.nn.Embedding(6, 4)
        self.dropout, self.scale = torch.nn.Dropout(0.5), scale

    def forward(self, seq, length):
        return self.dropout(self.item_embedding(seq).mean(1))

    def calculate_loss(self, batch):
        logits = self.forward(batch["seq"], batch["length"]) @ self.item_embedding.weight.T
        return F.cross_entropy(self.scale * logits, batch["item"])


class Loader:
    """What is read of RecBole's loader."""

    def __init__(self, labels):
        self.dataset = self
        self.inter_feat = {"item": labels}


BATCH = {"seq": torch.tensor([[1, 2], [3, 0]]), "length": torch.tensor([2, 1]),
         "item": torch.tensor([2, 5])}  # fmt: skip


def test_a_model_of_recbole_has_the_soft_loss():
    labels = torch.tensor([1, 1, 1, 2, 3, 4, 5])
    model = softrec.adapters.recbole.train_on(LikeRecBole(), Loader(labels), "pop+", alpha=0.4)
    model.calculate_loss(BATCH)
    assert model.training, "the check leaves the model as it was"
    model.eval()
    logp = (model.forward(BATCH["seq"], None) @ model.item_embedding.weight.T).log_softmax(1)
    pop = torch.tensor([0, 3, 1, 1, 1, 1]) / 7
    expected = -(0.8 * logp[[0, 1], BATCH["item"]] + 0.2 * (logp * pop).sum(1)).mean()
    torch.testing.assert_close(model.calculate_loss(BATCH), expected)


def test_a_model_of_recbole_with_other_logits_is_refused():
    model = softrec.adapters.recbole.train_on(LikeRecBole(scale=2.0), Loader(BATCH["item"]))
    with refused(SoftrecError):
        model.calculate_loss(BATCH)
    model = LikeRecBole()
    model.loss_type = "BPR"
    with refused(SoftrecError):
        softrec.adapters.recbole.train_on(model, Loader(BATCH["item"]))


def test_rectools_is_asked_for_when_it_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "rectools", None)
    with pytest.raises(SoftrecError):
        softrec.adapters.rectools.SoftTargets  # noqa: B018
    with pytest.raises(AttributeError):
        softrec.adapters.rectools.Other  # noqa: B018


class LikeReplay(torch.nn.Module):
    """A model with the names that RePlay's SasRec has."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.weight = torch.nn.Parameter(torch.randn(6, 4))
        self.body = self.embedder = self

    def __setattr__(self, name, value):
        if name in ("body", "embedder"):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def get_item_weights(self):
        return self.weight

    def get_logits(self, states, items=None):
        return states @ self.weight.T


def test_labels_of_replay_with_a_mask_and_several_at_a_place():
    model = softrec.adapters.replay.train_on(LikeReplay(), torch.ones(6), "uniform", alpha=0.3)
    states = torch.randn(1, 2, 4)
    labels = torch.tensor([[[0, 3], [5, 6]]])
    mask = torch.tensor([[[True, True], [True, False]]])
    found = model.loss(states, None, labels, None, None, mask)
    logp = (states[0] @ model.weight.T).log_softmax(1)
    hard = torch.stack([logp[0, 0], logp[0, 3], logp[1, 5]])
    soft = torch.stack([logp[0], logp[0], logp[1]]).mean(1)
    torch.testing.assert_close(found, -(0.7 * hard + 0.3 * soft).mean())
