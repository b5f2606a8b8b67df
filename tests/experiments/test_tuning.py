"""Studies on tiny logs: what is tried, that test is looked at once, that a kill costs nothing."""

import json
import math
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import softrec
from messages import refused
from softrec.errors import RunError
from softrec.experiments import evaluator
from softrec.experiments.tuning.result import open_tuning

SHOP = {
    "data.shop": {"n_items": 40, "n_users": 60}, "epochs": 2, "length": 8, "model": "gru4rec",
    "metrics": ["ndcg@10"], "accelerator": "cpu", "progress": False,
}  # fmt: skip
SPACE = {"model.dim": "4,8", "training.lr": "1e-3..1e-1:log"}
ASKED = {**SHOP, "space": SPACE, "trials": 4, "seeds": 2}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return softrec.tune("shop", out=tmp_path_factory.mktemp("tuned") / "study", **ASKED)


def same(trials):
    """Trials without their times."""
    return [{**vars(trial), "seconds": 0.0} for trial in trials]


def test_the_trials_are_the_recipe_what_the_data_say_and_what_is_proposed(found):
    assert [trial.number for trial in found.trials] == [1, 2, 3, 4]
    assert [trial.origin for trial in found.trials] == [
        "as given", "from the data", "from the data", "searched",
    ]  # fmt: skip
    first = found.trials[0].settings
    assert first["training.lr"] == 1e-3
    assert first["target.name"] == "one-hot"
    for trial in found.trials:
        assert trial.state == "complete"
        assert len(trial.curve) == trial.epochs == 2
        assert trial.value == max(trial.curve) == trial.curve[trial.best_epoch - 1]
        assert trial.settings["model.dim"] in (4, 8)
        assert 1e-3 <= trial.settings["training.lr"] <= 1e-1


def test_the_winner_is_the_best_on_validation_and_is_trained_with_each_seed(found):
    assert found.best.value == max(trial.value for trial in found.trials)
    assert [run.recipe.seed for run in found.runs] == [0, 1]
    for run in found.runs:
        assert run.recipe.model_copy(update={"seed": 0}) == found.recipe
        for place, value in found.best.settings.items():
            section, _, field = place.partition(".")
            own = getattr(run.recipe, section)
            assert (own.settings[field] if section == "model" else getattr(own, field)) == value
    assert found.runs[0].valid["ndcg@10"] == found.best.value  # the same seed, the same training
    assert found.test["ndcg@10"] == np.mean([run.test["ndcg@10"] for run in found.runs])
    assert found.valid["ndcg@10"] == np.mean([run.valid["ndcg@10"] for run in found.runs])


def test_the_folder(found, tmp_path):
    again = open_tuning(found.folder)
    assert again == found
    assert "trial" in repr(found)
    assert not list(found.folder.glob("trials"))
    page = (found.folder / "history.html").read_text()
    assert all(f"{trial.value:.4f}" in page for trial in found.trials)
    assert page.count("<svg") >= 2
    assert "://" not in page.replace("http://www.w3.org", "")
    told = (found.folder / "best.yaml").read_text()
    assert told.startswith("# The best of 4 trials by ndcg@10 on validation")
    run = softrec.fit(found.folder / "best.yaml", out=tmp_path / "again", progress=False)
    assert run.recipe == found.recipe
    assert run.test == found.runs[0].test
    with refused(RunError):
        softrec.tune("shop", out=found.folder, **ASKED)
    with refused(RunError):
        open_tuning(tmp_path)


def test_it_is_the_same_every_time(found, tmp_path):
    again = softrec.tune("shop", out=tmp_path / "again", **{**ASKED, "seeds": 1})
    assert same(again.trials) == same(found.trials)
    other = softrec.tune("shop", out=tmp_path / "other", seed=5, **{**ASKED, "seeds": 1})
    assert other.trials[3].settings != found.trials[3].settings
    assert other.runs[0].recipe.seed == 5


