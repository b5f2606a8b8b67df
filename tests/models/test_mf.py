"""Matrix factorisation: who it knows, what it learns, and what it cannot."""

from functools import partial

import numpy as np
import polars as pl
import pytest
import torch

from messages import refused
from softrec.data.batches import case_batches
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import Cases
from softrec.errors import DataError
from softrec.models.mf import MF
from softrec.objective import Objective
from softrec.serving.recommender import Recommender
from softrec.testing import (
    check_learns,
    check_learns_nothing_from_noise,
    checkerboard,
    noise,
)
from softrec.types import Batch

N_ITEMS = 9


def asked_for(users, row=None) -> Batch:
    """A batch that asks for users by number; what they interacted with does not matter."""
    user = torch.tensor(users)
    count = len(user) if row is None else len(row)
    rest = torch.zeros(count, dtype=torch.int64)
    history = torch.zeros(len(user), 1, dtype=torch.int64)
    if row is None:
        return Batch(history, rest, rest, user)
    return Batch(history, rest, rest, user, torch.tensor(row), torch.zeros_like(rest))


# --- vectors ---


def test_user_vectors_are_rows_of_the_table_for_each_prediction():
    model = MF(N_ITEMS, n_users=5, dim=4)
    table = model.user_table.weight
    assert torch.equal(model(asked_for([4, 0, 4])).users, table[[4, 0, 4]])
    assert torch.equal(model(asked_for([4, 2], row=[0, 1, 1, 0])).users, table[[4, 2, 2, 4]])


def test_item_vectors_are_a_table_of_their_own_without_padding():
    vectors, bias, _ = MF(N_ITEMS, n_users=5, dim=4).items()
    assert vectors.shape == (N_ITEMS, 4)
    assert bias is None
    _, bias, _ = MF(N_ITEMS, n_users=5, dim=4, output_bias=True).items()
    assert bias is not None
    assert bias.tolist() == [0.0] * N_ITEMS


def test_xavier_bounds_each_table_by_its_own_size():
    torch.manual_seed(0)
    model = MF(300, n_users=2000, dim=64)
    for table, rows in ((model.item_table, 300), (model.user_table, 2000)):
        bound = (6 / (rows + 64)) ** 0.5
        assert 0.99 * bound < float(table.weight.detach().abs().max()) <= bound
        expected = bound / 3**0.5  # the standard deviation of a uniform variable
        assert float(table.weight.detach().std()) == pytest.approx(expected, rel=0.02)


def test_normal_has_its_standard_deviation():
    torch.manual_seed(0)
    model = MF(300, n_users=200, init="normal")
    for table in (model.item_table, model.user_table):
        assert float(table.weight.detach().std()) == pytest.approx(0.01, rel=0.03)


def test_the_preset_is_that_of_the_paper():
    assert MF.PRESETS == {"bsl": {"dim": 64, "dropout": 0.1, "init": "xavier"}}
    assert MF(N_ITEMS, n_users=3, **MF.PRESETS["bsl"]).dropout.p == 0.1


def test_dropout_is_on_user_vectors_in_training_only():
    torch.manual_seed(0)
    model = MF(N_ITEMS, n_users=50, dim=64, dropout=0.25)
    everyone = asked_for(list(range(50)))
    table = model.user_table.weight
    dropped = model(everyone).users
    cut = dropped == 0
    assert float(cut.float().mean()) == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(dropped[~cut], table[~cut] / 0.75)
    assert torch.equal(model.items().vectors, model.item_table.weight)
    model.eval()
    assert torch.equal(model(everyone).users, table)


# --- who it knows ---


@pytest.mark.parametrize("unknown", [-1, 5, 10**9])
def test_unknown_users_are_refused(unknown):
    model = MF(N_ITEMS, n_users=5, dim=4)
    for batch in (asked_for([0, unknown]), asked_for([0, unknown], row=[0, 1])):
        with refused(DataError):
            model(batch)
        with refused(DataError):
            model.eval()(batch)


