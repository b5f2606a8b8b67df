"""Settings that are tried on validation before a training, which has the best of them."""

import json
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from test_refit import clicks

import softrec
from kills import killed
from messages import refused
from softrec.data.interactions import Interactions
from softrec.data.splits import leave_last_out
from softrec.errors import DivergedError, RecipeError
from softrec.evaluation.asked import Asked
from softrec.experiments import train, trials
from softrec.experiments.tuning.searched import space_of
from softrec.recipe.options import recipe_of
from softrec.recipe.recipe import read_recipe
from softrec.recipe.specs.trials import TrialSettings, with_settings, without_tried

LOG = clicks()
RATES = [{"training.lr": 1e-6}, {"training.lr": 0.03}, {"training.lr": 1e-5}]
BASE = {
    "model": "gru4rec", "model.dim": 8, "model.dropout": 0.2, "epochs": 4, "patience": 2,
    "batch_size": 16, "length": 6, "metrics": ("ndcg@10",),
}  # fmt: skip
SPLIT = leave_last_out(Interactions.read(LOG))
RECIPE = recipe_of(
    {"data": {"source": "memory:clicks"}, "model": {"name": "gru4rec"}, "training": {"length": 6}},
    {"trials.settings": RATES, "trials.epochs": 2, "metrics": ["ndcg@10"]},
)
FIELDS = {
    "data": {"source": "shop"},
    "model": {"name": "mf", "dim": 8},
    "loss": {"name": "sl", "score_temperature": 0.2},
    "prior": {"strengths": [0.0, 1.0], "strength": 0.5},
    "training": {"windows": "interactions", "epochs": 9, "refit": "valid", "devices": 2},
    "trials": {"epochs": 3, "settings": [{"loss.score_temperature": 0.1},
                                         {"loss.score_temperature": 0.4}]},
    "seed": 7,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))


def fit(out, **options):
    options = {"trials.settings": RATES, "trials.epochs": 2} | options
    return softrec.fit(LOG, out=out, **BASE, **options)


