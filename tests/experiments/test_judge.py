"""`softrec evaluate --lists`: lists of any system are judged as softrec judges its own."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

import softrec
from messages import refused
from softrec.cli import main as cli
from softrec.data.interactions import Interactions
from softrec.data.ranked_lists import read_lists
from softrec.errors import DataError, RecipeError
from softrec.recipe.recipe import read_recipe

TINY = {"epochs": 2, "batch_size": 32, "length": 5, "model.dim": 8, "progress": False}
USERS = [f"u{n:02}" for n in range(40)]


def log_frame(repeats: bool = False) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    items = (rng.integers(25, size=(40, 1)) + np.arange(8)) % 25
    if repeats:
        items = rng.integers(6, size=(40, 8))
    return pl.DataFrame(
        {"user": np.repeat(USERS, 8), "item": [f"i{item:02}" for item in items.ravel()]}
    )


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log_frame().write_csv("log.csv")
    return tmp_path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the log, with its lists of the test users."""
    out = tmp_path_factory.mktemp("own") / "run"
    return softrec.fit(log_frame(), out=out, model="gru4rec", **TINY)


@pytest.fixture(scope="module")
def lists(run):
    return run.recommender("test").recommend(users=USERS, k=20)


def judged(lists, *arguments, **options):
    options = {"out": "judged", "baselines": False, "progress": False} | options
    return softrec.evaluate_lists(lists, *arguments, **options)


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [False, True], ids=["new items", "all items"])
def test_lists_of_a_run_have_its_metrics(folder, repeats):
    """The round trip: exported, and judged against the run they are of."""
    own = softrec.fit(log_frame(repeats), out="run", model="gru4rec", target="uniform", **TINY)
    own.recommender("test").recommend(users=USERS, k=20).write_parquet("theirs.parquet")
    found = judged("theirs.parquet", against=own)
    reference, theirs = found.results.variants
    assert [reference.name, theirs.name] == ["run", "theirs"]
    assert own.mask_seen is not repeats
    for metric, value in own.test.items():
        assert theirs.test[metric].mean == reference.test[metric].mean == value
        assert theirs.difference[metric].ties == 40
    for name, value in own.lists.items():
        if name != "k":
            assert theirs.lists[name].mean == value
    tables = pl.read_parquet("judged/per_user.parquet").partition_by("target", include_key=False)
    assert tables[0].equals(tables[1])
    assert tables[0].drop("seed").equals(own.per_user.select(tables[0].drop("seed").columns))


@pytest.mark.slow
def test_a_run_whose_log_had_items_set_aside_is_a_reference():
    """The copy of the log in the run has them no more; its data are the same ones."""
    log = log_frame()
    last = pl.int_range(pl.len()).reverse() == 0
    cold = log.with_columns(
        item=pl.when((pl.col("user") == USERS[0]) & last.over("user"))
        .then(pl.lit("only here")).otherwise("item")
    )  # fmt: skip
    own = softrec.fit(cold, out="run", model="popularity")
    assert own.facts["data"]["set_aside"]["cold_events"] == 1
    own.recommender("test").recommend(users=USERS[1:], k=20).write_parquet("theirs.parquet")
    reference, theirs = judged("theirs.parquet", against="run").results.variants
    assert reference.test["ndcg@10"].mean == theirs.test["ndcg@10"].mean


@pytest.mark.slow
def test_every_form_of_the_same_lists_has_the_same_metrics(lists, run):
    """Ranks, scores, arrays; Parquet, CSV, JSON and JSON lines; a table in memory."""
    arrays = lists.group_by("user", maintain_order=True).agg("item")
    lists.select("user", "item", "rank").write_csv("ranks.csv")
    shuffled = lists.sample(fraction=1, shuffle=True, seed=0)
    shuffled.select(pl.col("user").alias("user_id"), "item", "score").write_parquet(
        "scores.parquet"
    )
    arrays.write_ndjson("arrays.jsonl")
    lists.write_json("ranks.json")
    forms = {
        "ranks": "ranks.csv", "scores": "scores.parquet", "arrays": "arrays.jsonl",
        "json": "ranks.json", "memory": shuffled, "pandas": lists.to_pandas(),
    }  # fmt: skip
    found = judged(forms, "log.csv")
    for variant in found.results.variants:
        assert {m: v.mean for m, v in variant.test.items()} == run.test, variant.name
        assert variant.kind == "listed"
    page = (found.folder / "report.html").read_text()
    assert "How good are the lists?" in page