def test_equal_settings_are_trained_once(tmp_path):
    fixed = {"target": "one-hot", "model.dim": 4, "model.dropout": 0, "weight_decay": 0}
    asked = {**SHOP, "space": {**fixed, "lr": "0.01,0.02"}, "trials": 5, "seeds": 1}
    found = softrec.tune("shop", out=tmp_path / "s", **asked)
    trained = [trial for trial in found.trials if trial.same_as is None]
    assert 1 < len(trained) <= 2
    for trial in found.trials:
        if trial.same_as is not None:
            twin = found.trials[trial.same_as - 1]
            assert (trial.settings, trial.curve, trial.value) == (
                twin.settings, twin.curve, twin.value
            )  # fmt: skip
            assert trial.epochs == 0


# --- test is looked at once ---


@pytest.fixture
def files(tmp_path):
    """Three parts of a log, and another test part: the same users, other items."""
    rng = np.random.default_rng(0)
    items = rng.permuted(np.tile(np.arange(20), (40, 1)), axis=1)[:, :9]
    parts = {"train": items[:, :6], "valid": items[:, 6:7], "test": items[:, 7:8],
             "other": items[:, 8:9]}  # fmt: skip
    for name, part in parts.items():
        users = np.repeat(np.arange(40), part.shape[1])
        table = pl.DataFrame({"user": users, "item": part.ravel()})
        table.write_csv(tmp_path / f"{name}.csv")
    return {name: str(tmp_path / f"{name}.csv") for name in parts}


def test_no_trial_looks_at_test(files, tmp_path, monkeypatch):
    """Another test part changes no trial, and what is ranked is validation until all are over."""
    asked = {**SHOP, "space": SPACE, "trials": 4, "seeds": 1, "valid": files["valid"]}
    asked.pop("data.shop")
    ranked, score = [], evaluator.score_cases

    def seen(model, cases, *args, **options):
        ranked.append(cases.relevant.items.tolist())
        return score(model, cases, *args, **options)

    monkeypatch.setattr(evaluator, "score_cases", seen)
    found = {}
    for name in ("test", "other"):
        ranked.clear()
        out = tmp_path / f"tuned-{name}"
        found[name] = softrec.tune(files["train"], out=out, test=files[name], **asked)
        parts = [ranked.index(one) for one in ranked]
        # Four trials and one run of the winner, with 2 epochs each; test is ranked at the end.
        assert parts == [0] * 10 + [10]
    assert same(found["test"].trials) == same(found["other"].trials)
    assert found["test"].best.settings == found["other"].best.settings
    assert found["test"].test != found["other"].test


# --- pruning ---


@pytest.fixture(scope="module")
def circle():
    """Users who walk along a circle of items: what comes next is certain."""
    steps = (np.arange(40)[:, None] + np.arange(12)) % 20
    return pl.DataFrame({"user": np.repeat(np.arange(40), 12), "item": steps.ravel()})


def test_bad_learning_rates_are_pruned(circle, tmp_path):
    fixed = {"target": "one-hot", "model.dim": 16, "model.dropout": 0, "weight_decay": 0}
    asked = {"space": {**fixed, "lr": "1e-9..1e-1:log"}, "model": "gru4rec", "lr": 0.05,
             "epochs": 4, "length": 6, "batch_size": 16, "trials": 9, "seeds": 1,
             "metrics": "ndcg@10", "mask_seen": False, "accelerator": "cpu",
             "progress": False}  # fmt: skip
    found = softrec.tune(circle, out=tmp_path / "pruned", **asked)
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned
    assert found.best.state == "complete"
    assert found.best.settings["training.lr"] > 1e-3
    for trial in pruned:
        assert 2 <= trial.epochs < 4  # not in the first epoch, and not after the last
        assert trial.settings["training.lr"] < 1e-3
        assert trial.value < found.best.value
    rest = [trial for trial in found.trials if trial.state == "complete"]
    assert len(rest) >= 3  # the pruner needs some to compare with
    none = softrec.tune(circle, out=tmp_path / "whole", **asked, **{"tune.pruner": "none"})
    assert {trial.state for trial in none.trials} == {"complete"}


