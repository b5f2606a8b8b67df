"""Counted models as runs: chosen on validation, kept, opened, served; refused what they lack."""

import json
import math

import numpy as np
import polars as pl
import pytest

from messages import refused
from softrec.data import splits
from softrec.data.interactions import Interactions, Sequences
from softrec.errors import DataError, RecipeError, RunError
from softrec.experiments.counting import counted, grid
from softrec.experiments.evaluator import Evaluator, means
from softrec.experiments.runs import open_run
from softrec.experiments.train import fit_recipe
from softrec.recipe.options import recipe_of
from softrec.recipe.recipe import read_recipe
from softrec.recipe.specs.models import MODELS, is_counted

COUNTED = [name for name in MODELS if is_counted(name)]
N = 14


def log_of(seed=0, users=40):
    draw = np.random.default_rng(seed)
    lists = [
        (draw.integers(0, N) + np.cumsum(draw.integers(0, 3, draw.integers(4, 9)))) % N
        for _ in range(users)
    ]
    sequences = Sequences.of(lists)
    from_end = np.repeat(sequences.offsets[1:], sequences.lengths) - np.arange(len(sequences.items))
    return Interactions.from_sequences(sequences, times=100 - from_end)


SPLIT = splits.leave_last_out(log_of())


def recipe(name, **changes):
    base = {"data": {"source": "log.csv"}, "model": {"name": name},
            "evaluation": {"metrics": ["ndcg@10", "recall@5"], "mask_seen": False}}  # fmt: skip
    return read_recipe(base | changes)


@pytest.fixture(scope="module", params=COUNTED)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / request.param
    return fit_recipe(recipe(request.param), folder, split=SPLIT)


def test_a_run_is_complete_and_comes_back(run):
    again = open_run(run.folder)
    for part in ("valid", "test"):
        table = Evaluator(run.recipe, SPLIT, part).per_user(again.model())
        assert means(table) == run.facts[part]
    assert pl.read_parquet(run.folder / "per_user.parquet").equals(run.per_user)
    assert again.evaluate("test", ["recall@5"])["recall@5"] == run.test["recall@5"]
    user = SPLIT.train.users.ids(np.array([3]))[0]
    assert len(again.recommender().recommend([user], k=4)) == 4
    listed = again.recommender().recommend(histories=[list(SPLIT.train.items.raw[:2])], k=4)
    assert len(listed) == 4


@pytest.mark.slow
def test_the_best_of_the_grid_on_validation_is_kept(run):
    rows = run.facts["curve"]
    tried = grid(run.recipe.model)
    assert len(rows) == len(tried) == run.facts["epochs"]
    values = [row["valid/ndcg@10"] for row in rows]
    best = values.index(max(values))
    assert run.facts["best_epoch"] == best + 1
    assert run.facts["settings"] == tried[best]
    assert run.valid["ndcg@10"] == max(values)
    assert len(pl.read_csv(run.folder / "curve.csv")) == len(rows)
    for row, chosen in zip(rows, tried, strict=True):  # each as if it were fitted alone
        alone = recipe(run.recipe.model.name, model=run.recipe.model.with_settings(chosen))
        scorer, _ = counted(alone, SPLIT, Evaluator(alone, SPLIT, "valid"))
        assert Evaluator(alone, SPLIT, "valid").means(scorer)["ndcg@10"] == row["valid/ndcg@10"]


def test_seeds_change_nothing(run, tmp_path):
    other = fit_recipe(run.recipe.model_copy(update={"seed": 5}), tmp_path / "run", split=SPLIT)
    assert other.test == run.test
    assert other.weights_fingerprint == run.weights_fingerprint


def test_held_out_events_change_nothing_in_what_is_fitted(run):
    """Only the training part is counted: other validation and test items leave the same state."""
    frames = {}
    for part in ("valid", "test"):
        log = getattr(SPLIT, part)
        item = (log.frame["item"].cast(pl.Int64) + 5) % N
        frames[part] = Interactions(
            log.frame.with_columns(item=item.cast(pl.UInt32)), log.users, log.items
        )
    moved = splits.Split(SPLIT.train, frames["valid"], frames["test"], SPLIT.name)
    kept = run.recipe.model.with_settings({**run.facts["settings"], "tune": False})
    alone = recipe(run.recipe.model.name, model=kept)
    scorer, _ = counted(alone, moved, Evaluator(alone, moved, "valid"))
    state = open_run(run.folder).model().state_dict()
    assert all(part.equal(state[name]) for name, part in scorer.state_dict().items())