def test_several_tables_of_one_name_are_trainings(lists):
    few = [lists.drop("rank").sample(fraction=0.8, seed=seed) for seed in range(4)]
    found = judged({"a": few[:2], "b": few[2:]}, log_frame())
    a, b = found.results.variants
    assert a.trainings == b.trainings == 2
    difference = b.difference["ndcg@10"]
    assert difference.low <= difference.mean <= difference.high
    assert difference.low < difference.low_users


@pytest.mark.slow
def test_simple_baselines_and_slices_stand_beside(lists):
    lists.write_parquet("theirs.parquet")
    table = pl.DataFrame({"user": USERS, "half": ["a", "b"] * 20})
    found = judged("theirs.parquet", "log.csv", baselines=True, user_table=table)
    names = [variant.name for variant in found.results.counted]
    assert {"popularity", "item-knn", "markov"} <= set(names)
    assert found.results.simple.trained == "theirs"
    assert found.results.simple.counted in names
    assert any(each.slicing == "user: half" for each in found.results.slices)
    first = pl.read_parquet("theirs.parquet").filter(pl.col("rank") == 1)
    assert judged({"b": first}, "log.csv", against={"a": lists}, baselines=True, out="few",
                  overwrite=True).results.simple.trained == "b"  # fmt: skip
    own = found.results.baseline_variant
    for slicing in ("user: half", "history length"):
        inside = [e for e in found.results.slices if (e.slicing, e.variant) == (slicing, "theirs")]
        mean = sum(e.n * e.mean for e in inside) / sum(e.n for e in inside)
        assert mean == pytest.approx(own.test["ndcg@10"].mean)


@pytest.mark.slow
def test_a_run_is_judged_by_a_log_and_by_its_own_name(run, monkeypatch, lists):
    found = judged(run.folder, "log.csv", baselines=True)
    assert found.results.simple.trained == "run"
    monkeypatch.chdir(run.folder)
    theirs = judged(lists, against=".", out=run.folder.parent / "beside").results
    assert [each.name for each in theirs.variants] == ["run", "lists"]


@pytest.mark.slow
def test_a_changed_run_is_trusted_where_the_user_says_so(run, capsys, lists, tmp_path):
    shutil.copytree(run.folder, "own")
    lists.write_parquet("theirs.parquet")
    path = tmp_path / "own" / "per_user.parquet"
    pl.read_parquet(path).with_columns(pl.lit(1).alias("mine")).write_parquet(path)
    call = ["evaluate", "--lists", "theirs.parquet", "--against", "own", "--no-baselines",
            "--out", "a"]  # fmt: skip
    for more, code in (([], 2), (["--trust"], 0)):
        with pytest.raises(SystemExit) as done:
            cli.main(call + more)
        assert done.value.code == code
    assert "--trust" in capsys.readouterr().err


