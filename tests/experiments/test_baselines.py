"""Simple baselines beside a comparison: their rows, differences, what is left out, what is said."""

import json
import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

import softrec
from softrec.cli import main as cli
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import leave_last_out
from softrec.evaluation.significance import crossed, holm
from softrec.experiments.baselines import NAMES, simple_recipes, those_that_fit
from softrec.experiments.comparison import open_comparison
from softrec.experiments.differences import against_trained
from softrec.experiments.runs import open_run
from softrec.recipe.recipe import read_recipe
from softrec.recipe.specs.models import MODELS, is_counted
from softrec.report import tables
from softrec.report.results import Results
from softrec.report.rows import rows
from softrec.report.verdict import simple_sentence, verdicts
from softrec.report.write import console_table, render_report

pytestmark = pytest.mark.slow

UNTIMED = [name for name in NAMES if not MODELS[name].fits_times]


def write_log(path):
    draw = np.random.default_rng(0)
    items = (draw.integers(10, size=(20, 1)) + np.arange(6)) % 10
    pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": items.ravel()}).write_csv(path)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    write_log(folder / "log.csv")
    return softrec.compare(
        str(folder / "log.csv"), targets="one-hot,uniform", seeds=2, out=folder / "c", epochs=1,
        length=5, metrics=["ndcg@10", "recall@3"], progress=False, **{"model.dim": 8},
    )  # fmt: skip


def test_all_are_there_but_what_needs_times(found):
    results = found.results
    assert [each.name for each in results.counted] == UNTIMED
    assert [each.name for each in results.trained] == ["one-hot", "uniform (alpha 0.1)"]
    notes = [note for note in results.notes if note.startswith("The simple baseline")]
    for name, note in zip(sorted(set(NAMES).difference(UNTIMED)), notes, strict=True):
        assert f"{name} is left out: {name} reads the times" in note
    assert all(len(each.runs) == 1 and not each.runs[0].curve for each in results.counted)
    assert sorted(path.name for path in (found.folder / "runs").iterdir()) == sorted(
        [*(f"{name}-seed0" for name in UNTIMED), "one-hot-seed0", "one-hot-seed1",
         "uniform--alpha-0.1-seed0", "uniform--alpha-0.1-seed1"]
    )  # fmt: skip


def test_differences_are_against_the_one_hot_row_with_no_variance_of_training(found):
    """From the table of users; Holm over all rows that are compared."""
    users = pl.read_parquet(found.folder / "per_user.parquet")

    def values(name):
        own = users.filter(pl.col("target") == name).sort("seed", "user")
        return own["ndcg@10"].to_numpy().reshape(-1, 20)

    base = values("one-hot")
    expected = {}
    for variant in found.results.variants[1:]:
        own = values(variant.name)
        assert len(own) == (1 if variant.kind == "counted" else 2)
        many = np.repeat(own, 7, axis=0) if variant.kind == "counted" else own
        expected[variant.name] = crossed(base, many)
    adjusted = holm([each.p for each in expected.values()])
    for (name, wanted), p_holm in zip(expected.items(), adjusted, strict=True):
        (variant,) = (each for each in found.results.variants if each.name == name)
        got = variant.difference_in("ndcg@10")
        assert (got.mean, got.low, got.high, got.p, got.p_holm) == pytest.approx(
            (wanted.mean, wanted.low, wanted.high, wanted.p, p_holm)
        )


def test_the_settings_that_were_chosen_are_shown(found):
    for variant in found.results.counted:
        run = open_run(found.folder / "runs" / f"{variant.name}-seed0")
        chosen = run.facts["settings"]
        assert variant.target == {"name": variant.name, **chosen}
        assert variant.test["ndcg@10"].mean == pytest.approx(run.per_user["ndcg@10"].mean())


def test_the_report_has_them_in_a_group_of_their_own(found):
    results = found.results
    for table in (tables.overview(results), tables.of_metric(results, "ndcg@10"),
                  tables.cost(results), tables.targets(results)):  # fmt: skip
        names = [row[0] for row in table.rows]
        assert names == ["one-hot", "uniform (alpha 0.1)", tables.SIMPLE, *UNTIMED]
    page = (found.folder / "report.html").read_text()
    assert page == render_report(results)
    assert page.count(f">{tables.SIMPLE}<") == 4 + len(results.metrics)
    assert simple_sentence(results).replace(">", "&gt;") in page
    assert [row.variant.name for row in rows(results)] == ["one-hot", "uniform (alpha 0.1)"]
    assert [verdict.name for verdict in verdicts(results)] == ["uniform (alpha 0.1)"]
    assert results.seeds == [0, 1]
    told = console_table(results)
    assert told.row_count == 2 + len(UNTIMED)
    assert f"; best simple baseline: {results.simple.counted} " in repr(found)
    assert open_comparison(found.folder).results.simple == results.simple


