"""Comparisons over shares of false positives: each row against the baseline of its own share."""

import numpy as np
import polars as pl
import pytest

import softrec
from messages import refused
from softrec.errors import RecipeError, RunError
from softrec.experiments.build.data import load_split
from softrec.experiments.combinations import plan
from softrec.experiments.inputs import Given
from softrec.experiments.runs import open_run
from softrec.experiments.variants import axes_of
from softrec.progress import telling
from softrec.recipe.recipe import read_recipe
from softrec.report import grids
from softrec.report.verdict import headline, verdicts

pytestmark = pytest.mark.slow

N, USERS, LENGTH = 100, 120, 12
TINY = {
    "model": "gru4rec", "model.dim": 8, "targets": "one-hot,uniform", "seeds": 2, "epochs": 2,
    "length": 8, "metrics": ["recall@1", "ndcg@10"], "monitor": "ndcg@10", "progress": False,
    "windows": "positions",
}  # fmt: skip


def chain_log() -> pl.DataFrame:
    """Each user goes from an item to the next, modulo N: a Markov chain knows all there is."""
    first = np.random.default_rng(0).integers(N, size=USERS)
    items = (first[:, None] + np.arange(LENGTH)) % N
    return pl.DataFrame({"user": np.repeat(np.arange(USERS), LENGTH), "item": items.ravel()})


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("noise")
    return softrec.compare(
        chain_log(), out=out / "c", models="gru4rec,markov", baselines=False,
        grid={"data.false_positives": [0.0, 0.4, 1.0]},
        **{k: v for k, v in TINY.items() if k != "model"},
    )  # fmt: skip


def users(found, name):
    table = pl.read_parquet(found.folder / "per_user.parquet").filter(pl.col("target") == name)
    return table.sort("seed", "user")["ndcg@10"].to_numpy().reshape(-1, USERS)


def level_of(name):
    return name.partition("false_positives ")[2].partition(")")[0]


def test_every_row_is_compared_with_the_baseline_of_its_own_share(compared):
    results = compared.results
    assert [v.name for v in results.trained] == [
        f"gru4rec (false_positives {share}): {target}"
        for share in (0.0, 0.4, 1.0)
        for target in ("one-hot", "uniform (alpha 0.1)")
    ]
    for variant in results.variants:
        baseline = results.baseline_of(variant)
        assert level_of(baseline.name) == level_of(variant.name)
        if variant is not baseline:
            own = users(compared, variant.name).mean() - users(compared, baseline.name).mean()
            assert variant.difference_in("ndcg@10").mean == pytest.approx(own)
    sliced = pl.read_parquet(compared.folder / "slices.parquet")
    whole = sliced.filter(pl.col("slicing") == sliced["slicing"][0])
    for name, own in whole.group_by("variant"):
        variant = results.variant(str(name[0]))
        total = (own["difference"].fill_null(0) * own["n"]).sum() / own["n"].sum()
        difference = variant.difference_in("ndcg@10")
        assert total == pytest.approx(0 if difference is None else difference.mean)


def test_a_chain_is_known_without_noise_and_nothing_is_known_of_noise_alone(compared):
    """The next item follows from the last: where all is noise, one of N is right by luck."""
    value = {
        level_of(v.name): v.test["recall@1"].mean
        for v in compared.results.variants
        if v.kind == "counted"
    }
    assert value["0.0"] == 1.0
    assert 0.7 < value["0.4"] < 1.0
    assert value["1.0"] <= 5 / N
    results = compared.results
    start = "Each against the baseline of its own share of false positives. Of 3 "
    assert headline(verdicts(results), results).startswith(start)
    simple = results.simple
    assert level_of(simple.counted) == level_of(simple.trained) == "0.0"


def test_a_row_is_what_the_same_noise_alone_would_give(compared, tmp_path):
    alone = softrec.compare(
        chain_log(), out=tmp_path / "c", baselines=False, **TINY,
        **{"data.false_positives": 0.4},
    )  # fmt: skip
    for variant in alone.results.variants:
        name = f"gru4rec (false_positives 0.4): {variant.name}"
        np.testing.assert_array_equal(users(alone, variant.name), users(compared, name))
    (noted,) = [note for note in alone.results.notes if "alse positives" in note]
    assert "0.4 of each user's training events" in noted


def test_the_report_draws_a_curve_over_the_shares_and_chooses_none(compared):
    (plot,) = [p for p in grids.grids(compared.results) if "false_positives" in p.title]
    assert "Ring" not in plot.note
    assert "best on validation" not in plot.text
    assert "band" in plot.note
    axes = grids.curve_figure(compared.results, "data.false_positives").axes[0]
    for variant in compared.results.of_group("gru4rec (false_positives 0.4)"):
        heights = [line.get_ydata() for line in axes.lines]
        mean = variant.test["ndcg@10"].mean
        assert any(len(y) == 3 and np.isclose(y[1], mean) for y in heights)
    page = (compared.folder / "report.html").read_text()
    assert "by data.false_positives" in page
    assert "compared with the baseline of its own level" in page


def test_a_run_keeps_the_log_without_noise_and_knows_what_it_learned_from(compared):
    folders = sorted(compared.folder.glob("runs/*one-hot*seed0"))
    clean, noisy, _ = runs = [open_run(folder) for folder in folders]
    assert [run.recipe.data.false_positives for run in runs] == [0.0, 0.4, 1.0]
    assert clean.log.frame.equals(noisy.log.frame)
    split = softrec.Interactions.read(chain_log())
    logged = split.sequences.items.reshape(USERS, LENGTH)[:, :-2]
    learned = noisy.trained_on.sequences.items.reshape(USERS, LENGTH - 2)
    assert (learned != logged).sum(1).tolist() == [4] * USERS
    assert noisy.evaluate() == pytest.approx(noisy.test)
    assert noisy.evaluate(data=chain_log()) == pytest.approx(noisy.test)


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """Two shares, none of them 0, with what was told on the way."""
    out, told = tmp_path_factory.mktemp("added"), []
    with telling(write=told.append):
        found = softrec.compare(
            chain_log(), out=out / "c", models="gru4rec", baselines=True,
            grid={"data.false_positives": [0.4, 0.8]},
            **{k: v for k, v in TINY.items() if k not in ("model", "progress")},
            **{"data.contamination": "add"},
        )  # fmt: skip
    return found, told