def test_what_is_noticed_is_told_with_counts():
    """By hand: one list is short, of one the user is unknown, of one an item; ..."""
    log = log_frame()
    last = log.group_by("user", maintain_order=True).last()
    first = log.group_by("user", maintain_order=True).first()
    rows = [("u00", last["item"][0], 3.0), ("u00", "i-new", 4.0), ("u00", first["item"][0], 5.0)]
    rows += [("u01", "i-other", 1.0), ("u01", last["item"][1], 1.0), ("nobody", "i01", 1.0)]
    theirs = pl.DataFrame(rows, schema=["user", "item", "score"], orient="row")
    found = judged(theirs, log, metrics="mrr@10, recall@1")
    values = found.results.variants[0].test
    assert values["mrr@10"].mean == pytest.approx((1 / 2 + 1 / 2) / 40)
    assert values["recall@1"].mean == 0
    assert found.results.selection.metric == "mrr@10"
    notes = "\n".join(found.results.notes)
    for sentence in (
        "1 user is not in the log and left out: 'nobody'",
        "38 of 40 test users have no list, which counts as no hit: 'u02', 'u03', 'u04' (and 35 "
        "more)",
        "1 listed item stands in the history of the user, where new items are asked for; such an "
        "item is left out",
        "2 listed items are not in the catalogue; such an item keeps its place and is no hit: "
        "'i-new'",
        "2 of 2 lists have fewer than 10 items",
        "2 listed items have the score of another item",
    ):
        assert sentence in notes


def test_lists_without_any_hit_are_noticed():
    log = log_frame()
    first = log.group_by("user", maintain_order=True).first().with_columns(rank=1)
    found = judged(first, log)
    assert "no list has a relevant item" in "\n".join(found.results.notes)


def test_a_metric_given_twice_counts_once_and_the_first_one_decides(run, lists):
    for against, out in (({}, "one"), ({"against": run}, "two")):
        data = [] if against else [log_frame()]
        given = "recall@10, recall@10,ndcg@10"
        found = judged(lists, *data, metrics=given, out=out, **against).results
        assert found.metrics == ("recall@10", "ndcg@10")
        assert found.selection.metric == "recall@10"
    assert run.recipe.training.monitor == "ndcg@10"
    assert list(run.evaluate(metrics=given)) == ["recall@10", "ndcg@10"]
    fields = {"data": {"source": "shop"}, "evaluation": {"metrics": given}}
    assert read_recipe(fields).evaluation.metrics == ("recall@10", "ndcg@10")


def test_unknown_items_are_counted_and_named_alike():
    """Each once, of the users that are asked about."""
    rows = [(user, f"x{n}", 9.0 - n) for user in USERS[:2] for n in range(3)]
    rows += [("nobody", "y", 1.0), (USERS[0], "i01", 0.5)]
    theirs = pl.DataFrame(rows, schema=["user", "item", "score"], orient="row")
    notes = "\n".join(judged({"a": [theirs, theirs]}, log_frame()).results.notes)
    assert "3 listed items are not in the catalogue" in notes
    assert "is no hit: 'x0', 'x1', 'x2'." in notes
    assert "the lists a (training 2 of a): 1 user is not in the log" in notes


