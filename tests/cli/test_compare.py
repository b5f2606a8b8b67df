"""`softrec compare`: several targets, the same data and budget, and what is written about it."""

import inspect
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import stats

import softrec
from softrec.cli import main as cli
from softrec.evaluation.significance import crossed
from softrec.experiments.compare import compare_targets
from softrec.experiments.train import open_run
from softrec.report import Results, verdicts
from softrec.training.module import SoftTargetModule

pytestmark = pytest.mark.slow

TINY = ["--epochs", "2", "--batch-size", "16", "--length", "5",
        "--set", "model.dim=8", "--set", "evaluation.metrics=[ndcg@10,recall@3]",
        # Few users: two trainings may rank alike, which the numbers of a processor do not.
        "--set", "training.accelerator=cpu"]  # fmt: skip
COMMAND = ["compare", "log.csv", "--targets", "one-hot,uniform,pop+(alpha=0.6)", "--seeds", "2",
           "--lr", "0.03", "--out", "table", "--no-baselines", *TINY]  # fmt: skip
PLAIN = ["compare", "--no-baselines"]  # simple baselines have tests of their own
OTHER = ["0.1" if word == "0.03" else word for word in COMMAND]
NAMES = ["one-hot", "uniform (alpha 0.1)", "pop+ (alpha 0.6)"]


