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
from softrec.errors import RecipeError, RunError, SoftrecError
from softrec.experiments import evaluator
from softrec.experiments.tuning.result import open_tuning
from softrec.experiments.tuning.searched import space_of
from softrec.experiments.tuning.study import opened
from softrec.experiments.tuning.trials import PrunedError, Trial, Watch
from softrec.recipe.options import recipe_of
from softrec.training.module import SoftTargetModule

pytestmark = pytest.mark.slow

SHOP = {
    "data.shop": {"n_items": 40, "n_users": 60}, "epochs": 2, "length": 8, "batch_size": 16,
    "model": "gru4rec", "metrics": ["ndcg@10"], "accelerator": "cpu", "progress": False,
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
    with refused(RecipeError):
        softrec.tune("shop", out=tmp_path / "none", **{**ASKED, "seeds": 0})


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


@pytest.mark.slow
def test_no_trial_looks_at_test(files, tmp_path, monkeypatch):
    """Another test part changes no trial, and what is ranked is validation until all are over."""
    asked = {**SHOP, "space": SPACE, "trials": 3, "seeds": 1, "valid": files["valid"]}
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
        # Three trials and one run of the winner, with 2 epochs each; test is ranked at the end.
        assert parts == [0] * 8 + [8]
    assert same(found["test"].trials) == same(found["other"].trials)
    assert found["test"].best.settings == found["other"].best.settings
    assert found["test"].test != found["other"].test


# --- what is not trained to its end ---


@pytest.fixture(scope="module")
def circle():
    """Users who walk along a circle of items: what comes next is certain."""
    steps = (np.arange(40)[:, None] + np.arange(12)) % 20
    return pl.DataFrame({"user": np.repeat(np.arange(40), 12), "item": steps.ravel()})


@pytest.mark.slow
def test_bad_learning_rates_are_pruned(circle, tmp_path):
    fixed = {"target": "one-hot", "model.dim": 16, "model.dropout": 0, "weight_decay": 0}
    asked = {"space": {**fixed, "lr": "1e-9..1e-1:log"}, "model": "gru4rec", "lr": 0.05,
             "epochs": 4, "length": 6, "batch_size": 16, "trials": 8, "seeds": 1,
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


@pytest.mark.slow
def test_equal_settings_are_trained_once_and_bad_ones_cost_a_trial(tmp_path):
    fixed = {"target": "one-hot", "model.dropout": 0, "model.embedding_dropout": 0,
             "weight_decay": 0, "lr": 0.01}  # fmt: skip
    asked = {**SHOP, "model": "sasrec", "space": {**fixed, "model.dim": "8,7"}, "trials": 6}
    found = softrec.tune("shop", out=tmp_path / "s", **asked, seeds=1)
    first = {}
    for trial in found.trials:
        twin = first.setdefault(trial.settings["model.dim"], trial)
        if twin is not trial:
            assert (trial.same_as, trial.epochs) == (twin.number, 0)
            assert (trial.settings, trial.curve, trial.state, trial.reason) == (
                twin.settings, twin.curve, twin.state, twin.reason
            )  # fmt: skip
    assert (first[8].state, first[8].epochs) == ("complete", 2)
    assert first[7].state == "failed"
    assert "multiple of heads" in first[7].reason
    assert math.isnan(first[7].value)
    assert found.best.number == first[8].number
    asked |= {"space": {**fixed, "model.dim": 7}, "trials": 2}
    with refused(RunError):
        softrec.tune("shop", out=tmp_path / "none", **asked, seeds=1)


# --- the study ---

RECIPE = recipe_of({"data": {"source": "shop"}}, {"model": "gru4rec"})


def proposed(folder, number, *, seed=0, pruner="median", data=None):
    """Return what is proposed in so many trials, each as good as its learning rate is low."""
    space = space_of(RECIPE, named=())
    asked = {"space": space.facts(), "seed": seed}
    folder.mkdir(exist_ok=True)
    options = {"asked": asked, "data": data or {"users": 3}, "pruner": pruner, "seed": seed}
    with opened(folder, **options) as study:
        while len(study.trials) < number:
            proposal = study.begin(space, None)
            value = 1 - proposal.settings["training.lr"]
            ended = [proposal.report(value, epoch) for epoch in (1, 2)]
            outcome = ("pruned" if ended[-1] else "complete", value, 1, (value, value))
            place = len(study.trials) + 1
            proposal.finish(Trial(place, proposal.settings, "searched", *outcome))
        return study.trials


@pytest.mark.slow
def test_proposals_depend_on_the_seed_and_the_finished_trials_alone(tmp_path):
    whole = proposed(tmp_path / "whole", 8)
    first = proposed(tmp_path / "parts", 4)
    assert proposed(tmp_path / "parts", 8) == whole
    assert whole[:4] == first
    other = proposed(tmp_path / "other", 2, seed=1)
    assert other[1].settings != whole[1].settings
    assert {trial.state for trial in whole} == {"complete", "pruned"}
    none = proposed(tmp_path / "none", 6, pruner="none")
    assert {trial.state for trial in none} == {"complete"}


@pytest.mark.slow
def test_a_study_of_other_data_or_another_search_is_refused(tmp_path):
    proposed(tmp_path, 1)
    with refused(RunError):
        proposed(tmp_path, 2, data={"users": 4})
    with refused(RunError):
        proposed(tmp_path, 2, seed=1)
    assert len(proposed(tmp_path, 2)) == 2


@pytest.mark.slow
def test_a_damaged_study_is_refused_in_a_line(tmp_path):
    proposed(tmp_path, 2)
    whole = (tmp_path / "study.db").read_bytes()
    for damaged in (b"no study" * 1000, whole[: len(whole) // 2]):
        (tmp_path / "study.db").write_bytes(damaged)
        with pytest.raises(RunError) as caught:  # in the words of SQLite
            proposed(tmp_path, 2)
        assert "study.db cannot be read" in str(caught.value)
    (tmp_path / "study.db").unlink()
    assert len(proposed(tmp_path, 2)) == 2


@pytest.mark.slow
def test_what_was_interrupted_is_tried_again_whatever_else_would_be_proposed(tmp_path):
    space = space_of(RECIPE, named=())
    options = {"asked": {}, "data": {}, "pruner": "median"}
    with opened(tmp_path, **options, seed=0) as study:
        begun = study.begin(space, None).settings
    with opened(tmp_path, **options, seed=1) as study:
        assert study.trials == []
        assert study.begin(space, None).settings == begun
    (tmp_path / "fresh").mkdir()
    with opened(tmp_path / "fresh", **options, seed=1) as study:
        assert study.begin(space, None).settings != begun


def test_after_the_last_epoch_there_is_nothing_to_prune():
    row = {"valid/m": 0.1, "seconds/train": 1.0, "seconds/validate": 0.5}
    told = []

    def report(value, epoch):
        told.append((value, epoch))
        return True

    Watch("m", 1, report).epoch([row])
    watch = Watch("m", 2, report)
    with pytest.raises(PrunedError):
        watch.epoch([row])
    watch.epoch([row, row | {"valid/m": 0.2}])
    assert told == [(0.1, 1), (0.1, 1), (0.2, 2)]
    assert (watch.values, watch.seconds) == ((0.1, 0.2), 3.0)


@pytest.mark.slow
def test_a_study_that_was_ended_before_its_page_was_written_has_one(tmp_path, monkeypatch):
    def ended(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("softrec.experiments.tuning.tune.write_best", ended)
        with pytest.raises(KeyboardInterrupt):
            softrec.tune("shop", out=tmp_path / "s", **{**ASKED, "trials": 2})
    (tmp_path / "s.part" / "history.html").unlink()
    found = softrec.tune("shop", out=tmp_path / "s", **{**ASKED, "trials": 1, "seeds": 1})
    assert len(found.trials) == 1
    assert "1 of 1" in (found.folder / "history.html").read_text()


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
"""
STEPS = 4 * 2  # of a training: 60 users, 16 a batch


def states(folder):
    """The states of the trials in SQLite, as Optuna has them."""
    with sqlite3.connect(folder / "study.db") as base:
        return [state for (state,) in base.execute("select state from trials order by number")]


@pytest.mark.slow
def test_a_study_goes_on_after_a_kill(found, tmp_path, monkeypatch):
    """Killed in the middle of the second trial: one that was not interrupted has the same end."""
    asked, out = {**ASKED, "checkpoint_steps": 1}, tmp_path / "killed"
    code = [sys.executable, "-c", KILLED, str(out), str(STEPS + 6), json.dumps(asked)]
    assert subprocess.run(code).returncode == -signal.SIGKILL
    assert states(tmp_path / "killed.part") == ["COMPLETE", "RUNNING"]
    for changed in (
        {"space": {**SPACE, "model.dim": "4,16"}}, {"seed": 3}, {"tune.pruner": "none"},
        {"data.shop": {"n_items": 40, "n_users": 61}},
    ):  # fmt: skip
        with refused(RunError):
            softrec.tune("shop", out=out, **{**asked, **changed})
    step, taken = SoftTargetModule.training_step, []

    def counted(self, batch, batch_idx):
        taken.append(batch_idx)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SoftTargetModule, "training_step", counted)
    again = softrec.tune("shop", out=out, **asked)
    assert same(again.trials) == same(found.trials)
    assert again.test == found.test
    # None of the first trial, of the second what came after its last checkpoint, and two winners.
    assert len(taken) <= 3 * STEPS - 4 + 2 * STEPS
    assert states(out) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SoftrecError) as caught:
        softrec.tune("shop", out=tmp_path / "s", **ASKED)
    assert 'pip install "softrec[tune]"' in str(caught.value)