ROWS = {"user": ["u00", "u00"], "item": ["i01", "i02"]}
WRONG = {
    "no order": ROWS,
    "no user": {"who": ["u00"], "item": ["i01"], "rank": [1]},
    "twice": {**ROWS, "item": ["i01", "i01"], "score": [1.0, 2.0]},
    "ranks from 0": {**ROWS, "rank": [0, 1]},
    "a gap": {**ROWS, "rank": [1, 3]},
    "equal ranks": {**ROWS, "rank": [1, 1]},
    "no number": {**ROWS, "score": ["1", "high"]},
    "null": {**ROWS, "score": [1.0, None]},
    "no known item": {**ROWS, "item": ["x", "y"], "rank": [1, 2]},
    "no known user": {**ROWS, "user": ["x", "y"], "rank": [1, 1]},
    "two arrays": {"user": ["u00", "u00"], "items": [["i01"], ["i02"]]},
    "arrays with scores": {"user": ["u00"], "items": [["i01"]], "score": [1.0]},
    "an item missing": {**ROWS, "item": ["i01", None], "rank": [1, 2]},
    "nothing": {"user": [], "item": [], "rank": []},
    "empty arrays": {"user": ["u00"], "items": [[]]},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_lists_are_refused(wrong):
    with refused(DataError):
        read_lists(pl.DataFrame(WRONG[wrong]), Interactions.read(log_frame()))


def test_ids_are_those_of_the_log():
    """'007' stays a text where the log has texts; 7 finds '7' where a file has texts alone."""
    numbered = Interactions.read(pl.DataFrame({"user": [1, 1, 2], "item": [7, 8, 7]}))
    pl.DataFrame({"user": [2], "item": [8], "rank": [1]}).write_csv("lists.csv")
    found = read_lists("lists.csv", numbered)
    assert (found.user.tolist(), found.item.tolist()) == ([1], [1])
    text = Interactions.read(pl.DataFrame({"user": ["01", "1"], "item": ["007", "7"]}))
    pl.DataFrame({"user": ["01"], "item": ["007"], "rank": [1]}).write_csv("lists.csv")
    found = read_lists("lists.csv", text)
    assert (found.user.tolist(), found.item.tolist()) == ([0], [0])


def test_what_does_not_go_together_is_refused(lists, run):
    with refused(RecipeError):
        judged(lists)
    with refused(RecipeError):
        judged(lists, against=run, split="time")
    with refused(RecipeError):
        judged(lists, log_frame(), **{"evaluation.negatives": 5})
    with refused(RecipeError):
        judged({"a": [lists, run]}, log_frame())
    for nothing in ([], {}, {"a": lists, "b": []}):
        with refused(RecipeError):
            judged(nothing, log_frame())
    with refused(DataError):
        judged(lists, log_frame().filter(pl.col("user") < "u10"), against=lists.tail(20))
    for empty in ("", "a=", {"a": " "}):
        with refused(RecipeError):
            judged(empty, log_frame())
    lists.write_parquet("run.parquet")
    with refused(RecipeError):
        judged("run.parquet", against=run)
    assert not (run.folder.parent / "judged").exists()


@pytest.mark.slow
def test_on_the_command_line(lists, capsys, folder):
    lists.write_parquet("theirs.parquet")
    lists.filter(pl.col("rank") <= 5).write_csv("few.csv")

    def call(*arguments, code=0):
        with pytest.raises(SystemExit) as done:
            cli.main(list(arguments))
        out, err = capsys.readouterr()
        assert done.value.code == code, err
        return out + err

    common = ("evaluate", "--lists", "theirs.parquet", "--lists", "short=few.csv")
    told = call(*common, "--data", "log.csv", "--no-baselines", "--metrics", "recall@10,ndcg@5",
                "--out", "a")  # fmt: skip
    assert "lists have fewer than 10 items" in told
    assert "The report is a/report.html" in " ".join(told.split())
    plain = json.loads((folder / "a" / "results.json").read_text())
    assert [one["name"] for one in plain["variants"]] == ["theirs", "short"]
    assert plain["selection"]["metric"] == "recall@10"
    whole, short = (one["test"] for one in plain["variants"])
    assert whole["ndcg@5"] == short["ndcg@5"]
    assert whole["recall@10"]["mean"] > short["recall@10"]["mean"]
    assert "--lists need --out" in call(*common, "--data", "log.csv", code=2)
    (folder / "run").mkdir()  # that it is no run is found later
    (folder / "run" / "run.json").write_text("{}")
    assert "--lists are evaluated alone" in call("evaluate", "run", *common[1:], code=2)
    assert "split belongs to --lists" in call("evaluate", "run", "--split", "time", code=2)
    assert "baselines belongs to --lists" in call("evaluate", "run", "--no-baselines", code=2)
    assert "overwrite belongs to --lists" in call("evaluate", "run", "--overwrite", code=2)
    assert "expected the folder of a run" in call("evaluate", code=2)
    assert "leave out --part" in call(*common, "--part", "valid", "--out", "b", code=2)


def test_lists_of_all_test_users_are_exported(run, capsys, lists):
    with pytest.raises(SystemExit) as done:
        cli.main(
            ["recommend", str(run.folder), "--before", "test", "-k", "20", "--out", "l.parquet"]
        )
    assert done.value.code == 0
    assert pl.read_parquet("l.parquet").equals(lists)