def test_the_training_has_the_best_of_what_was_tried(tmp_path):
    run = fit(tmp_path / "run")
    rows = run.facts["trials"]
    assert [row["settings"] for row in rows] == RATES
    assert max(rows, key=lambda row: row["ndcg@10"])["settings"] == RATES[1]
    assert run.recipe.training.lr == 0.03
    assert run.recipe.trials is None  # nothing is left to try
    direct = softrec.fit(LOG, out=tmp_path / "direct", **BASE, lr=0.03)
    states = [load_file(one.folder / "model.safetensors") for one in (run, direct)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    assert run.test == direct.test


def test_its_metric_is_that_of_the_short_training_and_its_seconds_count(tmp_path):
    run = fit(tmp_path / "run")
    alone = softrec.fit(LOG, out=tmp_path / "alone", **BASE | {"epochs": 2}, lr=0.03)
    row = run.facts["trials"][1]
    assert row["ndcg@10"] == alone.facts["valid"]["ndcg@10"]
    own = run.facts["seconds_per_epoch"] * run.facts["epochs"]
    assert run.facts["seconds"] >= sum(row["seconds"] for row in run.facts["trials"]) + 0.5 * own


def test_trials_and_the_training_share_the_minutes(tmp_path):
    run = fit(tmp_path / "run", minutes=9.0)
    assert run.recipe.training.minutes == 9.0  # what was asked for, and what an update has
    rows = [{"seconds": 60.0}, {"seconds": 150.0}]
    assert trials.in_time(run.recipe, rows).training.minutes == 5.5
    assert 0 < trials.in_time(run.recipe, rows * 9).training.minutes < 1e-3
    assert trials.in_time(run.recipe, []) == run.recipe
    for folder in (tmp_path / "cache" / "runs").iterdir():
        facts = json.loads((folder / "run.json").read_text())
        assert facts["recipe"]["training"]["minutes"] == 1.0  # a third of all, for three


def test_too_few_minutes_leave_an_epoch_of_each(tmp_path):
    run = fit(tmp_path / "run", minutes=1e-6, refit="valid")
    assert run.facts["epochs"] == run.facts["best_epoch"] == 1
    assert run.refit == "valid"


def test_a_trial_is_not_tested_and_leaves_its_facts_alone(tmp_path):
    """Else each one is ranked once more for all users, and leaves a copy of the log."""
    run = fit(tmp_path / "run", **{"evaluation.calibration": True})
    assert run.test
    assert "calibration" in run.facts
    left = sorted((tmp_path / "cache" / "runs").iterdir())
    assert len(left) == len(RATES)
    for folder in left:
        names = {path.name for path in folder.iterdir()}
        assert not [name for name in names if name.endswith((".parquet", ".safetensors", ".ckpt"))]
        facts = json.loads((folder / "run.json").read_text())
        assert facts["test"] == {}
        assert "calibration" not in facts


def test_a_trial_is_no_stage(tmp_path):
    """It has no weights, which a teacher of the same recipe needs."""
    run = fit(tmp_path / "run")
    tried = json.loads(next((tmp_path / "cache" / "runs").glob("*/run.json")).read_text())
    recipe = read_recipe(tried["recipe"])
    teacher = {**tried["recipe"], "data": None}
    kd = {"target.name": "kd", "target.teacher": {n: v for n, v in teacher.items() if v}}
    student = softrec.fit(LOG, out=tmp_path / "student", **BASE, **kd)
    (stage,) = student.facts["stages"].values()
    assert softrec.open_run(stage).recipe.training == recipe.training
    assert softrec.open_run(stage).test != run.test


def diverging(recipe, folder, rates=(0.03,)):
    """Train a trial, which diverges with some learning rates."""
    if recipe.training.lr in rates:
        raise DivergedError("the loss became nan")
    return train.fit_trial(recipe, folder, split=SPLIT, asked=Asked.of(SPLIT, None))


def test_a_trial_that_diverges_is_not_chosen(capsys):
    """Else one setting that is too bold ends the fit, with the others untried."""
    chosen, rows = trials.tried(RECIPE, SPLIT, diverging)
    assert [row["ndcg@10"] is None for row in rows] == [False, True, False]
    assert all(row["seconds"] > 0 for row in rows)
    best = max(rows, key=lambda row: row["ndcg@10"] or 0)["settings"]
    assert chosen.training.lr == best["training.lr"] != 0.03


def test_trials_that_all_diverge_are_refused():
    with refused(DivergedError):
        trials.tried(RECIPE, SPLIT, partial(diverging, rates=(1e-6, 0.03, 1e-5)))


def test_seeds_share_the_trials(tmp_path, capsys):
    first = fit(tmp_path / "first")
    capsys.readouterr()
    second = fit(tmp_path / "second", seed=5)
    told = capsys.readouterr().err
    assert told.count("found in") == len(RATES)
    assert second.facts["trials"] == first.facts["trials"]
    assert second.test != first.test


def test_finished_trials_are_kept_when_it_is_killed(tmp_path, capsys):
    with killed(trials, "cached", 3):
        fit(tmp_path / "run")
    capsys.readouterr()
    run = fit(tmp_path / "run")
    told = capsys.readouterr().err
    assert told.count("found in") == 2
    assert told.count(": training in") == 1
    assert run.recipe.training.lr == 0.03


def test_a_training_that_was_killed_goes_on_with_what_was_chosen(tmp_path):
    options = {"checkpoint_steps": 1}
    whole = fit(tmp_path / "whole", **options)
    with killed(train, "_calibration", 1):  # when it is trained
        fit(tmp_path / "run", seed=3, **options)
    again = fit(tmp_path / "run", seed=3, **options)
    assert again.recipe.training.lr == 0.03
    assert again.facts["trials"] == whole.facts["trials"]
    assert again.test == fit(tmp_path / "other", seed=3, **options).test


def test_a_trial_is_short_alone_and_without_a_refit():
    recipe = read_recipe(FIELDS)
    trial = trials.trial_of(recipe, recipe.trials.settings[1])
    assert trial.loss.score_temperature == 0.4
    assert (trial.training.epochs, trial.training.devices, trial.training.refit) == (3, 1, "none")
    assert (trial.prior.strength, trial.prior.strengths) == (0.5, ())
    assert (trial.seed, trial.trials) == (0, None)
    assert trial.data == recipe.data
    short = read_recipe(FIELDS | {"training": FIELDS["training"] | {"epochs": 2}})
    assert trials.trial_of(short, short.trials.settings[0]).training.epochs == 2


def test_a_search_takes_their_place():
    recipe = read_recipe(FIELDS | {"prior": None})
    assert space_of(recipe, {"training.lr": [0.1, 0.2]}).base.trials is None


PLACES = ["loss.score_temperature", "loss.name", "loss.l2", "training.lr", "model.dim"]


@given(st.sampled_from(PLACES), st.sampled_from(PLACES))
def test_a_value_of_ones_own_is_not_tried_against_others(tried, own):
    fields = {"seed": 1, "trials": {"settings": [{tried: 1}, {tried: 2}]}}
    left = without_tried(fields, {own: 3})
    replaced = own == tried or (own == "loss.name" and tried.startswith("loss."))
    assert ("trials" in left) == (not replaced)
    assert left["seed"] == 1


def test_an_option_takes_the_place_of_trials():
    kept = recipe_of(FIELDS, {"loss.l2": 0.1})
    assert kept.trials is not None
    assert recipe_of(FIELDS, {"score_temperature": 0.3}).trials is None
    assert recipe_of(FIELDS, {"loss": "bsl"}).trials is None
    assert with_settings(kept, kept.trials.settings[0]).loss.l2 == 0.1


@pytest.mark.parametrize(
    "tried",
    [
        [{"loss.score_temperature": 0.1}],
        [{}, {}],
        [{"loss.score_temperature": 0.1}, {"training.lr": 0.1}],
        [{"data.split": "time"}, {"data.split": "leave-last-out"}],
        [{"training.epochs": 1}, {"training.epochs": 2}],
        [{"loss": "sl"}, {"loss": "bsl"}],
        [{"loss.score_temperature": 0.1}, {"loss.score_temperature": -1}],
        [{"model.width": 1}, {"model.width": 2}],
    ],
    ids=["one", "none", "different", "data", "epochs", "section", "range", "unknown"],
)
def test_what_cannot_be_tried_is_refused(tried):
    with refused(RecipeError):
        read_recipe(FIELDS | {"trials": {"settings": tried}})


def test_a_counted_model_has_no_trials():
    with refused(RecipeError):
        read_recipe({
            "data": {"source": "shop"}, "model": {"name": "item-knn"},
            "trials": {"settings": [{"model.recency": 0.5}, {"model.recency": 0.9}]},
        })  # fmt: skip


def test_each_row_of_a_comparison_has_its_own(tmp_path):
    found = softrec.compare(
        LOG, out=tmp_path / "c", targets="one-hot,uniform(alpha=0.3)", seeds=2, baselines=False,
        **BASE, **{"trials.settings": RATES, "trials.epochs": 1},
    )  # fmt: skip
    files = (tmp_path / "c" / "runs").glob("**/run.json")
    tried = [json.loads(file.read_text())["trials"] for file in files]
    assert [len(rows) for rows in tried] == [3] * 4
    assert len({str(rows) for rows in tried}) == 2  # those of two targets, shared by two seeds
    (note,) = (note for note in found.results.notes if "tried" in note)
    assert note.startswith("Each row tried 3 settings for 1 epochs each")


def test_the_default_number_of_epochs():
    assert TrialSettings(settings=RATES).epochs == 5