def test_no_baselines_leaves_them_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "log.csv")
    command = ["compare", "log.csv", "--targets", "one-hot,uniform", "--seeds", "1", "--out", "c",
               "--epochs", "1", "--length", "5", "--set", "model.dim=8"]  # fmt: skip
    with pytest.raises(SystemExit) as done:
        cli.main([*command, "--no-baselines"])
    assert done.value.code == 0
    results = json.loads((tmp_path / "c" / "results.json").read_text())
    assert [each["kind"] for each in results["variants"]] == ["trained", "trained"]
    assert results["simple"] is None
    page = (tmp_path / "c" / "report.html").read_text()
    assert tables.SIMPLE not in page


# --- what is compared ---


def recipe(**changes):
    base = {"data": {"source": "log.csv"}, "model": {"name": "lightgcn"}, "seed": 4,
            "target": {"name": "uniform", "alpha": 0.2},
            "loss": {"name": "mixed", "score": "cosine"},
            "training": {"length": 1, "windows": "interactions", "lr": 0.1, "monitor": "mrr@5"},
            "evaluation": {"metrics": ["mrr@5"], "mask_seen": False, "score": "inner"}}  # fmt: skip
    return read_recipe(base | changes)


def test_they_are_judged_as_the_others_and_read_500_items_at_least():
    for name, made in simple_recipes(recipe()).items():
        assert is_counted(name)
        assert made.evaluation.metrics == ("mrr@5",)
        assert (made.training.length, made.training.monitor, made.seed) == (500, "mrr@5", 4)
    longer = recipe(training={"length": 700, "monitor": "mrr@5"}, model={"name": "gru4rec"})
    assert {each.training.length for each in simple_recipes(longer).values()} == {700}


def test_a_large_catalogue_leaves_ease_out():
    wide = Interactions.from_sequences(
        Sequences.of([range(10_001), *([[0, 1, 2]] * 3), [*range(10_001)][::-1]])
    )
    fitting, notes = those_that_fit(simple_recipes(recipe()), leave_last_out(wide))
    assert list(fitting) == [name for name in UNTIMED if name != "ease"]
    said = "ease needs 1.9 GiB for 10,001 items, and accepts at most 10,000 items"
    assert any(said in note for note in notes)


# --- the best of both ---


def run_of(valid, users):
    return SimpleNamespace(valid={"m": valid}, per_user=pl.DataFrame({"m": users}))


def test_both_are_chosen_on_validation():
    """Not by the test part, where others are better."""
    draw = np.random.default_rng(0)
    users = [draw.random(30) for _ in range(6)]
    trained = [[run_of(0.1, users[0] + 9), run_of(0.2, users[1] + 9)],
               [run_of(0.3, users[2]), run_of(0.2, users[3])]]  # fmt: skip
    counted = [[run_of(0.5, users[4])], [run_of(0.4, users[5] + 9)]]
    best, simple, difference = against_trained(trained, counted, "m")
    assert (best, simple) == (1, 0)
    expected = crossed(np.stack(users[2:4]), np.stack([users[4]] * 5))
    assert (difference.mean, difference.low, difference.p) == pytest.approx(
        (expected.mean, expected.low, expected.p)
    )


@pytest.mark.parametrize(
    ("mean", "p", "words"),
    [
        (0.1, 0.001, "A simple baseline, item-knn, is better: "),
        (0.1, 0.2, "A simple baseline, item-knn, is as good, for all one sees: "),
        (-0.1, 0.2, "A simple baseline, item-knn, is as good, for all one sees: "),
        (-0.1, 0.001, "The best simple baseline, item-knn, is beaten: "),
        (
            0.1,
            math.nan,
            "The best simple baseline, item-knn, is higher than the best trained row: ",
        ),
        (-0.1, math.nan, "The best simple baseline, item-knn, is not higher than the best"),
    ],
)
def test_the_sentence_says_who_is_better(found, mean, p, words):
    simple = found.results.simple
    changed = simple.difference.model_copy(update={"mean": mean, "p": p})
    results = found.results.model_copy(
        update={"simple": simple.model_copy(update={"counted": "item-knn", "difference": changed})}
    )
    assert simple_sentence(results).startswith(words)


def test_without_baselines_nothing_is_said(found):
    assert simple_sentence(found.results.model_copy(update={"simple": None})) == ""


def test_results_of_before_are_read(found):
    plain = found.results.as_json()
    plain.pop("simple")
    for variant in plain["variants"]:
        variant.pop("kind")
    assert [each.kind for each in Results.model_validate(plain).variants][-1] == "trained"