def test_several_unknown_users_are_named_once_each():
    with refused(DataError):
        MF(N_ITEMS, n_users=5, dim=4)(asked_for([7, 0, -1, 6, 5, 6]))


@pytest.mark.parametrize(
    "options",
    [
        {"n_users": 0},
        {"n_users": 3, "init": "zeros"},
        {"n_users": 3, "dropout": 1.5},
    ],
)
def test_options_that_do_not_fit(options):
    with refused(ValueError):
        MF(N_ITEMS, **options)


def test_evaluation_cases_ask_for_users_by_number():
    """Cases name users by their number in the log, not by their place in the batch."""
    model = MF(N_ITEMS, n_users=5, dim=4).eval()
    lists = Sequences.of([[1], [2, 3]])
    cases = Cases(np.array([4, 2]), lists, lists)
    ((_, batch),) = case_batches(cases, 1, N_ITEMS)
    assert torch.equal(model(batch).users, model.user_table.weight[[4, 2]])


def test_recommendations_for_users_of_the_log_alone():
    """Ranked by the scores of the table; somebody with only a history is refused."""
    log = Interactions.read(pl.DataFrame({"user": ["ann", "bob"] * 4, "item": list("teatimes")}))
    model = MF(log.n_items, n_users=log.n_users, dim=4)
    service = Recommender(model, log, length=1)
    found = service.recommend(["bob", "ann"], k=3, mask_seen=False)
    for raw, number in (("bob", 1), ("ann", 0)):
        scores = model.item_table.weight @ model.user_table.weight[number]
        best = log.items.ids(scores.detach().numpy().argsort()[::-1][:3]).to_list()
        assert found.filter(pl.col("user") == raw)["item"].to_list() == best
    with refused(DataError):
        service.recommend(["ann"], histories={"eve": ["t"]})


# --- gradients ---


def test_gradients_of_cross_entropy_are_the_closed_form():
    """With p = softmax(V u): dL/du = V'(p - y) / P, dL/dV = (p - y) u' / P, summed by row."""
    torch.manual_seed(0)
    model = MF(N_ITEMS, n_users=5, dim=4, output_bias=True).double()
    user, label = [3, 1, 3], [0, 8, 2]
    batch = asked_for(user)._replace(label=torch.tensor(label))
    Objective()(model, batch).total.backward()
    tables = (model.user_table.weight, model.item_table.weight)
    users, items = (table.detach().numpy() for table in tables)
    expected = [np.zeros_like(users), np.zeros_like(items), np.zeros(N_ITEMS)]
    for u, y in zip(user, label, strict=True):
        p = np.exp(items @ users[u])
        away = p / p.sum() - np.eye(N_ITEMS)[y]
        expected[0][u] += items.T @ away / len(user)
        expected[1] += np.outer(away, users[u]) / len(user)
        expected[2] += away / len(user)
    for parameter, gradient in zip((*tables, model.bias), expected, strict=True):
        assert parameter is not None
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), gradient, rtol=1e-10, atol=1e-12)
    assert not expected[0][[0, 2, 4]].any()  # nobody is moved who was not asked for


# --- learning ---


@pytest.mark.parametrize("options", [{}, {"dropout": 0.1}, {"init": "normal"}])
def test_a_checkerboard_is_learnt(options):
    """A user's colour: all items of it come first, also the four that the user never took.

    Trained much longer, a model learns by heart which those are.
    """
    data = checkerboard(24, 960, 1, users=40, seed=5)
    how = {"train": 320, "top": 12, "slack": 0.0, "steps": 50}
    check_learns(partial(MF, 24, n_users=40, dim=8, **options), 24, data=data, **how)


@pytest.mark.slow
def test_nothing_is_learnt_from_noise():
    """Tastes do not exist."""
    data = noise(12, 5400, 1, users=60, seed=6)
    make = partial(MF, 12, n_users=60, dim=8)
    check_learns_nothing_from_noise(make, 12, data=data, train=1200, steps=280)