@pytest.mark.slow
def test_an_interrupted_run_is_counted_again(run, tmp_path, monkeypatch):
    place = tmp_path / "run"

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("softrec.experiments.fitted.counted", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_recipe(run.recipe, place, split=SPLIT)
    monkeypatch.undo()
    assert fit_recipe(run.recipe, place, split=SPLIT).test == run.test


def test_a_changed_file_is_told(run, tmp_path):
    import shutil

    shutil.copytree(run.folder, tmp_path / "run")
    path = tmp_path / "run" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with refused(RunError):
        open_run(tmp_path / "run")


def test_a_counted_run_has_no_vectors(run):
    with refused(RunError):
        run.encoder()
    user = SPLIT.train.users.ids(np.array([3]))[0]
    with refused(DataError):
        run.recommender().recommend([user], why=True)


def test_a_run_reads_well(run):
    told = repr(run)
    assert run.recipe.model.name in told
    assert "epoch" not in told
    json.dumps(run.facts)


@pytest.mark.parametrize(
    "changes",
    [
        {"target": {"name": "uniform"}},
        {"loss": {"name": "bpr"}},
        {"candidates": {"name": "sampled", "number": 5}},
        {"training": {"lr": 0.1}},
        {"training": {"optimizer": "sparse-adam"}},
        {"training": {"start": "runs/first"}},
        {"evaluation": {"score": "cosine"}},
    ],
)
@pytest.mark.parametrize("name", COUNTED)
def test_what_belongs_to_training_is_refused(name, changes):
    with refused(RecipeError):
        recipe(name, **changes)


def test_another_model_than_the_recipes_leaves_its_training_behind():
    base = {"data": {"source": "log.csv"}, "model": {"name": "gru4rec", "dim": 8},
            "target": {"name": "uniform", "alpha": 0.2}, "loss": {"name": "decoupled"},
            "training": {"lr": 0.1, "windows": "last", "length": 7}, "seed": 3}  # fmt: skip
    made = recipe_of(base, {"model": "popularity"})
    assert (made.training.length, made.seed, made.model.settings) == (7, 3, {})
    with refused(RecipeError):
        recipe_of(base, {"model": "popularity", "lr": 0.3})


def test_given_settings_are_not_searched():
    assert grid(recipe("recent-popularity", model={"name": "recent-popularity"}).model)[1:]
    for given in ({"half_life": 0.2}, {"tune": False}):
        made = recipe("recent-popularity", model={"name": "recent-popularity", **given})
        assert grid(made.model) == [{}]
    assert made.model.settings == {}


def test_tune_belongs_to_counted_models_alone():
    with refused(RecipeError):
        recipe("gru4rec", model={"name": "gru4rec", "tune": False})


def test_times_are_needed_before_anything_is_written(tmp_path):
    sequences = SPLIT.train.sequences
    bare = Interactions.from_sequences(Sequences(sequences.offsets, sequences.items))
    split = splits.leave_last_out(bare)
    with refused(DataError):
        fit_recipe(recipe("recent-popularity"), tmp_path / "run", split=split)
    assert not list(tmp_path.iterdir())


def test_curves_hold_no_number_that_is_none(run):
    for row in run.facts["curve"]:
        assert all(math.isfinite(v) for v in row.values() if isinstance(v, float))


def test_a_grid_is_judged_on_some_cases_and_the_best_on_all(monkeypatch):
    """The same cases for every setting, and what is told of validation is of all of them."""
    made = recipe("recent-popularity")
    valid = Evaluator(made, SPLIT, "valid")
    scorer, found = counted(made, SPLIT, valid, tried_on=10)
    few = valid.some(10)
    assert len(few.cases) == 10 < len(valid.cases)
    assert found.best == valid.means(scorer)
    assert found.curve[found.best_epoch - 1]["valid/ndcg@10"] == few.means(scorer)["ndcg@10"]
    assert valid.some(10).cases.user.tolist() == few.cases.user.tolist()
    assert valid.some(10**6) is valid


def test_some_cases_keep_their_own_negatives():
    made = recipe("popularity", evaluation={"metrics": ["ndcg@10"], "negatives": 3})
    whole = Evaluator(made, SPLIT, "valid")
    few = whole.some(7)
    places = np.searchsorted(whole.cases.user, few.cases.user)
    assert (few.negatives == whole.negatives[places]).all()
    for row, place in enumerate(places):
        assert few.cases.history[row].tolist() == whole.cases.history[place].tolist()
        assert few.cases.relevant[row].tolist() == whole.cases.relevant[place].tolist()
