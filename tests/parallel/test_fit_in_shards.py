"""`softrec fit --shards`: a run folder as any other; what shards do not have is refused."""

import subprocess
import sys

import pytest
from processes import write_log
from safetensors.torch import load_file

import softrec
from messages import refused
from softrec.errors import RecipeError
from softrec.files import read_facts
from softrec.recipe.recipe import read_recipe

FIT = ["fit", "log.csv", "--epochs", "3", "--model", "gru4rec", "--length", "6",
       "--set", "model.dim=8", "--set", "training.precision=64-true"]  # fmt: skip


def fit(folder, out, *options, target="pop+"):
    command = [sys.executable, "-m", "softrec", *FIT, "--target", target, "--out", out, *options]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return softrec.open_run(folder / out), load_file(folder / out / "model.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("shards")
    write_log(place, users=200, items=41)
    return place


@pytest.fixture(scope="module")
def two(folder):
    """A run of two shards, and its weights."""
    return fit(folder, "two", "--shards", "2")


def test_a_run_of_two_shards_is_as_any_other(folder, two):
    run, weights = two
    one, expected = fit(folder, "one", "--shards", "1")
    assert weights.keys() == expected.keys()
    for name, weight in expected.items():
        assert weights[name].shape == weight.shape
        assert float((weights[name] - weight).abs().max()) < 1e-6
    assert run.test == one.test == run.evaluate()
    assert run.lists == one.lists
    facts = [read_facts(folder / name / "run.json")["curve"] for name in ("one", "two")]
    for row, other in zip(*facts, strict=True):
        assert row["train/loss"] == pytest.approx(other["train/loss"], abs=1e-6)
        assert row["valid/ndcg@10"] == other["valid/ndcg@10"]
    found, same = (each.recommender().recommend([3], k=5) for each in (run, one))
    assert found["item"].to_list() == same["item"].to_list()
    assert not list((folder / "two").glob("*-*.safetensors"))

    begun, _ = fit(folder, "begun", "--shards", "3", "--start", str(folder / "two"))
    again, _ = fit(folder, "again", "--start", str(folder / "two"))
    assert begun.facts["curve"][0]["train/loss"] < run.facts["curve"][-1]["train/loss"]
    for row, other in zip(begun.facts["curve"], again.facts["curve"], strict=True):
        assert row["train/loss"] == pytest.approx(other["train/loss"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "refit"), [("--shards", "valid"), ("--devices", "all")])
def test_a_refit_of_two_processes_is_that_of_one(folder, processes, refit):
    name, how = f"refit-{refit}", ("--refit", refit, "--set", "model.dropout=0")
    run, weights = fit(folder, f"{name}-2", processes, "2", *how)
    one, expected = fit(folder, f"{name}-1", *how)
    assert run.refit == one.refit == refit
    for name, weight in expected.items():
        assert float((weights[name] - weight).abs().max()) < 1e-6
    assert run.test == one.test
    assert run.valid == one.valid
    assert not (run.folder / "refit").exists()


@pytest.mark.slow
def test_the_best_items_of_a_teacher_are_a_target_of_shards(folder):
    kd = ("--teacher", "item-knn(k=9)", "--top", "5", "--set", "model.dropout=0")
    _, weights = fit(folder, "kd-2", "--shards", "2", *kd, target="kd")
    _, expected = fit(folder, "kd-1", *kd, target="kd")
    for name, weight in expected.items():
        assert float((weights[name] - weight).abs().max()) < 1e-12


def test_an_update_of_a_run_of_two_shards_is_that_of_one(folder, two):
    """New items, at the beginning and the end of the order of ids, get rows of their neighbours."""
    steps = [*range(5), -1, 5, 90, *range(6, 12)]
    rows = "".join(f"{user},{item}\n" for user in range(300, 340) for item in steps)
    (folder / "new.csv").write_text("user,item\n" + rows)
    found = []
    for shards in ("2", "1"):
        command = [sys.executable, "-m", "softrec", "update", "two", "--data", "new.csv",
                   "--out", f"updated-{shards}", "--newest-by", "last", "--epochs", "1",
                   "--set", "model.dropout=0", "--set", f"training.shards={shards}"]  # fmt: skip
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode in (0, 3), done.stderr
        assert "from their neighbours (2 items)" in done.stderr
        run = softrec.open_run(folder / f"updated-{shards}")
        found.append((run, load_file(run.folder / "model.safetensors"), done.returncode))
    (run, weights, code), (one, expected, same) = found
    assert code == same
    assert weights.keys() == expected.keys()
    for name, weight in expected.items():
        assert float((weights[name] - weight).abs().max()) < 1e-12
    curves = [each.facts["curve"][0]["train/loss"] for each in (run, one)]
    assert curves[0] == pytest.approx(curves[1], abs=1e-9)
    assert run.test == one.test
    assert run.recipe.training.shards == 2
    facts = [read_facts(each.folder / "update.json")["gate"]["metrics"] for each in (run, one)]
    assert facts[0] == facts[1]


KD = {"name": "kd", "teacher": "runs/first"}
REFUSED = [
    {"model": {"name": "mf"}},
    {"loss": {"name": "bpr"}},
    {"loss": {"name": "talos"}},
    {"loss": {"name": "bsl", "mode": "multi"}},
    {"loss": {"name": "mixed", "l2": 0.1}},
    {"target": KD},
    {"target": {"name": "mixture", "of": [{"weight": 1.0, "target": KD}]}},
    {"candidates": {"name": "shown"}},
    {"candidates": {"name": "sampled", "number": 10, "soft": "exact"}},
    {"candidates": {"name": "sampled", "number": 10, "per_row": True}},
    {"weights": {"name": "slatk"}},
    {"training": {"precision": "bf16-true"}},
    {"training": {"devices": 3}},
    {"evaluation": {"negatives": 100}},
    {"evaluation": {"calibration": True}},
]


@pytest.mark.parametrize("changes", REFUSED, ids=str)
def test_what_shards_do_not_have_is_refused_when_a_recipe_is_read(changes):
    data = {"data": {"source": "clicks.csv"}}
    read_recipe({**data, **changes})
    own = {**changes.get("training", {}), "shards": 2}
    with refused(RecipeError):
        read_recipe({**data, **changes, "training": own})


@pytest.mark.parametrize(
    "changes",
    [
        {"target": {"name": "uniform"}},
        {"target": {"name": "co-occurrence"}, "loss": {"name": "decoupled"}},
        {"target": {"name": "kd", "teacher": "item-knn", "top": 10}},
        {"loss": {"name": "sl"}},
        {"loss": {"name": "bsl"}},
        {"weights": {"name": "recency"}},
        {"prior": {"folds": 2}, "training": {"ema": 0.9}},
        {"training": {"clip": 1.0}, "candidates": {"name": "in-batch"}},
        {"training": {"optimizer": "sparse-adam"}, "candidates": {"name": "sampled", "number": 9}},
        {"training": {"devices": 2, "nodes": 2, "weight_decay": 0.1, "optimizer": "adamw"}},
    ],
    ids=str,
)
def test_what_shards_have_is_not(changes):
    own = {**changes.get("training", {}), "shards": 2}
    read_recipe({"data": {"source": "clicks.csv"}, **changes, "training": own})
