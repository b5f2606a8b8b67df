"""Trackers: the curve of a training in other places, which change nothing of the run."""

import sys
from types import ModuleType

import numpy as np
import polars as pl
import pytest

import softrec
from messages import refused
from softrec.cli import main as cli
from softrec.errors import RecipeError, SoftrecError
from softrec.experiments.evaluator import Evaluator
from softrec.training import trackers
from softrec.training.trackers import called, tracking

TINY = {"model": {"name": "gru4rec", "dim": 4}, "epochs": 2, "length": 5, "accelerator": "cpu",
        "batch_size": 8, "checkpoint_steps": 1, "progress": False}  # fmt: skip


@pytest.fixture(scope="module")
def clicks():
    items = (np.random.default_rng(0).integers(10, size=(20, 1)) + np.arange(6)) % 10
    return pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": items.ravel()})


@pytest.fixture(scope="module")
def plain(clicks, tmp_path_factory):
    return softrec.fit(clicks, out=tmp_path_factory.mktemp("plain") / "run", **TINY)


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """A client of a store in files, which an MLflow of today must be told to allow."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/tracked")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return pytest.importorskip("mlflow").tracking.MlflowClient(f"file:{tmp_path}/tracked")


def tracked(client):
    """All runs of the experiment."""
    experiment = client.get_experiment_by_name("softrec")
    return client.search_runs([experiment.experiment_id])


def killed_after(monkeypatch, validations):
    """Raise in one of the validations, as a kill would end the process there."""
    means, calls = Evaluator.means, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == validations:
            raise KeyboardInterrupt
        return means(*arguments)

    monkeypatch.setattr(Evaluator, "means", stops)


def test_mlflow_gets_recipe_curve_and_test(mlflow, clicks, plain, tmp_path):
    with softrec.tracking(["csv", "mlflow"]):
        run = softrec.fit(clicks, out=tmp_path / "of" / "first", **TINY)
    (found,) = tracked(mlflow)
    assert found.info.status == "FINISHED"
    assert found.data.tags["mlflow.runName"] == "of/first"
    assert found.data.params["model/name"] == "gru4rec"
    assert found.data.params["training/epochs"] == "2"
    curve = mlflow.get_metric_history(found.info.run_id, "valid/ndcg_at_10")
    wanted = [row["valid/ndcg@10"] for row in run.facts["curve"]]
    assert [point.value for point in curve] == pytest.approx(wanted)
    assert found.data.metrics["test/recall_at_20"] == pytest.approx(run.test["recall@20"])
    assert not (run.folder / "tensorboard").exists()
    assert (run.folder / "logs").exists()


def test_a_tracker_is_no_part_of_the_run(mlflow, clicks, plain, tmp_path):
    with softrec.tracking("mlflow"):
        run = softrec.fit(clicks, out=tmp_path / "run", **TINY)
    assert run.recipe == plain.recipe
    assert run.weights_fingerprint == plain.weights_fingerprint
    assert softrec.open_run(run.folder).test == plain.test
    assert not (run.folder / "logs").exists()


@pytest.mark.parametrize("validation", [1, 2])
def test_a_resumed_training_goes_on_in_the_same_run(
    mlflow, clicks, plain, tmp_path, monkeypatch, validation
):
    with softrec.tracking("mlflow"):
        with monkeypatch.context() as patch:
            killed_after(patch, validation)
            with pytest.raises(KeyboardInterrupt):
                softrec.fit(clicks, out=tmp_path / "run", **TINY)
        (begun,) = tracked(mlflow)
        run = softrec.fit(clicks, out=tmp_path / "run", **TINY)
    (found,) = tracked(mlflow)
    assert found.info.run_id == begun.info.run_id
    assert found.info.status == "FINISHED"
    assert found.data.metrics["test/ndcg_at_10"] == pytest.approx(plain.test["ndcg@10"])
    assert run.weights_fingerprint == plain.weights_fingerprint


def test_each_training_of_a_comparison_is_a_run(mlflow, clicks, tmp_path):
    options = {name: value for name, value in TINY.items() if name != "model"}
    with softrec.tracking("mlflow"):
        softrec.compare(
            clicks, out=tmp_path / "both", targets="one-hot,uniform", seeds=1, baselines=False,
            model={"name": "gru4rec", "dim": 4}, **options,
        )  # fmt: skip
    names = {one.data.tags["mlflow.runName"] for one in tracked(mlflow)}
    assert len(names) == 2
    assert all(name.startswith("both/") for name in names)


def test_a_server_that_is_not_there(clicks, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://at-all")
    with softrec.tracking("mlflow"), pytest.raises(SoftrecError) as caught:
        softrec.fit(clicks, out=tmp_path / "run", **TINY)
    assert "set MLFLOW_TRACKING_URI to the address of a server" in str(caught.value)
    assert not (tmp_path / "run.part").exists()


class Recorder(trackers.CSVLogger):
    """Stands for the logger of Weights & Biases, and keeps what it got."""

    made = ()

    def __init__(self, name, folder, **options):
        super().__init__(folder, "recorded")
        self.options, self.got, self.params = {"name": name, **options}, {}, {}
        self.made.append(self)

    def log_hyperparams(self, params):
        self.params |= params

    def log_metrics(self, metrics, step=None):
        self.got |= metrics


def test_weights_and_biases_get_the_same(clicks, plain, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    monkeypatch.setattr(trackers, "WandbLogger", Recorder)
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    with softrec.tracking("wandb"):
        with monkeypatch.context() as patch:
            killed_after(patch, 2)
            with pytest.raises(KeyboardInterrupt):
                softrec.fit(clicks, out=tmp_path / "run", **TINY)
        softrec.fit(clicks, out=tmp_path / "run", **TINY)
    first, again, tested = Recorder.made
    assert first.options["project"] == "mine"
    assert first.options["name"].endswith("/run")
    assert first.options["id"] == again.options["id"] == tested.options["id"]
    assert first.options["resume"] == "allow"
    assert first.params["model"]["name"] == "gru4rec"
    assert again.params == {}  # it has them
    last = plain.facts["curve"][-1]
    assert again.got["valid/ndcg@10"] == pytest.approx(last["valid/ndcg@10"])
    assert tested.got == {f"test/{name}": value for name, value in plain.test.items()}


def test_names_are_checked_before_anything_is_trained(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    for names, kind in (("mlflov", RecipeError), (["csv", "wandb"], SoftrecError)):
        with refused(kind), tracking(names):
            pytest.fail("it was entered")


def test_the_command_line_names_them_too(clicks, tmp_path, capsys):
    clicks.write_csv(tmp_path / "log.csv")
    tiny = ["--epochs", "1", "--length", "5", "--batch-size", "8", "--set", "model.dim=8"]
    for name, code in (("csv", 0), ("csw", 2)):
        with pytest.raises(SystemExit) as done:
            cli.main(["fit", str(tmp_path / "log.csv"), "--out", str(tmp_path / name), *tiny,
                      "--logger", name])  # fmt: skip
        assert done.value.code == code
    assert (tmp_path / "csv" / "logs").exists()
    assert not (tmp_path / "csv" / "tensorboard").exists()
    assert "no tracker 'csw', did you mean csv?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "name"),
    [("run", "run"), ("/a/b/run.part", "b/run"), ("c.part/runs/pop-seed1.part", "c/pop-seed1")],
)
def test_how_a_run_is_called(folder, name):
    assert called(trackers.Path(folder)) == name
