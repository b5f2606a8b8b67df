"""`softrec recommend`: to users of the log and to anybody with a history."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from messages import refused
from softrec.cli import main as cli
from softrec.cli.rules import ids_of
from softrec.errors import RecipeError
from softrec.experiments.train import open_run

TINY = ["--epochs", "1", "--batch-size", "16", "--length", "5", "--set", "model.dim=8"]
READ = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".json": pl.read_json}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Two runs: `numbers`, whose users are numbers and items are text, and `marks`."""
    folder = tmp_path_factory.mktemp("runs")
    generator = np.random.default_rng(0)
    items = (generator.integers(10, size=(20, 1)) + np.arange(6)) % 10
    frame = pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": items.ravel()})
    frame = frame.with_columns(item="i" + pl.col("item").cast(pl.String))
    frame.write_csv(folder / "numbers.csv")
    long = "-and-so-on" * 12
    frame.select(
        user="[bold]" + pl.col("user").cast(pl.String), item="[" + pl.col("item") + "]" + long
    ).write_csv(folder / "marks.csv")
    for name in ("numbers", "marks"):
        with pytest.raises(SystemExit) as done:
            cli.main(["fit", str(folder / f"{name}.csv"), "--out", str(folder / name), *TINY])
        assert done.value.code == 0
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """Another working directory than that of the runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def recommend(runs, capsys):
    """Recommend from a run; return what was printed to each stream."""

    def call(*arguments: object, run: str = "numbers") -> tuple[str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            cli.main(["recommend", str(runs / run), *map(str, arguments)])
        captured = capsys.readouterr()
        assert done.value.code == 0, captured.err
        return captured.out, captured.err

    return call


def direct(runs: Path, *users: object, k: int = 10, **options) -> pl.DataFrame:
    return open_run(runs / "numbers").recommender().recommend(list(users), k, **options)


def test_prints_the_best_items(runs, recommend):
    out, err = recommend("--user", 12, "-k", 3)
    names, *rows = (line.split() for line in out.splitlines())
    assert names == ["user", "rank", "item", "score"]
    wanted = direct(runs, 12, k=3)
    assert rows == [[str(u), str(r), i, f"{s:.4f}"] for u, r, i, s in wanted.iter_rows()]
    assert len(rows) == 3
    assert err == ""


@pytest.mark.parametrize("ending", READ)
def test_writes_a_table(runs, recommend, folder, ending):
    out, err = recommend("--user", 12, "--user", 3, "-k", 4, "--out", f"best{ending}")
    assert (out, err) == ("", "")
    table = READ[ending](f"best{ending}")
    wanted = direct(runs, 12, 3, k=4)
    assert table["item"].to_list() == wanted["item"].to_list()
    assert table["user"].cast(pl.Int64).to_list() == [12] * 4 + [3] * 4
    assert table["score"].to_list() == pytest.approx(wanted["score"].to_list())
    assert [path.name for path in folder.iterdir()] == [f"best{ending}"]


def test_k_beyond_what_is_left(recommend):
    """Each user has taken 6 of the 10 items."""
    recommend("--user", 12, "-k", 100, "--out", "best.csv")
    assert pl.read_csv("best.csv")["rank"].to_list() == [1, 2, 3, 4]


def test_an_empty_list_is_told(recommend):
    """A table has no row for it."""
    out, err = recommend("--user", 12, "--user", 3, "--history", "i1", "--allow", "i1", "-k", 3)
    told = " ".join(err.split())
    listed = {line.split()[0] for line in out.splitlines()[1:]}
    assert "history" not in listed
    missing = [user for user in ("12", "3") if user not in listed]
    assert told.startswith(f"note: no item is left for {len(missing) + 1} of 3 lists, of ")
    assert "'history 1'" in told
    assert all(repr(user) in told for user in missing)


def test_seen_items_come_only_when_asked(runs, recommend):
    frame = pl.read_csv(runs / "numbers.csv").filter(pl.col("user") == 12)
    for options, expected in (([], set()), (["--keep-seen"], set(frame["item"]))):
        recommend("--user", 12, "-k", 10, "--out", "best.csv", *options)
        assert set(pl.read_csv("best.csv")["item"]) & set(frame["item"]) == expected


@pytest.mark.parametrize("name", ["users.txt", "users.csv", "users.parquet", "users.json"])
def test_users_of_a_file(runs, recommend, folder, name):
    users = pl.DataFrame({"user": [12, 3, 19]})
    write = {
        ".txt": lambda: (folder / name).write_text("12\n3\n19\n"),
        ".csv": lambda: users.write_csv(name),
        ".parquet": lambda: users.write_parquet(name),
        ".json": lambda: users.write_json(name),
    }
    write[Path(name).suffix]()
    recommend("--users-file", name, "--out", "best.parquet")
    wanted = direct(runs, 12, 3, 19)
    found = pl.read_parquet("best.parquet")
    assert_frame_equal(found.cast({"user": pl.Int64}), wanted, rel_tol=1e-6)


def test_a_mark_of_utf_8_is_no_part_of_the_first_user(recommend, folder):
    (folder / "users.txt").write_bytes(b"\xef\xbb\xbf12\r\n3\r\n")
    (folder / "rules.json").write_bytes(b'\xef\xbb\xbf{"block": ["i1"]}')
    out, err = recommend("--users-file", "users.txt", "-k", 1, "--rules", "rules.json")
    assert err == ""
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["12", "3"]


def test_somebody_with_a_history(runs, recommend):
    recommend("--history", "i1, i2", "--history", "i7", "-k", 3, "--out", "best.parquet")
    histories = {"history 1": ["i1", "i2"], "history 2": ["i7"]}
    wanted = direct(runs, k=3, histories=histories)
    assert_frame_equal(pl.read_parquet("best.parquet"), wanted, rel_tol=1e-6)
    assert not set(wanted["item"][:3]) & {"i1", "i2"}


@pytest.mark.slow
def test_unknown_items_of_a_history_are_told_and_skipped(recommend):
    _, err = recommend("--history", "cake,i1,pie", "--out", "some.parquet")
    (line,) = err.splitlines()
    assert line.startswith("note: the history of 'history 1' has unknown items")
    assert line.endswith("skipped: 'cake', 'pie'")
    _, err = recommend("--history", "i1", "--out", "known.parquet")
    assert err == ""
    assert_frame_equal(pl.read_parquet("some.parquet"), pl.read_parquet("known.parquet"))


def test_an_id_with_a_comma_is_in_quotes(recommend):
    _, err = recommend("--history", 'i1, "cake, plain"', "--out", "some.parquet")
    assert err.splitlines()[0].endswith("skipped: 'cake, plain'")
    with refused(RecipeError):
        ids_of(['i1,"cake, plain'])


def test_users_and_strangers_together(recommend):
    recommend("--user", 3, "--history", "i1", "-k", 2, "--out", "best.csv")
    assert pl.read_csv("best.csv")["user"].to_list() == ["3", "3", "history 1", "history 1"]


def test_ids_are_printed_as_they_are(recommend):
    """Neither cut nor read as a colour."""
    out, _ = recommend("--user", "[bold]3", "-k", 1, run="marks")
    text = "".join(out.split())
    assert "[bold]3" in text
    assert "-and-so-on" * 3 in text
    assert "…" not in text


def test_a_run_needs_nothing_but_its_folder(runs, recommend, folder):
    copy = folder / "copy"
    copy.mkdir()
    for path in (runs / "numbers").glob("*.*"):
        (copy / path.name).write_bytes(path.read_bytes())
    wanted, _ = recommend("--user", 12)
    assert recommend("--user", 12, run=str(copy))[0] == wanted


# --- why ---


@pytest.fixture(scope="module")
def explained(runs) -> Path:
    """Runs of models with interests, and of one that knows users by number."""
    log = runs / "numbers.csv"
    for name, options in {
        "comirec-sa": ["--set", "model.interests=2"],
        "timirec": ["--set", "model.interests=2"],
        "mf": ["--windows", "interactions"],
    }.items():
        with pytest.raises(SystemExit) as done:
            cli.main(["fit", str(log), "--model", name, "--out", str(runs / name), *TINY, *options])
        assert done.value.code == 0
    return runs


@pytest.fixture
def told(explained, capsys):
    """Run a command on a run; return its exit code and what was printed to each stream."""

    def call(command: str, run: str, *arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            cli.main([command, str(explained / run), *map(str, arguments)])
        return done.value.code, *capsys.readouterr()

    return call


def service_of(runs: Path, run: str):
    return open_run(runs / run).recommender()


def lines_of(out: str) -> list[list[str]]:
    return [line.split() for line in out.replace(", ", ",").splitlines()]


def test_why_is_printed(explained, told):
    code, out, err = told("recommend", "timirec", "--user", 12, "-k", 3, "--why")
    assert (code, err) == (0, "")
    names, *rows = lines_of(out)
    assert names == ["user", "rank", "item", "score", "interest", "contribution"]
    wanted = service_of(explained, "timirec").recommend([12], 3, why=True)
    assert rows == [
        [str(u), str(r), i, f"{score:.4f}", str(interest), f"{share:.4f}"]
        for u, r, i, score, interest, share in wanted.iter_rows()
    ]


def test_columns_without_a_value_are_not_printed(told):
    _, out, _ = told("recommend", "comirec-sa", "--user", 12, "-k", 3, "--why")
    assert lines_of(out)[0] == ["user", "rank", "item", "score", "interest"]
    _, out, _ = told("interests", "comirec-sa", "--user", 12)
    assert lines_of(out)[0] == ["user", "interest", "items"]


def test_why_is_written(explained, told):
    told("recommend", "comirec-sa", "--history", "i1,i2", "--why", "--out", "why.parquet")
    wanted = service_of(explained, "comirec-sa").recommend(
        histories={"history 1": ["i1", "i2"]}, why=True
    )
    assert_frame_equal(pl.read_parquet("why.parquet"), wanted, rel_tol=1e-6)
    assert wanted["contribution"].null_count() == len(wanted)


def test_interests_are_printed(explained, told):
    code, out, err = told("interests", "timirec", "--user", 12, "--history", "i7", "--items", 2)
    assert (code, err) == (0, "")
    names, *rows = lines_of(out.replace("history 1", "history-1"))
    assert names == ["user", "interest", "weight", "items"]
    wanted = service_of(explained, "timirec").interests(
        [12], histories={"history-1": ["i7"]}, items=2
    )
    assert rows == [
        [str(user), str(interest), f"{weight:.4f}", ",".join(items)]
        for user, interest, weight, items in wanted.iter_rows()
    ]
    assert len(rows) == 4


@pytest.mark.parametrize("ending", READ)
def test_interests_are_written(explained, told, folder, ending):
    (folder / "users.txt").write_text("12\n3\n")
    code, out, err = told(
        "interests", "timirec", "--users-file", "users.txt", "--keep-seen", "--out", f"best{ending}"
    )
    assert (code, out, err) == (0, "", "")
    found = READ[ending](f"best{ending}")
    wanted = service_of(explained, "timirec").interests([12, 3], mask_seen=False)
    assert found["weight"].to_list() == pytest.approx(wanted["weight"].to_list())
    lists = found["items"].str.split(",") if ending == ".csv" else found["items"]
    assert lists.to_list() == wanted["items"].to_list()


@pytest.mark.parametrize(
    ("command", "run", "arguments", "text"),
    [
        ("interests", "numbers", ["--user", 12], "SASRec has one vector for a user"),
        ("recommend", "numbers", ["--user", 12, "--why"], "SASRec has one vector for a user"),
        ("interests", "timirec", [], "give --user, --users-file or --history"),
        ("interests", "timirec", ["--user", 12, "--out", "best.xls"], "the ending must be one of"),
        ("recommend", "mf", ["--history", "i1"], "the history of 'history 1' cannot be used: MF"),
        ("recommend", "mf", ["--user", 99], "MF knows users by their number"),
    ],
)
def test_what_cannot_be_told_is_one_line(told, command, run, arguments, text):
    code, out, err = told(command, run, *arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert text in line


def test_unknown_users_of_a_file_are_left_out_and_said(runs, recommend, folder):
    Path("users.txt").write_text("3\nann\n99\n3\n 5\nann\n3.0\n03\n")
    _, err = recommend("--users-file", "users.txt", "--out", "best.csv", "-k", "4")
    assert err == (
        "note: 3 of 5 users of users.txt are not in the log and are left out: 'ann', '99', '03'\n"
    )
    best = pl.read_csv("best.csv").with_columns(pl.col("score").cast(pl.Float32))
    assert_frame_equal(best, direct(runs, 3, 5, k=4))


def test_users_named_twice_count_once(runs, recommend):
    Path("users.txt").write_text("3\n5\n")
    recommend("--user", "5", "--user", "3", "--users-file", "users.txt", "--out", "best.csv")
    assert pl.read_csv("best.csv")["user"].unique(maintain_order=True).to_list() == [5, 3]
    assert len(pl.read_csv("best.csv")) == len(direct(runs, 5, 3))


STRANGERS = {
    "--users-file some.txt --unknown error": "unknown users: '99'",
    "--users-file none.txt": "no user of none.txt is in the log of the run: '98', '99'",
    "--users-file some.txt --user 99": "unknown users: '99'",
    "--users-file some.txt --unknown perhaps": "--unknown must be skip or error, got 'perhaps'",
}


@pytest.mark.parametrize("options", STRANGERS)
def test_unknown_users_that_stop_all(runs, folder, capsys, options):
    Path("some.txt").write_text("3\n99\n")
    Path("none.txt").write_text("98\n99\n")
    command = ["recommend", str(runs / "numbers"), *options.split(), "--out", "best.csv"]
    with pytest.raises(SystemExit) as done:
        cli.main(command)
    assert done.value.code == 2
    assert f"error: {STRANGERS[options]}" in capsys.readouterr().err
    assert not Path("best.csv").exists()


def test_all_users_in_parts(runs, recommend, folder):
    recommend("--all-users", "--out", "all", "-k", "3", "--users-per-part", "7")
    found = pl.read_parquet(folder / "all" / "lists" / "*.parquet")
    wanted = direct(runs, *range(20), k=3)
    assert_frame_equal(found.sort("user", "rank"), wanted.sort("user", "rank"), abs_tol=1e-6)
    assert len(list((folder / "all" / "users").glob("*.parquet"))) == 3
    recommend("--all-users", "--out", "all", "-k", "3", "--users-per-part", "7")  # complete


@pytest.mark.parametrize("more", [["--user", "1", "--out", "all"], ["--why", "--out", "all"], []])
def test_all_users_are_all_and_go_to_a_folder(runs, capsys, more):
    with pytest.raises(SystemExit) as done:
        cli.main(["recommend", str(runs / "numbers"), "--all-users", *more])
    assert done.value.code == 2
    assert "--user" in capsys.readouterr().err or not more