def test_settings_that_cannot_be_trained_cost_a_trial_and_no_study(tmp_path):
    fixed = {"target": "one-hot", "model.dropout": 0, "weight_decay": 0, "lr": 0.01}
    asked = {**SHOP, "model": "sasrec", "space": {**fixed, "model.dim": "8,7"}, "trials": 6}
    found = softrec.tune("shop", out=tmp_path / "s", **asked, seeds=1)
    states = {trial.settings["model.dim"]: trial for trial in found.trials}
    assert (states[8].state, states[7].state) == ("complete", "failed")
    assert "multiple of heads" in states[7].reason
    assert math.isnan(states[7].value)
    assert found.best.settings["model.dim"] == 8
    asked |= {"space": {**fixed, "model.dim": 7}, "trials": 2}
    with refused(RunError):
        softrec.tune("shop", out=tmp_path / "none", **asked, seeds=1)


# --- it goes on ---

KILLED = """
import json, os, signal, sys
import softrec
from softrec.training.module import SoftTargetModule
step, taken = SoftTargetModule.training_step, []
def counted(self, batch, batch_idx):
    taken.append(batch_idx)
    if len(taken) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx)
SoftTargetModule.training_step = counted
softrec.tune("shop", out=sys.argv[1], **json.loads(sys.argv[3]))
print(len(taken))
"""
STEPWISE = {**ASKED, "batch_size": 16, "checkpoint_steps": 1}


def run(out, last, asked=STEPWISE):
    arguments = [sys.executable, "-c", KILLED, str(out), str(last), json.dumps(asked)]
    return subprocess.run(arguments, capture_output=True, text=True)


@pytest.mark.slow
def test_a_study_goes_on_after_a_kill(tmp_path):
    """Killed in the middle of the second trial, and once more in the training of the winner."""
    whole = softrec.tune("shop", out=tmp_path / "whole", **STEPWISE)
    out = tmp_path / "killed"
    steps = 4 * 2  # of a training: 60 users, 16 a batch
    assert run(out, steps + 6).returncode == -signal.SIGKILL
    with sqlite3.connect(tmp_path / "killed.part" / "study.db") as base:
        states = [state for (state,) in base.execute("select state from trials order by number")]
    assert states == ["COMPLETE", "RUNNING"]
    again = run(out, 10**6)
    assert again.returncode == 0, again.stderr
    found = open_tuning(out)
    assert same(found.trials) == same(whole.trials)
    assert found.test == whole.test
    # No step of the first trial, and of the second only those after its last checkpoint.
    assert int(again.stdout) <= 3 * steps - 5 + 2 * steps
    with sqlite3.connect(out / "study.db") as base:
        states = [state for (state,) in base.execute("select state from trials order by number")]
    assert states == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]


@pytest.mark.slow
def test_a_study_of_something_else_is_not_gone_on_with(tmp_path):
    out = tmp_path / "study"
    assert run(out, 10).returncode == -signal.SIGKILL
    for changed in (
        {"space": {**SPACE, "model.dim": "4,16"}}, {"seed": 3}, {"tune.pruner": "none"},
        {"data.shop": {"n_items": 40, "n_users": 61}},
    ):  # fmt: skip
        with refused(RunError):
            softrec.tune("shop", out=out, **{**STEPWISE, **changed})
    items = np.random.default_rng(0).permuted(np.tile(np.arange(9), (30, 1)), axis=1)[:, :6]
    table = pl.DataFrame({"user": np.repeat(np.arange(30), 6), "item": items.ravel()})
    log = tmp_path / "log.csv"
    table.write_csv(log)
    asked = {**STEPWISE, "trials": 2, "seeds": 1}
    asked.pop("data.shop")
    begun = tmp_path / "begun"
    code = KILLED.replace('"shop"', repr(str(log)))
    arguments = [sys.executable, "-c", code, str(begun), "5", json.dumps(asked)]
    assert subprocess.run(arguments, capture_output=True).returncode == -signal.SIGKILL
    table.head(170).write_csv(log)
    with refused(RunError):
        softrec.tune(log, out=begun, **asked)
