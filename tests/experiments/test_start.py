"""Beginning from a run of another log: rows go by raw id, and what is new begins afresh."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from messages import refused
from softrec.data.interactions import Interactions
from softrec.data.splits import leave_last_out
from softrec.errors import RunError
from softrec.experiments.build.model import build_model
from softrec.experiments.build.objective import build
from softrec.experiments.build.start import tables_of
from softrec.experiments.runs import open_run
from softrec.experiments.train import fit_recipe
from softrec.files import OWN, read_facts, write_facts
from softrec.progress import telling
from softrec.recipe.recipe import read_recipe
from softrec.recipe.specs.models import MODELS, ModelSettings, is_counted

TRAINED = [name for name in MODELS if not is_counted(name)]
SMALL = {
    "nfm": {"dim": 8},
    "mf": {"dim": 8, "output_bias": True},
    "lightgcn": {"dim": 8, "layers": 1, "output_bias": True},
    "gru4rec": {"dim": 8},
    "sasrec": {"dim": 8, "heads": 1, "layers": 1},
}


def split_of(users: range, items: int, prefix: str = "i"):
    """Users who take six items in a row, with text ids whose order is not that of numbers."""
    rows = [
        (f"u{u}", f"{prefix}{(u * 3 + step) % items}", step) for u in users for step in range(6)
    ]
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return leave_last_out(Interactions.read(frame.drop("time")), cold="keep")


def recipe_of(model: str, **training):
    windows = "interactions" if model in ("mf", "lightgcn") else "prefixes"
    return read_recipe({
        "data": {"source": "log.csv"},
        "model": {"name": model, **SMALL[model]},
        "training": {"windows": windows, "epochs": 1, "length": 5, "accelerator": "cpu", "lr": 0.1,
                     **training},
    })  # fmt: skip


OLD, NEW = split_of(range(2, 20), 9), split_of(range(25), 12)


@pytest.fixture(scope="module", params=SMALL)
def begun(request, tmp_path_factory):
    """Return the trained model, and one that began from it on a larger log, with what was told."""
    model = request.param
    folder = tmp_path_factory.mktemp(model) / "run"
    run = fit_recipe(recipe_of(model), folder, split=OLD)
    told: list[str] = []
    recipe = recipe_of(model, start=str(folder))
    with telling(write=told.append):
        encoder, _, _ = build(recipe, NEW)
    fresh = build_model(recipe.model, NEW.train, 5, seed=recipe.seed)
    return model, run.encoder(), encoder, fresh, told


def raw_rows(table, vocabulary):
    return dict(zip(vocabulary.raw.to_list(), table, strict=True))


@pytest.mark.slow
def test_known_rows_are_kept_and_new_ones_begin_afresh(begun):
    model, old, new, fresh, told = begun
    kinds = tables_of(recipe_of(model).model, NEW.train, 5)
    assert "items" in kinds.values()
    moved = 0
    for name, kind in kinds.items():
        before, after = (getattr(split.train, kind) for split in (OLD, NEW))
        one = raw_rows(old.state_dict()[name][: len(before)], before)
        two = raw_rows(new.state_dict()[name][: len(after)], after)
        start = raw_rows(fresh.state_dict()[name][: len(after)], after)
        assert set(one) < set(two)
        for raw, row in two.items():
            assert torch.equal(row, one[raw] if raw in one else start[raw]), (name, raw)
            moved += before.raw.to_list().index(raw) != after.raw.to_list().index(raw) \
                if raw in one else 0  # fmt: skip
        assert torch.equal(old.state_dict()[name][len(before) :],
                           new.state_dict()[name][len(after) :])  # fmt: skip
    assert moved  # the same ids have other numbers
    users = " and 7 of 25 users" if model in ("mf", "lightgcn") else ""
    assert len(told) == 2
    assert told[1].startswith(f"training.start: 3 of 12 items{users} are unknown to ")


def test_what_belongs_to_nobody_is_kept_whole(begun):
    model, old, new, _, _ = begun
    kinds = tables_of(recipe_of(model).model, NEW.train, 5)
    for name, part in old.state_dict().items():
        if name not in kinds:
            assert torch.equal(part, new.state_dict()[name]), name


def test_the_graph_is_that_of_the_new_log(begun):
    model, _, new, fresh, _ = begun
    if model == "lightgcn":
        assert torch.equal(new.graph.degrees(), fresh.graph.degrees())
        assert len(new.graph.degrees()) == NEW.train.n_users + NEW.train.n_items


@pytest.mark.parametrize("name", TRAINED)
def test_the_tables_of_every_model_are_found(name):
    spec = ModelSettings(name=name)
    log = Interactions.read(
        pl.DataFrame({"user": np.repeat([1, 2, 3], 5), "item": np.arange(15) % 7,
                      "time": np.arange(15)})
    )  # fmt: skip
    model = build_model(spec, log, 50, seed=0)
    found = tables_of(spec, log, 50)
    sizes = {"items": (7, 8), "users": (3,)}
    for entry, kind in found.items():
        assert len(model.state_dict()[entry]) in sizes[kind]
    by_name = {n for n in model.state_dict() if "table" in n or n.endswith("output.vectors")}
    assert by_name <= set(found)
    assert {n for n, kind in found.items() if kind == "users"} == (
        {"user_table.weight"} if name in ("mf", "lightgcn", "ngcf") else set()
    )


def test_the_same_log_is_begun_from_without_a_word(tmp_path):
    run = fit_recipe(recipe_of("gru4rec"), tmp_path / "run", split=OLD)
    told: list[str] = []
    recipe = recipe_of("gru4rec", start=str(tmp_path / "run"))
    with telling(write=told.append):
        encoder, _, _ = build(recipe, OLD)
    for name, part in run.encoder().state_dict().items():
        assert torch.equal(part, encoder.state_dict()[name])
    assert told == []


def raw_events(log):
    """The events of a log by raw ids."""
    users, items = log.users.ids(log.frame["user"]), log.items.ids(log.frame["item"])
    return list(zip(users, items, strict=True))


def test_test_events_that_the_run_was_trained_on_are_counted(begun):
    trained = set(raw_events(OLD.train))
    leaked = sum(event in trained for event in raw_events(NEW.test))
    assert 0 < leaked < 25
    assert begun[4][0].startswith(f"training.start: {leaked} of 25 test events are among those ")


def in_order(items, *, times=True):
    """Nine users who take six items at the same times, in some order."""
    rows = [(u, item, place * 100 + u) for u in range(9) for place, item in enumerate(items)]
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return leave_last_out(Interactions.read(frame if times else frame.drop("time")), cold="keep")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("items", "times", "counted"),
    [([5, 4, 3, 2, 1, 0], True, 0), ([5, 4, 3, 2, 1, 0], False, 9), ([4, 0, 1, 5, 3, 2], True, 0),
     ([6, 1, 7, 8, 9, 3], True, 0), ([6, 1, 7, 3, 9, 5], True, 0), ([0, 1, 4, 5, 2, 3], False, 9),
     ([0, 1, 2, 3, 5, 4], False, 0), ([0, 1, 2, 5, 3, 4], False, 0),
     ([10, 11, 2, 12, 13, 9], False, 0)],
)  # fmt: skip
def test_an_event_is_known_by_its_time_where_both_logs_have_times(tmp_path, items, times, counted):
    fit_recipe(recipe_of("gru4rec"), tmp_path / "run", split=in_order(range(6)))
    told: list[str] = []
    recipe = recipe_of("gru4rec", start=str(tmp_path / "run"))
    with telling(write=told.append):
        build(recipe, in_order(items, times=times))
    found = [line for line in told if "test events" in line]
    assert [line.split()[1:4] for line in found] == ([[str(counted), "of", "9"]] if counted else [])


def test_an_event_at_its_own_time_is_known(tmp_path):
    """Trained on the last three events of each user, by another split of the same log."""
    whole = in_order(range(6))
    other = replace(whole, train=whole.whole(), test=whole.test, name="given")
    fit_recipe(recipe_of("gru4rec"), tmp_path / "run", split=other)
    told: list[str] = []
    recipe = recipe_of("gru4rec", start=str(tmp_path / "run"))
    with telling(write=told.append):
        build(recipe, whole)
    assert "training.start: 9 of 9 test events" in told[0]


def test_a_false_positive_is_no_test_event(tmp_path):
    """All of what the run learned is false, of three other items, one of which is tested."""
    fit_recipe(
        recipe_of("gru4rec"), tmp_path / "run",
        split=in_order(range(6), times=False).contaminated(1.0),
    )  # fmt: skip
    trained = raw_events(open_run(tmp_path / "run").trained_on)
    other = in_order(range(6), times=False)
    assert set(raw_events(other.test)) & set(trained)
    told: list[str] = []
    with telling(write=told.append):
        build(recipe_of("gru4rec", start=str(tmp_path / "run")), other)
    assert not [line for line in told if "test events" in line]


def test_a_run_of_another_shop_is_refused(tmp_path):
    fit_recipe(recipe_of("gru4rec"), tmp_path / "run", split=OLD)
    recipe = recipe_of("gru4rec", start=str(tmp_path / "run"))
    with refused(RunError):
        build(recipe, split_of(range(9), 8, prefix="x"))


def test_a_run_with_other_defaults_begins_another_log(tmp_path):
    """Its model has batch norm, which its recipe does not say and a new model would not have."""
    recipe = recipe_of("nfm")
    recipe = recipe.model_copy(update={"model": recipe.model.with_settings({"batch_norm": True})})
    path = fit_recipe(recipe, tmp_path / "run", split=OLD).folder / "run.json"
    facts = {name: value for name, value in read_facts(path).items() if name != OWN}
    del facts["recipe"]["model"]["batch_norm"]
    write_facts(path, facts)
    training = recipe.training.model_copy(update={"start": str(path.parent)})
    encoder, _, _ = build(recipe.model_copy(update={"training": training}), NEW)
    trained = open_run(path.parent).encoder().state_dict()
    norms = [name for name in trained if name.endswith("running_mean")]
    assert norms
    assert all(torch.equal(encoder.state_dict()[name], trained[name]) for name in norms)
