"""Rules, titles and similar items on the command line: what is printed, what is refused."""

import json
from pathlib import Path

import polars as pl
import pytest

from softrec.cli import main as cli
from softrec.experiments.train import open_run


def called(capsys, *arguments) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as done:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return done.value.code, captured.out, captured.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The files of a shop, a run with a table of its items, and one without."""
    place = tmp_path_factory.mktemp("shop")
    shop = ["--set", "n_items=40", "--set", "n_users=40", "--set", "n_categories=5"]
    for arguments in (
        ["data", "shop", "-o", place / "log.csv", "--items", place / "items.csv", *shop],
        ["fit", place / "log.csv", "--items", place / "items.csv", "--model", "comirec-sa",
         "--epochs", 1, "--length", 5, "--set", "model.dim=8", "--split", "time",
         "--out", place / "run"],
        ["fit", place / "log.csv", "--model", "item-knn", "--split", "time", "-o", place / "bare"],
    ):  # fmt: skip
        with pytest.raises(SystemExit) as done:
            cli.main([str(argument) for argument in arguments])
        assert done.value.code == 0
    return place


@pytest.fixture
def printed(folder, capsys):
    """Call a command on a run; return the rows of what was printed, by its words."""

    def call(command, *arguments, run="run") -> list[list[str]]:
        code, out, err = called(capsys, command, folder / run, *arguments)
        assert code == 0, err
        return [line.split() for line in out.splitlines()]

    return call


@pytest.fixture
def refusal(folder, capsys):
    """Call a command on a run; return the one line of its error."""

    def call(command, *arguments, run="run") -> str:
        code, out, err = called(capsys, command, folder / run, *arguments)
        assert (code, out) == (2, "")
        (line,) = err.splitlines()
        return line

    return call


def direct(folder, run="run", **options):
    return open_run(folder / run).recommender(**options)


def test_a_shop_is_written_again_as_it_was(folder, tmp_path, capsys):
    shop = ["--set", "n_items=40", "--set", "n_users=40", "--set", "n_categories=5"]
    called(capsys, "data", "shop", "-o", tmp_path / "log.csv", *shop)
    assert (tmp_path / "log.csv").read_bytes() == (folder / "log.csv").read_bytes()
    table = pl.read_csv(folder / "items.csv")
    assert table.columns == ["id", "title", "category", "price", "stock"]
    assert set(pl.read_csv(folder / "log.csv")["item"]) <= set(table["id"])


def test_titles_are_printed_beside_ids(folder, printed):
    names, *rows = printed("recommend", "--user", 3, "-k", 4, "--why")
    assert names == ["user", "rank", "item", "title", "score", "interest"]
    titles = dict(pl.read_csv(folder / "items.csv").select("id", "title").rows())
    assert [" ".join(row[3:-2]) for row in rows] == [titles[row[2]] for row in rows]
    names, *_ = printed("interests", "--user", 3, "--items", 2)
    assert names == ["user", "interest", "items", "titles"]


def test_rules_of_options(folder, printed):
    table = pl.read_csv(folder / "items.csv").filter(pl.col("stock") > 0)
    some = table["id"].to_list()
    rules = {"where": "stock > 0", "allow": some[:20], "block": some[:2], "pinned": some[4:6]}
    rules["at_most"] = {"category": 1}
    _, *rows = printed(
        "recommend", "--history", f"{some[-1]},{some[-2]}", "-k", 5, "--where", "stock > 0",
        "--allow", ", ".join(some[:10]), "--allow", ",".join(some[10:20]), "--block", some[0],
        "--block", some[1], "--at-most", "category=1", "--pin", f"{some[4]},{some[5]}",
    )  # fmt: skip
    wanted = direct(folder).recommend(histories=[some[-1], some[-2]], k=5, rules=rules)
    kinds = dict(table.select("id", "category").rows())
    assert [row[3] for row in rows] == wanted["item"].to_list()
    assert len({kinds[row[3]] for row in rows}) == len(rows) > 1


def test_rules_of_a_file_and_options_in_their_place(folder, printed, tmp_path):
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"where": "stock > 0", "at_most": {"category": 1}}))
    _, *rows = printed("recommend", "--user", 3, "-k", 4, "--rules", file, "--at-most", "id=1")
    wanted = direct(folder).recommend(["3"], 4, rules={"where": "stock > 0"})
    assert [row[2] for row in rows] == wanted["item"].to_list()


def test_a_table_can_be_given_later(folder, printed, refusal):
    arguments = ["recommend", "--user", 3, "-k", 4, "--where", "stock = 0"]
    assert "--items" in refusal(*arguments, run="bare")
    _, *rows = printed(*arguments, "--items", folder / "items.csv", run="bare")
    gone = pl.read_csv(folder / "items.csv").filter(pl.col("stock") == 0)["id"].to_list()
    assert {row[2] for row in rows} <= set(gone)


def test_similar_items(folder, printed):
    item, other = open_run(folder / "run").log.items.raw[:2]
    service = direct(folder)
    _, *rows = printed("similar", "--item", item, "--item", other, "-k", 3)
    wanted = service.similar([item, other], 3)
    assert [(row[0], row[2]) for row in rows] == wanted.select("similar_to", "item").rows()
    _, *rows = printed("similar", "--history", f"{item}:2.5, {other}", "-k", 3)
    wanted = service.similar([item, other], 3, weights=[2.5, 1])
    assert [row[3] for row in rows] == wanted["item"].to_list()
    names, *_ = printed("similar", "--item", item, run="bare")
    assert names == ["similar_to", "rank", "item", "score"]


def test_an_id_may_have_a_colon(folder, tmp_path, capsys):
    frame = pl.read_csv(folder / "log.csv").with_columns(pl.col("item").str.replace("-", ":"))
    frame.write_csv(tmp_path / "log.csv")
    called(capsys, "fit", tmp_path / "log.csv", "--model", "markov", "--split", "time",
           "-o", tmp_path / "run")  # fmt: skip
    item = frame["item"].mode()[0]
    for history in (item, f"{item}:2"):
        code, out, _ = called(capsys, "similar", tmp_path / "run", "--history", history)
        assert code == 0
        assert {line.split()[0] for line in out.splitlines()[1:]} == {item}


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("recommend", ["--user", 3, "--at-most", "category"], "--at-most"),
        ("recommend", ["--user", 3, "--at-most", "category=few"], "--at-most"),
        ("recommend", ["--user", 3, "--rules", "missing.json"], "missing.json"),
        ("recommend", ["--user", 3, "--items", "missing.csv"], "missing.csv"),
        ("recommend", ["--user", 3, "--where", "colour = 'red'"], "category"),
        ("recommend", ["--user", 3, "--where", "id in (select id from x)"], "select"),
        ("recommend", ["--user", 3, "--pin", "tea"], "tea"),
        ("recommend", ["--user", 3, "--allow", ""], "allow"),
        ("recommend", ["--user", 3, "--where", ""], "where"),
        ("similar", [], "--item"),
        ("similar", ["--item", "tea"], "tea"),
        ("similar", ["--item", "sku-0001", "--history", "sku-0002"], "--item"),
        ("similar", ["--history", "sku-0002:many"], "many"),
    ],
)
def test_what_is_refused(refusal, command, arguments, words):
    assert words in refusal(command, *arguments)


@pytest.mark.parametrize("text", ["[1, 2]", "{", '{"blok": ["tea"]}'])
def test_files_of_rules_that_cannot_be_read(refusal, tmp_path, text):
    (tmp_path / "rules.json").write_text(text)
    assert "rules" in refusal("recommend", "--user", 3, "--rules", tmp_path / "rules.json")


def test_the_table_of_items_is_not_written_over(folder, refusal):
    items = folder / "items.csv"
    before = items.read_bytes()
    refusal("recommend", "--user", 3, "--items", items, "--out", items)
    assert items.read_bytes() == before