def test_what_is_told_of_the_data_is_true_of_all_shares(added):
    """The log that is read has none of the false positives, which differ from row to row."""
    found, told = added
    assert f"{USERS * (LENGTH - 2):,} events to train" in told[0]
    assert not [line for line in told if line.startswith("false positives")]
    (note,) = [note for note in found.results.notes if "false positives of the" in note]
    assert note in told
    assert "random items added to its events" in note
    assert "seed 0" in note


def test_a_simple_baseline_that_cannot_be_counted_is_noted_once(added):
    (note,) = [note for note in added[0].results.notes if "recent-popularity" in note]
    assert note.startswith(
        "The simple baselines recent-popularity (false_positives 0.4) and recent-popularity "
        "(false_positives 0.8) are left out: recent-popularity reads the times"
    )


def test_the_report_says_with_what_simple_baselines_are_compared(added):
    """Each has a baseline of its own share, and not the first of all."""
    results, page = added[0].results, (added[0].folder / "report.html").read_text()
    assert {v.baseline for v in results.counted} == {
        f"gru4rec (false_positives {share}): one-hot" for share in (0.4, 0.8)
    }
    assert "simple baselines with the first variant of their share of false positives" in page
    assert f"simple baselines with “{results.baseline}”" not in page


def test_a_run_on_other_noise_is_no_teacher_and_the_message_says_why(compared):
    noisy = open_run(next(compared.folder.glob("runs/*0.4*one-hot*seed0")))
    clean = open_run(next(compared.folder.glob("runs/*0.0*one-hot*seed0")))
    with refused(RunError):
        noisy.check_data(clean.split())
    noisy.check_data(noisy.split())


def test_a_teacher_learns_from_the_false_positives_of_its_row(tmp_path, monkeypatch):
    """A recipe of a teacher is trained once for each share, on the training part of that share."""
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    (tmp_path / "teacher.yaml").write_text(
        "{data: {source: a.csv}, model: {name: gru4rec, dim: 8}, training: {epochs: 1, length: 8}}"
    )
    options = TINY | {"targets": f"one-hot,kd(teacher={tmp_path / 'teacher.yaml'})", "seeds": 1}
    softrec.compare(
        chain_log(), out=tmp_path / "c", baselines=False,
        grid={"data.false_positives": [0.0, 0.4]}, **options,
    )  # fmt: skip
    teachers = [open_run(facts.parent) for facts in tmp_path.glob("cache/runs/*/run.json")]
    false = [
        (run.trained_on.sequences.items != run.split().clean.sequences.items).sum()
        for run in teachers
    ]
    assert sorted(false) == [0, USERS * 4]


def test_lists_of_a_run_with_noise_have_the_popularity_of_the_log(compared, tmp_path):
    noisy = open_run(next(compared.folder.glob("runs/*0.4*one-hot*seed0")))
    lists = noisy.recommender("test").recommend(users=range(USERS), k=20)
    found = softrec.evaluate_lists(
        lists, against=noisy, out=tmp_path / "judged", baselines=False, progress=False
    )
    (theirs,) = [v for v in found.results.variants if v.name != found.results.baseline]
    for name in ("popularity", "novelty", "tail_fraction"):
        assert theirs.lists[name].mean == noisy.lists[name]


def test_one_training_with_noise(tmp_path):
    chain_log().write_csv(tmp_path / "log.csv")
    run = softrec.fit(
        str(tmp_path / "log.csv"), out=tmp_path / "run", model="markov", progress=False,
        **{"data.false_positives": 0.5, "data.contamination": "add"},
    )  # fmt: skip
    assert len(run.trained_on) == USERS * (LENGTH - 2) * 1.5
    assert len(run.log) == USERS * LENGTH
    spec = read_recipe({"data": {"source": str(tmp_path / "log.csv")}}).data
    assert load_split(spec).train.frame.equals(run.split().clean.frame)


def planned(grid):
    axes = axes_of("one-hot,uniform", None, None, grid, {})
    return plan(Given({"data": {"source": "a.csv"}}, {}), axes, 1)


def test_shares_and_settings_of_targets_are_combined():
    made = planned(["data.false_positives=0,0.2", "target.alpha=0.1,0.3"])
    assert made.baselines == [0, 0, 0, 3, 3, 3]
    assert [v.recipes[0].data.false_positives for v in made.variants] == [0.0] * 3 + [0.2] * 3


@pytest.mark.parametrize("field", ["split=time,given", "first_items=1,2", "order=log,shuffled"])
def test_fields_that_change_what_is_asked_are_refused_with_the_reason(field):
    with refused(RecipeError):
        planned([f"data.{field}"])


@pytest.mark.parametrize("shares", [[], ["data.false_positives=0,0.3"]])
def test_how_noise_is_made_is_no_grid_without_noise(shares):
    with refused(RecipeError):
        planned([*shares, "data.contamination=replace,add"])
    made = planned(["data.false_positives=0.1,0.3", "data.contamination=replace,add"])
    assert len(made.variants) == 8


def test_a_share_is_a_share():
    with refused(RecipeError):
        planned(["data.false_positives=0,2"])
