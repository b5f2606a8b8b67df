"""The runs of a folder: found, read from small files alone, sorted, and their state."""

import json
import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import softrec
from messages import refused
from softrec.cli import main as cli
from softrec.errors import RecipeError, RunError
from softrec.experiments.store.folders import RUN, held, unfinished
from softrec.files import read_facts, write_facts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two trained runs, one of them in a folder below, a counted one, and another folder."""
    folder = tmp_path_factory.mktemp("runs")
    items = (np.random.default_rng(0).integers(10, size=(20, 1)) + np.arange(6)) % 10
    clicks = pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": items.ravel()})
    tiny = {"epochs": 1, "length": 5, "accelerator": "cpu", "progress": False}
    small = {"name": "gru4rec", "dim": 4}
    softrec.fit(clicks, out=folder / "first", model=small, **tiny)
    softrec.fit(clicks, out=folder / "below" / "second", model=small, target="pop+", alpha=0.3,
                seed=3, **tiny)  # fmt: skip
    softrec.fit(clicks, out=folder / "counted", model="popularity", progress=False)
    (folder / "notes").mkdir()
    (folder / "notes" / "run.txt").write_text("no run")
    return folder


@pytest.fixture
def copied(folder, tmp_path):
    """A folder with one run, to be damaged."""
    shutil.copytree(folder / "first", tmp_path / "all" / "run")
    return tmp_path / "all"


def test_what_a_run_says_of_itself(folder):
    table = softrec.runs(folder, sort="run")
    assert table["run"].to_list() == ["below/second", "counted", "first"]
    run = softrec.open_run(folder / "below" / "second")
    row = table.row(0, named=True)
    assert {name: row[name] for name in ("state", "model", "target", "loss", "seed", "epochs")} == {
        "state": "complete", "model": "gru4rec", "target": "pop+ (alpha 0.3)", "loss": "mixed",
        "seed": 3, "epochs": 1,
    }  # fmt: skip
    assert {name: row[name] for name in run.test} == run.test
    assert {name: row[f"valid/{name}"] for name in run.valid} == run.valid
    assert row["seconds"] == run.facts["seconds"]
    assert abs(row["date"].timestamp() - (run.folder / "run.json").stat().st_mtime) < 1e-3
    assert table["target"].to_list()[1] is None  # popularity is not trained towards anything


@pytest.mark.parametrize("sort", ["ndcg@10", "valid/recall@20", "date"])
def test_the_highest_are_first(folder, sort):
    values = softrec.runs(folder, sort=sort)[sort].to_list()
    assert values == sorted(values, reverse=True)


def test_others_begin_with_the_lowest(folder):
    assert softrec.runs(folder, sort="model")["model"].to_list() == ["gru4rec"] * 2 + ["popularity"]


def test_a_column_that_is_not_there_is_named(folder):
    with refused(RecipeError):
        softrec.runs(folder, sort="ndcg@11")
    with refused(RunError):
        softrec.runs(folder / "notes" / "run.txt")


def test_a_run_that_lacks_something_is_broken(copied):
    path = copied / "run"
    assert softrec.runs(copied)["state"].to_list() == ["complete"]
    shutil.copytree(path, copied / "resized")
    with (copied / "resized" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    shutil.copytree(path, copied / "without")
    (copied / "without" / "per_user.parquet").unlink()
    shutil.copytree(path, copied / "changed")
    facts = json.loads((copied / "changed" / "run.json").read_text())
    facts["test"]["ndcg@10"] = 1.0
    (copied / "changed" / "run.json").write_text(json.dumps(facts))
    shutil.copytree(path, copied / "cut")
    (copied / "cut" / "run.json").write_text('{"format')
    states = dict(softrec.runs(copied).select("run", "state").iter_rows())
    assert states == {"run": "complete", "resized": "broken", "without": "broken",
                      "changed": "broken", "cut": "broken"}  # fmt: skip
    broken = softrec.runs(copied).filter(pl.col("state") == "broken")
    assert broken["model"].to_list() == ["gru4rec"] * 4  # recipe.yaml still says what it was


def test_work_in_progress_is_told_from_what_was_interrupted(copied):
    out = copied / "run"
    (out / RUN.result).unlink()
    out.rename(unfinished(out))
    assert softrec.runs(copied).row(0, named=True)["state"] == "interrupted"
    with held(out):
        row = softrec.runs(copied).row(0, named=True)
    assert (row["run"], row["state"], row["model"]) == ("run.part", "in progress", "gru4rec")


def test_the_answer_of_a_gate_is_a_column(copied):
    assert softrec.runs(copied)["accepted"].to_list() == [None]
    write_facts(copied / "run" / "update.json", {"gate": {"accepted": False}})
    assert softrec.runs(copied)["accepted"].to_list() == [False]


def test_a_run_of_the_first_format_is_complete(copied):
    path = copied / "run" / "run.json"
    facts = read_facts(path) | {"format": 1}
    del facts["files"]
    path.write_text(json.dumps(facts))
    assert softrec.runs(copied)["state"].to_list() == ["complete"]


def test_an_empty_folder_has_no_runs(tmp_path, capsys):
    assert softrec.runs(tmp_path).is_empty()
    with pytest.raises(SystemExit) as done:
        cli.main(["runs", str(tmp_path)])
    assert done.value.code == 0
    assert "There is no run in" in capsys.readouterr().err


def test_the_command_prints_a_table_and_json(folder, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["runs", str(folder), "--sort", "ndcg@10"])
    assert done.value.code == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "state", "model", "target", "loss", "ndcg@10", "seconds", "date"]
    table = softrec.runs(folder, sort="ndcg@10")
    assert [line.split()[0] for line in lines] == table["run"].to_list()
    assert all(f"{value:.4f}" in line for value, line in zip(table["ndcg@10"], lines, strict=True))
    with pytest.raises(SystemExit) as done:
        cli.main(["runs", str(folder), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in found] == softrec.runs(folder)["run"].to_list()
    assert found[0]["ndcg@10"] == softrec.runs(folder)["ndcg@10"][0]


def test_a_table_of_runs_needs_no_torch(folder):
    code = (
        "import sys; sys.modules['torch'] = None; import softrec; "
        f"print(len(softrec.runs({str(folder)!r})))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "3"


def test_metrics_among_sampled_items_are_marked(folder, copied, capsys):
    assert softrec.runs(folder)["negatives"].to_list() == [None] * 3
    facts = read_facts(copied / "run" / "run.json")
    facts["recipe"]["evaluation"]["negatives"] = 1000
    write_facts(copied / "run" / "run.json", facts)
    assert softrec.runs(copied)["negatives"].to_list() == [1000]
    with pytest.raises(SystemExit):
        cli.main(["runs", str(copied)])
    assert " of 1,000 " in capsys.readouterr().out
