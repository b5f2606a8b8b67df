"""The first rows of users and items that a trained model does not know."""

import numpy as np
import polars as pl
import pytest
import torch

from softrec.data.interactions import Interactions
from softrec.data.splits import leave_last_out
from softrec.experiments.build.model import build_model
from softrec.experiments.build.objective import build
from softrec.experiments.build.rows import fill_new_rows, own_new_rows
from softrec.experiments.build.start import tables_of
from softrec.experiments.train import fit_recipe
from softrec.parallel.tables import Part
from softrec.progress import telling
from softrec.recipe.recipe import read_recipe


def log_of(*histories):
    rows = [(user, item) for user, items in enumerate(histories) for item in items]
    return Interactions.read(pl.DataFrame(rows, schema=["user", "item"], orient="row"))


def filled(kind, table, unknown, log, name="table"):
    """The table after its unknown rows were filled, and how many were."""
    state = {name: table.clone()}
    sizes = {"items": log.n_items, "users": log.n_users}
    places = {k: np.arange(size) for k, size in sizes.items()}
    places[kind][unknown] = -1
    found = fill_new_rows(state, {name: kind}, places, log)
    return state[name], found[kind]


def test_a_new_item_gets_the_mean_of_the_known_items_near_it():
    """Item 3 is near 0 twice, near 1 once and near 4, which is new, too; 2 is six places away."""
    log = log_of([0, 3, 1], [0, 3, 4], [2, 0, 0, 0, 0, 0, 4])
    rows = torch.tensor([[6.0, 0.0], [0.0, 9.0], [100.0, 100.0], [7.0, 7.0], [8.0, 8.0]])
    table, count = filled("items", rows, [3, 4], log)
    assert table[:3].equal(rows[:3])
    assert table[3].tolist() == [4.0, 3.0]  # (2 (6, 0) + (0, 9)) / 3
    assert table[4].tolist() == [6.0, 0.0]  # once beside history 1, five times beside history 2
    assert count == 2


@pytest.mark.parametrize("edge", [0, 3, 17, 40])
def test_the_own_rows_of_shards_are_those_of_the_whole_table(edge):
    """The trained model has its items in another order, and more of them."""
    draw = np.random.default_rng(0)
    log = log_of(*(draw.integers(40, size=8) for _ in range(30)), range(40))
    places = draw.permutation(60)[:40]
    new = np.union1d([0, 2, 3, 16, 17, 39], draw.permutation(40)[:8])  # with those at the edges
    places[new] = -1
    trained, table = torch.randn(60, 5), torch.randn(40, 5)
    table[places >= 0] = trained[places[places >= 0]]
    state = {"table": table.clone()}
    count = fill_new_rows(state, {"table": "items"}, {"items": places}, log)["items"]
    own = [(table[part.start : part.stop].clone(), part)
           for part in (Part(0, edge, 40), Part(edge, 40, 40))]  # fmt: skip
    counts = [own_new_rows(rows, part, places, log, lambda n: trained[n]) for rows, part in own]
    torch.testing.assert_close(torch.cat([rows for rows, _ in own]), state["table"])
    assert sum(counts) == count == len(new)
    assert not state["table"].equal(table)


def test_neighbours_are_of_one_history():
    log = log_of([0, 1], [2, 3])
    rows = torch.arange(4.0)[:, None]
    table, count = filled("items", rows, [2, 3], log)
    assert table.equal(rows)
    assert count == 0


def test_a_new_user_gets_the_mean_over_the_items_of_those_who_have_them():
    """Item 0 is of users 0 and 1, item 1 of user 1, and item 2 of nobody who is known."""
    log = log_of([0], [0, 1], [0, 1, 2], [2])
    rows = torch.tensor([[2.0], [6.0], [50.0], [70.0]])
    table, count = filled("users", rows, [2, 3], log)
    assert table.ravel().tolist() == [2.0, 6.0, 5.0, 70.0]  # ((2 + 6) / 2 + 6) / 2
    assert count == 1


@pytest.mark.parametrize("shape", [(4,), (5, 2), (4, 2, 3)])
def test_any_table_is_filled_and_rows_at_its_end_stay(shape):
    log = log_of([0, 1, 3], [2, 3])
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    table, _ = filled("items", rows, [3], log)
    torch.testing.assert_close(table[3], rows[:3].mean(0))
    assert table[:3].equal(rows[:3])
    assert table[4:].equal(rows[4:])


def split_of(users, items):
    rows = [(f"u{u}", f"i{(u * 3 + step) % items}") for u in range(users) for step in range(6)]
    frame = pl.DataFrame(rows, schema=["user", "item"], orient="row")
    return leave_last_out(Interactions.read(frame), cold="keep")


@pytest.mark.parametrize("model", ["gru4rec", "mf"])
def test_a_recipe_says_how_new_rows_begin(tmp_path, model):
    """Held against the rows by raw id; without the setting they are those of a new model."""
    windows = "interactions" if model == "mf" else "prefixes"
    fields = {
        "data": {"source": "log.csv"}, "model": {"name": model, "dim": 4},
        "training": {"windows": windows, "epochs": 1, "length": 5, "accelerator": "cpu"},
    }  # fmt: skip
    run = fit_recipe(read_recipe(fields), tmp_path / "run", split=split_of(12, 6))
    new, began = split_of(15, 8), {}
    told = []
    for rows in ("fresh", "neighbours"):
        own = {**fields["training"], "start": str(run.folder), "new_rows": rows}
        recipe = read_recipe({**fields, "training": own})
        with telling(write=told.append):
            began[rows] = build(recipe, new)[0].state_dict()
    fresh = build_model(recipe.model, new.train, 5, seed=0).state_dict()
    tables = tables_of(recipe.model, new.train, 5)
    unknown = {"items": ["i6", "i7"], "users": ["u12", "u13", "u14"]}
    for name, kind in tables.items():
        places = getattr(new.train, kind).numbers(unknown[kind])
        assert began["fresh"][name][places].equal(fresh[name][places])
        assert not began["neighbours"][name][places].isclose(fresh[name][places]).any()
        known = np.setdiff1d(np.arange(len(getattr(new.train, kind))), places)
        assert began["fresh"][name][known].equal(began["neighbours"][name][known])
    ends = ("initialised at random", "(2 items), or at random")
    ends = ends if model == "gru4rec" else (ends[0], "3 users), or at random")
    lines = [line for line in told if "unknown to" in line]
    assert [line.endswith(end) for line, end in zip(lines, ends, strict=True)] == [True, True]
