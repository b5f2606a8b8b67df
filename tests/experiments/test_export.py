"""`softrec export`: a run becomes an export completely, or nothing is left."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from messages import refused
from softrec.cli import main as cli
from softrec.errors import RunError
from softrec.experiments.export import export_run
from softrec.experiments.train import open_run
from softrec.files import read_facts
from softrec.serving.exported import ExportedRecommender

TINY = ["--epochs", "1", "--batch-size", "16", "--length", "5", "--set", "model.dim=8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run, and one of a counted model."""
    folder = tmp_path_factory.mktemp("runs")
    items = (np.random.default_rng(0).integers(10, size=(20, 1)) + np.arange(6)) % 10
    frame = pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": items.ravel()})
    frame.write_csv(folder / "log.csv")
    call("fit", folder / "log.csv", "--model", "gru4rec", "--out", folder / "run", *TINY)
    call("fit", folder / "log.csv", "--model", "popularity", "--out", folder / "counted")
    return folder


def call(*arguments, code=0):
    with pytest.raises(SystemExit) as done:
        cli.main([str(argument) for argument in arguments])
    assert done.value.code == code


def test_the_command_writes_an_export_that_recommends(folder, capsys, tmp_path):
    to = tmp_path / "deep" / "export"
    call("export", folder / "run", "--to", to)
    said = capsys.readouterr()
    assert "largest difference of scores" in said.out
    assert f"The export is {to}" in " ".join(said.err.split())
    assert "Warning" not in said.out + said.err
    assert {path.name for path in to.iterdir()} == {
        "manifest.json", "user_tower.onnx", "user_tower.pt2", "items.safetensors", "items.arrow",
        "users.parquet", "parity.json", "recipe.yaml", "softrec.json",
    }  # fmt: skip
    report = read_facts(to / "parity.json")
    assert (report["histories"], report["items"], report["tolerance"]) == (20, 10, 1e-3)
    run = open_run(folder / "run")
    manifest = read_facts(to / "manifest.json")
    assert manifest["run"] == {"folder": "run", "weights": run.weights_fingerprint}
    own = run.recommender().recommend([3, 4], 4, histories={"history 1": [2, 3]})
    best = tmp_path / "best.parquet"
    call("recommend", to, "-u", 3, "-u", 4, "--history", "2,3", "-k", 4, "-o", best)
    assert_frame_equal(pl.read_parquet(best).drop("user"), own.drop("user"), abs_tol=1e-4)


def test_an_export_has_no_parts_and_no_interests(folder, capsys, tmp_path):
    export_run(open_run(folder / "run"), tmp_path / "export", histories=3)
    for arguments in (["recommend", "--before", "test"], ["interests", "-u", 3]):
        capsys.readouterr()
        call(arguments[0], tmp_path / "export", *arguments[1:], code=2)
        assert capsys.readouterr().err.startswith("error: ")


def test_a_counted_model_is_refused_before_anything_is_said(folder, capsys, tmp_path):
    call("export", folder / "counted", "--to", tmp_path / "export", code=2)
    assert "writing" not in capsys.readouterr().err


def test_nothing_is_left_of_what_fails(folder, tmp_path):
    run, to = open_run(folder / "run"), tmp_path / "export"
    for options in ({"tolerance": -1.0}, {"histories": 0}):
        with refused(RunError):
            export_run(run, to, **options)
    with pytest.raises(RunError):  # how far apart they are depends on the machine
        export_run(run, to, tolerance=0.0)
    with refused(RunError):
        export_run(open_run(folder / "counted"), to)
    assert list(tmp_path.iterdir()) == []


def test_another_folder_is_not_replaced(folder, tmp_path):
    run, to = open_run(folder / "run"), tmp_path / "export"
    export_run(run, to, histories=3)
    with refused(RunError):
        export_run(run, to)
    first = read_facts(to / "parity.json")["histories"]
    exported = export_run(run, to, histories=4, overwrite=True)
    assert (first, exported.parity()["histories"]) == (3, 4)
    with refused(RunError):
        export_run(run, folder / "counted", overwrite=True)
    with refused(RunError):
        export_run(run, folder / "run" / "export")
    assert not (folder / "run" / "export.part").exists()


def test_what_a_kill_left_is_not_part_of_an_export(folder, tmp_path):
    run, to = open_run(folder / "run"), tmp_path / "export"
    export_run(run, to, histories=3)
    to.rename(tmp_path / "export.part")
    export_run(run, to, histories=3, users=False)
    assert not (to / "users.parquet").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_a_folder_that_was_moved_is_still_an_export(folder, tmp_path):
    export_run(open_run(folder / "run"), tmp_path / "export", histories=3)
    (tmp_path / "export").rename(tmp_path / "elsewhere")
    assert ExportedRecommender(tmp_path / "elsewhere").recommend(3, 2).height == 2


def test_an_export_without_users_says_so(folder, capsys, tmp_path):
    to, lists = tmp_path / "export", tmp_path / "lists"
    export_run(open_run(folder / "run"), to, histories=3, users=False)
    (tmp_path / "users.txt").write_text("3")
    for asked in (
        ["-u", 3],
        ["--users-file", tmp_path / "users.txt"],
        ["--all-users", "--out", lists],
    ):
        capsys.readouterr()
        call("recommend", to, *asked, code=2)
        said = " ".join(capsys.readouterr().err.split())
        assert "there are no users, because the export was written with --no-users" in said
    assert not lists.exists()
    call("index", to, "--kind", "exact", "--questions", 5)
    said = " ".join(capsys.readouterr().err.split())
    assert "10 items, and 5 questions: histories of one item, because the export has no" in said
    call("index", folder / "run", "--kind", "exact", "--questions", 5)
    assert "5 questions: users of the log" in " ".join(capsys.readouterr().err.split())


def test_an_export_in_place_of_its_run_is_told(folder, tmp_path):
    export_run(open_run(folder / "run"), tmp_path / "export", histories=3)
    with refused(RunError):
        open_run(tmp_path / "export")