def write_log(folder: Path) -> None:
    generator = np.random.default_rng(0)
    items = (generator.integers(10, size=(20, 1)) + np.arange(6)) % 10
    frame = pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": items.ravel()})
    frame.write_csv(folder / "log.csv")


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main([str(argument) for argument in arguments])
    assert done.value.code == 0


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """A finished comparison."""
    folder = tmp_path_factory.mktemp("compared")
    write_log(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(*COMMAND)
    return folder / "table"


@pytest.fixture(scope="module")
def results(table) -> dict:
    return json.loads((table / "results.json").read_text())


@pytest.mark.slow
def test_writes_a_report_its_numbers_and_the_users(table, results):
    assert {"report.html", "results.json", "per_user.parquet"} <= {p.name for p in table.iterdir()}
    assert not table.with_name("table.part").exists()
    page = (table / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html")
    assert all(name in page for name in NAMES)
    assert [variant["name"] for variant in results["variants"]] == NAMES
    assert results["baseline"] == NAMES[0]


def test_slices_are_those_of_the_users(table, results):
    """By hand from the table of users: the means of those whose label is in a decile."""
    assert pl.read_parquet(table / "slices.parquet").height == len(results["slices"])
    metric, one = results["selection"]["metric"], results["baseline"]
    split = open_run(next((table / "runs").glob("one-hot*seed0"))).split()
    n_items = split.train.n_items
    events = Counter(split.train.frame["item"].to_list())
    by_events = sorted(range(n_items), key=lambda item: (-events[item], item))
    raw = split.test.users.raw
    decile = {
        raw[user]: str(1 + 10 * by_events.index(item) // n_items)
        for user, item in split.test.frame.select("user", "item").iter_rows()
    }
    users = pl.read_parquet(table / "per_user.parquet")
    users = users.with_columns(slice=pl.Series([decile[user] for user in users["user"]]))
    means = {
        (name, variant): (mean, number)
        for name, variant, mean, number in users.group_by("slice", "target")
        .agg(pl.mean(metric).alias("mean"), pl.len())
        .iter_rows()
    }
    rows = [row for row in results["slices"] if row["slicing"] == "label popularity"]
    assert len(rows) == len(means) >= 6
    for row in rows:
        mean, number = means[row["slice"], row["variant"]]
        assert row["mean"] == pytest.approx(mean)
        assert row["n"] * 2 == number  # seeds
        if row["variant"] != one:
            base, _ = means[row["slice"], one]
            assert row["difference"] == pytest.approx(mean - base, abs=1e-12)
    assert "by slice of the test cases" in (table / "report.html").read_text()


def test_means_are_those_of_the_users(table, results):
    users = pl.read_parquet(table / "per_user.parquet")
    assert users.height == 3 * 2 * 20
    for variant in results["variants"]:
        for metric in ("ndcg@10", "recall@3"):
            mine = users.filter(pl.col("target") == variant["name"])
            seeds = mine.group_by("seed", maintain_order=True).agg(pl.col(metric).mean())
            test = variant["test"][metric]
            assert test["per_seed"] == pytest.approx(seeds[metric].to_list())
            assert test["mean"] == pytest.approx(mine[metric].mean())


def by_user(table: Path, name: str, metric: str) -> np.ndarray:
    """The metric of each seed and user, (2, 20), users in the order of their ids."""
    users = pl.read_parquet(table / "per_user.parquet").filter(pl.col("target") == name)
    wide = users.pivot("user", index="seed", values=metric).sort("seed")
    return wide.select(sorted(wide.columns[1:], key=int)).to_numpy()


def test_the_runs_that_are_compared_differ(table):
    """Else every difference is 0, and the tests below see nothing."""
    means = [by_user(table, name, "ndcg@10").mean(axis=1) for name in NAMES]
    assert len(np.unique(means, axis=0)) == len(NAMES) == 3
    assert all(first != second for first, second in means)
    assert by_user(table, NAMES[0], "ndcg@10").std() > 0.05


def test_differences_are_over_all_users_and_seeds(table, results):
    metric = "ndcg@10"
    baseline = by_user(table, "one-hot", metric)
    assert results["variants"][0]["difference"] is None
    for variant in results["variants"][1:]:
        values, found = by_user(table, variant["name"], metric), variant["difference"][metric]
        gains = values.mean(axis=0) - baseline.mean(axis=0)
        assert abs(gains.mean()) > 1e-4
        assert found["mean"] == pytest.approx(gains.mean())
        assert found["relative"] == pytest.approx(gains.mean() / baseline.mean())
        assert (found["wins"], found["losses"]) == (np.sum(gains > 1e-9), np.sum(gains < -1e-9))
        assert found["n"] == 20
        test = stats.ttest_rel(values.mean(axis=0), baseline.mean(axis=0))
        alone = test.confidence_interval(0.95)
        assert (found["low_users"], found["high_users"]) == pytest.approx((alone.low, alone.high))
        expected = crossed(baseline, values)
        assert (found["low"], found["high"], found["p"]) == pytest.approx(
            (expected.low, expected.high, expected.p)
        )
        assert found["detectable"] > (expected.high - expected.low) / 2  # 80 % and not 50 %
        assert found["effect"] * gains.mean() > 0
        assert found["low_bootstrap"] < gains.mean() < found["high_bootstrap"]


def test_runs_that_were_still_rising_are_not_judged(results):
    """Two epochs are fewer than patience: no run can have levelled off."""
    runs = [run for variant in results["variants"] for run in variant["runs"]]
    assert not any(run["levelled_off"] for run in runs)
    assert [run["best_epoch"] for run in runs] == [
        max(run["curve"], key=lambda point: point["valid"]["ndcg@10"])["epoch"] for run in runs
    ]
    assert [verdict.call for verdict in verdicts(Results.model_validate(results))] == [
        "no verdict",
        "no verdict",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epochs", "patience", "levelled_off"),
    [(2, 1, True), (2, 2, False), (4, 3, True), (10, 20, False), (11, 20, True)],
)
def test_levelled_off_is_where_patience_ran_out(folder, capsys, epochs, patience, levelled_off):
    """Also in the last epoch of the budget; the first of the epochs is the best.

    Ten epochs without a better one are enough for any patience.
    """
    run(*PLAIN, "log.csv", "--targets", "one-hot,pop+", "--seeds", 1, "--out", "table",
        "--set", f"training.patience={patience}", "--lr", 1e-9, "--epochs", epochs,
        *TINY[2:])  # fmt: skip
    text = (folder / "table" / "results.json").read_text()
    results = json.loads(text)
    for variant in results["variants"]:
        (one,) = variant["runs"]
        assert (one["best_epoch"], one["epochs"], one["levelled_off"]) == (1, epochs, levelled_off)
    told = capsys.readouterr()
    assert "training run 1 of 2: one-hot, seed 0" in told.err
    assert "training run 2 of 2: pop+ (alpha 0.4), seed 0" in told.err
    assert "One training seed: cannot tell training noise from a gain." in " ".join(
        told.out.split()
    )
    found = results["variants"][1]["difference"]["ndcg@10"]
    assert all(found[key] is None for key in ("low", "high", "p", "p_holm", "p_wilcoxon"))
    assert "NaN" not in text


@pytest.mark.slow
def test_three_seeds_unless_told_otherwise(folder):
    run(
        "compare", "--no-baselines", "log.csv", "--targets", "one-hot,pop+", "--out", "table", *TINY
    )
    results = json.loads((folder / "table" / "results.json").read_text())
    assert [[one["seed"] for one in variant["runs"]] for variant in results["variants"]] == [
        [0, 1, 2], [0, 1, 2]
    ]  # fmt: skip
    assert inspect.signature(softrec.compare).parameters["seeds"].default == 3
    assert inspect.signature(compare_targets).parameters["seeds"].default == (0, 1, 2)


def test_a_run_of_a_comparison_is_a_run_by_itself(table, results, monkeypatch, capsys):
    monkeypatch.chdir(table.parent)
    runs = sorted(path.name for path in (table / "runs").iterdir())
    assert len(runs) == 6
    run("fit", "log.csv", "--target", "pop+", "--alpha", 0.6, "--seed", 1, "--lr", 0.03,
        "--out", "alone", *TINY)  # fmt: skip
    alone = open_run("alone")
    (found,) = (path for path in (table / "runs").iterdir()
                if open_run(path).recipe.target == alone.recipe.target
                and open_run(path).recipe.seed == 1)  # fmt: skip
    assert_frame_equal(open_run(found).per_user, alone.per_user, check_exact=True)
    assert results["variants"][2]["test"]["ndcg@10"]["per_seed"][1] == alone.test["ndcg@10"]
    run("evaluate", found)
    run("recommend", found, "--user", 3)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path)
    return tmp_path


class Killed(BaseException):
    """Stands for SIGKILL."""


def killed_after(monkeypatch, steps: int):
    """Count the training steps, and let the one after `steps` die; None kills none."""
    step = SoftTargetModule.training_step
    taken = []

    def training_step(self, batch, batch_idx):
        if len(taken) == steps:
            raise Killed
        taken.append(self.current_epoch)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SoftTargetModule, "training_step", training_step)
    return taken


@pytest.mark.slow
def test_goes_on_where_it_was_killed(table, folder, monkeypatch):
    """20 users in batches of 16 are 4 steps a run; the second run is killed in its third."""
    with monkeypatch.context() as patch:
        killed_after(patch, 4 + 2)
        with pytest.raises(Killed):
            cli.main(COMMAND)
    assert not (folder / "table").exists()
    with monkeypatch.context() as patch:
        taken = killed_after(patch, -1)
        run(*COMMAND)
    assert len(taken) == 5 * 4
    finished, unbroken = (pl.read_parquet(path / "per_user.parquet") for path in (
        folder / "table", table))  # fmt: skip
    assert_frame_equal(finished, unbroken, check_exact=True)


@pytest.mark.slow
def test_does_not_mix_two_comparisons(folder, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        killed_after(patch, 4 + 2)
        with pytest.raises(Killed):
            cli.main(COMMAND)
    with pytest.raises(SystemExit) as refused:
        cli.main(OTHER)
    assert refused.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "unfinished comparison of other recipes (sasrec, one-hot: training.lr was " in told
    run(*OTHER, "--overwrite")
    results = json.loads((folder / "table" / "results.json").read_text())
    assert results["budget"]["lr"] == 0.1


@pytest.mark.slow
def test_the_best_possible_ranking_of_the_shop(folder, capsys):
    """What no model can beat in expectation is reported beside the models."""
    sizes = ["--set", "data.shop={n_items: 60, n_users: 60}"]
    run(
        "compare",
        "--no-baselines",
        "shop",
        "--targets",
        "one-hot,pop+",
        "--out",
        "table",
        *TINY,
        *sizes,
    )
    results = json.loads((folder / "table" / "results.json").read_text())
    assert 0 < results["ceiling"]["test"]["ndcg@10"] <= 1
    for variant in results["variants"]:
        assert all(value >= 0 for value in variant["regret"].values())
    assert "ndcg@10" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dials", "told"),
    [
        (("--split", "user-ratio", "--set", "data.shop={n_items: 60, n_users: 60}"), True),
        (
            (
                "--set",
                "data.shop={n_items: 8, n_categories: 3, min_length: 4, max_length: 7, "
                "n_users: 60}",
            ),
            False,
        ),
    ],
)
def test_a_shop_whose_truth_is_not_known_or_short_is_compared_all_the_same(
    folder, capsys, dials, told
):
    """A split with several items to find; a catalogue shorter than the lists."""
    run(*PLAIN, "shop", "--targets", "one-hot,pop+", "--seeds", 1, "--out", "table", *TINY,
        *dials)  # fmt: skip
    results = json.loads((folder / "table" / "results.json").read_text())
    lines = capsys.readouterr().err.splitlines()
    said = [n for n, line in enumerate(lines) if "The best possible ranking is not shown" in line]
    assert bool(said) == told
    assert (results["ceiling"] is None) == told
    assert any("best possible ranking" in note for note in results["notes"]) == told
    if told:
        assert said[0] < next(
            n for n, line in enumerate(lines) if line.startswith("training run 1")
        )
    else:
        assert set(results["variants"][0]["regret"]) == {"recall@8", "ndcg@8"}


@pytest.mark.slow
def test_a_report_is_written_again_from_its_results(table, capsys):
    page = (table / "report.html").read_text()
    (table / "report.html").unlink()
    run("report", table)
    assert (table / "report.html").read_text() == page
    assert "pop+ (alpha 0.6)" in capsys.readouterr().out
    with pytest.raises(SystemExit) as refused:
        cli.main(["report", str(table / "runs")])
    assert refused.value.code == 2
    assert (
        f"there is no finished comparison in {table / 'runs'} (no results.json)"
        in capsys.readouterr().err
    )


def test_runs_of_a_comparison_share_the_files_of_their_data(table, tmp_path):
    """Of six runs; one that is removed or retrained leaves the others whole."""
    runs = sorted((table / "runs").iterdir())
    assert len(runs) == 6
    for name in ("log.parquet", "users.parquet", "items.parquet"):
        assert {(run / name).stat().st_ino for run in runs} == {(runs[0] / name).stat().st_ino}
    assert len({(run / "model.safetensors").stat().st_ino for run in runs}) == 6
    shutil.copytree(table, tmp_path / "copy")
    assert open_run(tmp_path / "copy" / "runs" / runs[0].name).test == open_run(runs[0]).test
    linked = tmp_path / "alone"
    shutil.copytree(runs[1], linked, copy_function=os.link)
    before = (linked / "log.parquet").read_bytes()
    shutil.rmtree(linked)
    assert (runs[1] / "log.parquet").read_bytes() == before
    assert [open_run(run).recipe.seed for run in runs] == [0, 1] * 3


@pytest.mark.slow
def test_decoupled_is_for_soft_targets_only(folder):
    """Beside a one-hot baseline, which has nothing to decouple."""
    run(*PLAIN, "log.csv", "--targets", "one-hot,pop+", "--loss", "decoupled", "--out", "table",
        *TINY)  # fmt: skip
    losses = {open_run(path).recipe.target.name: open_run(path).recipe.loss.name
              for path in (folder / "table" / "runs").iterdir()}  # fmt: skip
    assert losses == {"one-hot": "mixed", "pop+": "decoupled"}


@pytest.mark.slow
def test_teachers_are_called_by_the_names_of_their_folders_or_models(folder, results):
    run("fit", "log.csv", "--out", "runs/base", *TINY)
    teacher = {"data": {"source": "log.csv"}, "model": {"name": "mf", "dim": 4},
               "training": {"epochs": 1, "length": 5}}  # fmt: skip
    targets = [
        "one-hot",
        {"name": "kd", "teacher": "runs/base"},
        {"name": "kd", "teacher": teacher},
    ]
    found = softrec.compare("log.csv", targets=targets, seeds=1, out="table", epochs=1, length=5,
                            progress=False, baselines=False, **{"model.dim": 8})  # fmt: skip
    names = [variant.name for variant in found.results.variants]
    assert names == ["one-hot", "kd (alpha 0.4, teacher base)", "kd (alpha 0.4, teacher mf)"]


def test_a_target_that_cannot_be_built_is_refused_before_any_training(folder, capsys):
    rows = [(user, item) for user in range(3) for item in range(5 - user)]
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv("o.csv")
    run("fit", "o.csv", "--out", "other", *TINY)
    capsys.readouterr()
    with pytest.raises(SystemExit) as refused:
        cli.main(["compare", "log.csv", "--targets", "one-hot,kd(teacher=other)", "--out", "table",
                  *TINY])  # fmt: skip
    assert refused.value.code == 2
    told = capsys.readouterr().err
    assert "was trained on other items" in told
    assert "training run" not in told
    assert not (folder / "table.part").exists()
