"""`softrec fit` and `softrec evaluate`: from a log or a recipe to a run, and what is in it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal
from safetensors.torch import load_file

from softrec.cli import main as cli
from softrec.cli.show import print_run
from softrec.experiments.train import open_run

TINY = ["--epochs", "2", "--batch-size", "16", "--length", "5", "--set", "model.dim=8"]
PLAIN = {".safetensors", ".parquet", ".json", ".yaml", ".csv"}


def log_frame() -> pl.DataFrame:
    generator = np.random.default_rng(0)
    items = (generator.integers(10, size=(20, 1)) + np.arange(6)) % 10
    return pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": items.ravel()})


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    log_frame().write_csv("log.csv")
    return tmp_path


@pytest.fixture
def softrec(capsys):
    """Run a command that must succeed; return what it printed to each stream."""

    def call(*arguments: object) -> tuple[str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert done.value.code == 0, captured.err
        return captured.out, captured.err

    return call


def test_from_a_log(softrec, folder):
    out, err = softrec("fit", "log.csv", "--model", "sasrec", "--target", "pop+", "--alpha", 0.4,
                       "--out", "run", *TINY)  # fmt: skip
    run = open_run(folder / "run")
    assert run.recipe.model.name == "sasrec"
    assert run.recipe.target.model_dump() == {
        "name": "pop+", "mass": None, "alpha": 0.4, "temperature": 1.0, "scale": "log",
    }  # fmt: skip
    assert run.facts["soft_weight"] == 0.2
    assert run.facts["epochs"] == len(run.facts["curve"]) == 2
    for name, value in run.test.items():
        (line,) = (line for line in out.splitlines() if line.split()[:1] == [name])
        assert line.split()[1:] == [f"{run.valid[name]:.4f}", f"{value:.4f}"]
    read, judged, decided, *epochs, last = err.splitlines()
    assert decided.startswith("candidates: all 10 items: ")
    assert read == (
        "120 events of 20 users and 10 items, without times; split leave-last-out: 80 events to "
        "train, 20 to validate (20 users), 20 to test (20 users)"
    )
    assert judged == "new items are ranked, and seen items are left out"
    assert last == "The run is in run. Next: softrec recommend run --user ID"
    for number, (line, row) in enumerate(zip(epochs, run.facts["curve"], strict=True)):
        assert line.startswith(f"epoch {number + 1} of 2: ndcg@10 {row['valid/ndcg@10']:.4f}, ")


def test_a_run_holds_nothing_pickled(softrec, folder):
    softrec("fit", "log.csv", "--out", "run", *TINY, "--set", "training.checkpoint_steps=1")
    files = [path for path in (folder / "run").rglob("*") if path.is_file()]
    assert {"run.json", "model.safetensors", "items.parquet", "users.parquet", "log.parquet",
            "per_user.parquet", "curve.csv"} <= {path.name for path in files}  # fmt: skip
    strange = [path for path in files if path.suffix not in PLAIN]
    assert strange
    assert all(path.name.startswith("events.out.tfevents.") for path in strange)
    assert not (folder / "run.part").exists()


def test_the_numbers_of_a_run_agree(softrec, folder):
    softrec("fit", "log.csv", "--out", "run", *TINY)
    run = open_run(folder / "run")
    for name, value in run.test.items():
        assert value == pytest.approx(run.per_user[name].mean(), abs=1e-12)
    curve = pl.read_csv(folder / "run" / "curve.csv")
    assert curve["epoch"].to_list() == [1, 2]
    best = int(curve["valid/ndcg@10"].arg_max() or 0)
    assert run.facts["best_epoch"] == curve["epoch"][best]
    for name, value in run.valid.items():
        assert value == pytest.approx(curve[f"valid/{name}"][best], abs=1e-12)
    assert run.per_user["user"].to_list() == list(range(20))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["sasrec", "gru4rec"])
def test_the_same_seed_gives_the_same_numbers(softrec, folder, model):
    options = [*TINY, "--model", model, "--target", "uniform", "--set", "model.dropout=0.3"]
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        softrec("fit", "log.csv", "--out", name, *options, "--seed", seed)
    one, two, three = (load_file(f"{n}/model.safetensors") for n in ("one", "two", "three"))
    assert all(bool((one[name] == two[name]).all()) for name in one)
    assert not all(bool((one[name] == three[name]).all()) for name in one)
    assert open_run("one").test == open_run("two").test
    assert_frame_equal(open_run("one").per_user, open_run("two").per_user, check_exact=True)


def test_from_a_recipe(softrec, folder):
    recipe = {
        "data": {"source": "log.csv"},
        "model": {"name": "gru4rec", "dim": 8},
        "target": {"name": "uniform", "alpha": 0.2},
        "training": {"epochs": 1, "length": 4, "batch_size": 8},
        "evaluation": {"metrics": ["ndcg@10", "recall@3"]},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    softrec("fit", "recipe.yaml", "--out", "run")
    run = open_run("run")
    assert run.recipe.target.model_dump() == {**recipe["target"], "mass": None}
    assert run.recipe.training.batch_size == 8
    assert list(run.test) == ["ndcg@10", "recall@3"]


def test_a_run_is_made_again_from_its_own_recipe(softrec):
    softrec("fit", "log.csv", "--out", "one", *TINY, "--target", "pop+", "--clean", "min-item=2")
    softrec("fit", "one/recipe.yaml", "--out", "two")
    assert open_run("two").recipe == open_run("one").recipe
    assert open_run("two").test == open_run("one").test


def test_options_lie_over_a_recipe(softrec, folder):
    (folder / "recipe.yaml").write_text(
        "data: {source: log.csv}\nmodel: {name: gru4rec, dim: 8}\n"
        "target: {name: pop+, alpha: 0.3, temperature: 2}\ntraining: {epochs: 1, length: 4}\n"
    )
    softrec("fit", "recipe.yaml", "--out", "kept", "--alpha", 0.5)
    kept = open_run("kept").recipe
    assert (kept.target.alpha, kept.target.temperature) == (0.5, 2)
    softrec("fit", "recipe.yaml", "--out", "other", "--target", "uniform", "--model", "sasrec",
            "--set", "model.dim=4")  # fmt: skip
    other = open_run("other").recipe
    assert other.target.model_dump() == {"name": "uniform", "mass": None, "alpha": 0.1}
    assert other.model.settings == {"dim": 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "loss"),
    [
        (["--target", "pop+", "--loss", "decoupled", "--balance", "0.7"], "decoupled"),
        (["--target", "uniform(alpha=0.3)"], "mixed"),
    ],
)
def test_losses(softrec, options, loss):
    softrec("fit", "log.csv", "--out", "run", *TINY, *options)
    assert open_run("run").recipe.loss.name == loss
    assert all(np.isfinite(row["train/loss"]) for row in open_run("run").facts["curve"])


def test_given_parts(softrec, folder):
    frame = log_frame().with_columns(n=pl.int_range(pl.len()).over("user"))
    for name, part in (("a", pl.col("n") < 4), ("b", pl.col("n") == 4), ("c", pl.col("n") == 5)):
        frame.filter(part).drop("n").write_csv(f"{name}.csv")
    softrec("fit", "a.csv", "--valid", "b.csv", "--test", "c.csv", "--out", "given", *TINY)
    softrec("fit", "log.csv", "--out", "whole", *TINY)
    assert open_run("given").facts["data"]["split"] == "given"
    assert open_run("given").test == open_run("whole").test


def test_times_decide_the_order_and_their_leak_is_told(softrec, folder):
    """A shuffled log with times is the log; that leave-last-out sees the future is a note."""
    timed = log_frame().with_columns(time=pl.int_range(pl.len()))
    timed.sample(fraction=1, shuffle=True, seed=3).write_csv("timed.csv")
    _, err = softrec("fit", "timed.csv", "--out", "timed", *TINY)
    softrec("fit", "log.csv", "--out", "plain", *TINY)
    assert open_run("timed").test == open_run("plain").test
    note, *_ = err.splitlines()
    assert note.startswith("note: the leave-last-out split leaks time")


@pytest.mark.slow
def test_a_run_is_replaced_only_when_asked(softrec):
    softrec("fit", "log.csv", "--out", "run", *TINY)
    softrec("fit", "log.csv", "--out", "run", *TINY, "--seed", 4, "--overwrite")
    assert open_run("run").recipe.seed == 4


def test_the_simulated_shop(softrec):
    sizes = ["--set", "data.shop={n_items: 60, n_users: 60}"]
    softrec("fit", "shop", "--out", "run", *TINY, *sizes)
    assert open_run("run").facts["data"]["users"] == 60


# --- evaluate ---


@pytest.mark.slow
@pytest.mark.parametrize("split", ["leave-last-out", "user-ratio"])
def test_evaluate_gives_what_fit_gave(softrec, split):
    softrec("fit", "log.csv", "--out", "run", *TINY, "--split", split, "--seed", 3)
    run = open_run("run")
    for part, wanted in (("test", run.test), ("valid", run.valid)):
        out, _ = softrec("evaluate", "run", "--part", part)
        rows = dict(line.split() for line in out.splitlines() if "@" in line)
        assert rows == {name: f"{value:.4f}" for name, value in wanted.items()}


def test_evaluate_other_metrics_and_users(softrec):
    softrec("fit", "log.csv", "--out", "run", *TINY)
    out, _ = softrec(
        "evaluate", "run", "--metrics", "hit_rate@1,ndcg@10", "--per-user", "u.parquet"
    )
    table = pl.read_parquet("u.parquet")
    assert table.columns == ["user", "rank", "hit_rate@1", "ndcg@10"]
    assert table["ndcg@10"].to_list() == open_run("run").per_user["ndcg@10"].to_list()
    assert [line.split()[0] for line in out.splitlines() if "@" in line] == [
        "hit_rate@1",
        "ndcg@10",
    ]


def test_a_run_is_evaluated_from_any_folder(softrec, folder, monkeypatch):
    softrec("fit", "log.csv", "--out", "run", *TINY)
    wanted, _ = softrec("evaluate", folder / "run", "--metrics", "ndcg@10")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert softrec("evaluate", folder / "run", "--metrics", "ndcg@10")[0] == wanted
    (folder / "log.csv").rename(folder / "elsewhere" / "moved.csv")
    again, _ = softrec("evaluate", folder / "run", "--metrics", "ndcg@10", "--data", "moved.csv")
    assert again == wanted


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_a_run_of_another_precision_is_what_it_was(softrec, precision):
    softrec("fit", "log.csv", "--out", "run", *TINY, "--set", f"training.precision={precision}")
    softrec("evaluate", "run", "--per-user", "users.parquet")
    users = pl.read_parquet("users.parquet")
    assert_frame_equal(users, open_run("run").per_user, check_exact=True)
    softrec("recommend", "run", "--user", 3)


# --- as a process ---


@pytest.mark.slow
def test_quietly(folder):
    """What was read and each epoch are told in a line, and nothing of the machinery below."""
    command = [sys.executable, "-m", "softrec", "fit", "log.csv", "--out", "run", *TINY]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    read, judged, decided, *epochs, last = done.stderr.splitlines()
    assert decided.startswith("candidates: all 10 items: ")
    assert read.startswith("120 events of 20 users and 10 items")
    assert judged.startswith("new items are ranked")
    assert last == "The run is in run. Next: softrec recommend run --user ID"
    assert all(line.startswith("epoch ") for line in epochs)
    assert json.loads((folder / "run" / "run.json").read_text())["format"] == 2


def test_interrupted(folder, monkeypatch, capsys):
    from softrec.training.module import SoftTargetModule

    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background
    step = SoftTargetModule.training_step

    def interrupted(self, batch, batch_idx):
        if self.global_step == 3:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    command = ["fit", "log.csv", "--out", "run", *TINY, "--set", "training.checkpoint_steps=1"]
    with monkeypatch.context() as patch:
        patch.setattr(SoftTargetModule, "training_step", interrupted)
        with pytest.raises(SystemExit) as stopped:
            cli.main(command)
    assert stopped.value.code == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "the same command continues where it stopped" in capsys.readouterr().err
    assert not (folder / "run").exists()
    with pytest.raises(SystemExit) as done:
        cli.main(command)
    assert done.value.code == 0
    assert open_run("run").facts["epochs"] == 2


def test_the_next_command_can_be_pasted(capsys):
    print_run(Path("my runs/first"))
    told = "The run is in my runs/first. Next: softrec recommend 'my runs/first' --user ID"
    assert capsys.readouterr().err.strip() == told
