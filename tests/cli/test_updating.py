"""`softrec update`: the exit code for a scheduler, what is printed, and what it refuses."""

import json

import polars as pl
import pytest

from softrec.cli import main as cli


def frame(users, begin, step=1):
    """Users who go round a ring of items, a few steps at a time."""
    rows = [
        (f"u{user}", f"i{(user + step * place) % 12}", begin + 10 * place + user / 100)
        for user in users for place in range(8)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=["customer", "item", "time"], orient="row")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of a counted model, and two files: one goes on as before, one has no rule."""
    folder = tmp_path_factory.mktemp("update")
    frame(range(60), 0).write_csv(folder / "old.csv")
    wild = frame(range(60), 1000)
    wild = wild.with_columns(pl.col("item").shuffle(0))
    frame(range(70), 1000).rename({"customer": "who"}).write_csv(folder / "good.csv")
    wild.write_csv(folder / "wild.csv")
    args = ["fit", str(folder / "old.csv"), "--user", "customer", "--out", str(folder / "run"),
            "--model", "markov", "--set", "evaluation.mask_seen=false",
            "--split", "time"]  # fmt: skip
    with pytest.raises(SystemExit) as done:
        cli.main(args)
    assert done.value.code == 0
    return folder


def run(capsys, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as done:
        cli.main(["update", *map(str, arguments)])
    return done.value.code, *capsys.readouterr()


def test_a_new_run_that_is_no_worse_is_accepted(folder, tmp_path, capsys):
    code, out, err = run(capsys, folder / "run", "--data", folder / "good.csv", "--user", "who",
                         "--out", tmp_path / "new")  # fmt: skip
    assert code == 0
    assert "560 new events beside 480 known ones" in err
    assert "10 of 70 users are new" in err
    assert "popularity of items: total variation" in err
    assert "accepted, " in err
    assert "ndcg@10" in out
    facts = json.loads((tmp_path / "new" / "update.json").read_text())
    assert facts["gate"]["accepted"] is True
    assert facts["old"]["folder"] == str(folder / "run")


def test_one_that_is_not_has_an_exit_code_of_its_own(folder, tmp_path, capsys):
    code, _, err = run(capsys, folder / "run", "--data", folder / "wild.csv",
                       "--out", tmp_path / "new")  # fmt: skip
    assert code == 3
    assert "not accepted, worse: it is lower by more than the margin (2.0%)" in err
    facts = json.loads((tmp_path / "new" / "update.json").read_text())
    assert facts["gate"]["accepted"] is False


def test_what_cannot_be_done_is_one_line_and_code_2(folder, tmp_path, capsys):
    for arguments in (
        [folder / "run", "--data", folder / "old.csv", "--out", tmp_path / "new"],
        [folder / "run", "--data", folder / "none.csv", "--out", tmp_path / "new"],
        [folder / "none", "--data", folder / "good.csv", "--out", tmp_path / "new"],
        [folder / "run", "--data", folder / "good.csv", "--out", folder / "run"],
        [folder / "run", "--data", folder / "good.csv", "--user", "who", "--newest", "1.5",
         "--out", tmp_path / "new"],
    ):  # fmt: skip
        code, _, err = run(capsys, *arguments)
        assert code == 2, arguments
        assert len(err.strip().splitlines()) == 1
        assert err.startswith("error: ")
    assert not (tmp_path / "new").exists()
