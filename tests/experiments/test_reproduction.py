"""Published tables and what the same trainings give: a small paper on the simulated shop."""

import math
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import softrec
from messages import refused
from softrec.cli import main as cli
from softrec.errors import RecipeError, RunError
from softrec.experiments.inputs import read_input
from softrec.experiments.reproduction import run as running
from softrec.experiments.reproduction.cells import cells_of
from softrec.experiments.reproduction.cost import minutes
from softrec.experiments.reproduction.papers import read_paper
from softrec.experiments.reproduction.plan import by_cost
from softrec.experiments.reproduction.results import results_of
from softrec.experiments.runs import open_run
from softrec.experiments.stages import folder_of
from softrec.recipe.options import parse_assignment
from softrec.recipe.specs.models import is_counted
from softrec.report.numbers import SeedMean
from softrec.report.reproduction import (
    Measured,
    Row,
    read_reproduction,
    verdict_of,
    write_reproduction,
)
from softrec.report.reproduction_tables import markdown

pytestmark = pytest.mark.slow

PAPERS = ("softrec", "desorec", "timirec", "bsl", "reference")

RECIPE = """
data:
  source: shop
  shop: {n_users: 60, n_items: 30, n_categories: 5, min_length: 5, max_length: 8}
model: {name: youtubednn, dim: 8}
training: {windows: last, length: 5, epochs: 1}
evaluation: {metrics: [ndcg@10]}
"""
PAPER = """
name: Small
citation: Nobody, 2026
tables:
  - name: one
    file: small.csv
    recipe: "base"
    baseline: Base
    dataset:
      Shop: {name: shop}
      Gone: {changes: {data.source: gone.csv, data.shop: {}}}
      Secret: {reason: it is not public}
    backbone: {Net: {supposed: the moon}}
    method:
      Base: {}
      LS: {changes: {target.name: uniform, target.alpha: 0.3}, note: alpha is not published}
      KD: {changes: {target.name: skd, target.alpha: 0.3, target.teacher: base.yaml}}
    cells:
      - {where: {metric: HR@5}, note: a dash was printed}
"""
ROWS = [
    ("Shop", "Base", "NDCG@10", "0.0001"), ("Shop", "Base", "HR@5", "-"),
    ("Shop", "LS", "NDCG@10", "0.9999"), ("Shop", "KD", "NDCG@10", "0.5"),
    ("Gone", "Base", "NDCG@10", "0.1"), ("Secret", "Base", "NDCG@10", "0.1"),
]  # fmt: skip


@pytest.fixture
def paper(tmp_path, monkeypatch) -> str:
    """A paper of a table with six trainings, of which four can be done."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    Path("base.yaml").write_text(RECIPE)
    Path("small.yaml").write_text(PAPER)
    rows = [("one", dataset, "Net", method, "", metric, value)
            for dataset, method, metric, value in ROWS]  # fmt: skip
    names = ["table", "dataset", "backbone", "method", "setting", "metric", "value"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv("small.csv")
    return "small.yaml"


def by_name(found):
    return {(block.dataset, row.method): row for block in found.blocks for row in block.rows}


# --- what comes with softrec ---


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_each_published_row_has_a_recipe_or_a_reason(name):
    cells = cells_of(name)
    for cell in cells:
        assert (cell.recipe is None) == bool(cell.reason), cell
        if cell.recipe is not None:  # it was checked when it was read
            assert set(cell.published) <= set(cell.recipe.evaluation.metrics)
            assert not math.isnan(minutes(cell.recipe))


COUNTS = {"softrec": (270, 44), "desorec": (252, 20), "timirec": (216, 25), "bsl": (832, 88),
          "reference": (28, 10)}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_no_published_row_is_left_out(name):
    cells = cells_of(name)
    folder = Path(running.__file__).parent / "published"
    tables = [pl.read_csv(path, infer_schema=False) for path in folder.glob(f"{name}_*.csv")]
    rows = sum(len(table) for table in tables if "value" in table.columns)
    published = sum(len(cell.published) for cell in cells)
    assert (published, sum(cell.recipe is not None for cell in cells)) == COUNTS[name]
    assert published == rows


def test_the_numbers_are_those_that_were_written_down(real_data):
    kept = Path(running.__file__).parent / "published"
    given = real_data.parent / "spec" / "published"
    if not given.is_dir():
        pytest.skip(f"{given} does not exist")
    assert {path.name for path in given.glob("*.csv")} == {path.name for path in kept.glob("*.csv")}
    for path in given.glob("*.csv"):
        one, other = (pl.read_csv(each, infer_schema=False) for each in (path, kept / path.name))
        assert one.drop("source", strict=False).equals(other.drop("source", strict=False))


@pytest.mark.parametrize(("method", "name"), [("LS", "ls"), ("POP+", "pop"), ("CSN", "csn")])
def test_derived_recipes_are_those_that_are_shipped(method, name):
    (cell,) = (
        cell
        for cell in cells_of("desorec")
        if cell.recipe and (cell.names["backbone"], cell.names["method"]) == ("GRU4Rec", method)
    )
    assert cell.source == "diginetica-gru4rec-base"
    assert cell.recipe == read_input(f"diginetica-gru4rec-{name}", {}).recipe


def test_logged_settings_are_in_the_recipes():
    """Of BSL's logs, from the table of their settings."""
    folder = Path(running.__file__).parent / "published"
    logged = pl.read_csv(folder / "bsl_hyperparameters.csv").rows(named=True)
    cells = [cell for cell in cells_of("bsl") if cell.table == "repository logs" and cell.recipe]
    assert len(cells) == 8
    for cell in cells:
        (own,) = (row for row in logged if all(row[k] == cell.names[k] for k in
                                               ("dataset", "backbone", "method")))  # fmt: skip
        recipe = cell.recipe
        assert recipe.training.lr == own["lr"]
        assert recipe.training.batch_size == own["batch_size"]
        assert recipe.loss.score_temperature == own["t1"]
        assert recipe.loss.l2 == pytest.approx(own["l2"])
        assert getattr(recipe.loss, "exponent", 1.0) == own["t2"]
        assert recipe.candidates.number_of(10**6) == own["n_negs"]
        assert recipe.model.settings.get("layers") == own["layers"]
        assert (
            recipe.ranking_score
            == {"cosine": "cosine", "inner product": "inner"}[own["test_score"]]
        )


def test_the_other_teacher_of_softrec_is_the_one_of_the_paper():
    teachers = {
        cell.recipe.model.name: cell.recipe.stages()["target.teacher"].model.name
        for cell in cells_of("softrec")
        if cell.recipe is not None and cell.names["method"] == "CKD"
    }
    assert teachers == {"gru4rec": "caser", "caser": "gru4rec", "nfm": "youtubednn",
                        "youtubednn": "nfm"}  # fmt: skip


def test_the_cold_start_of_softrec_is_its_table_2_with_fewer_items():
    """Nothing else is changed, and M is the printed one; what stands beside has the same M."""
    cells = cells_of("softrec")
    whole = {
        (cell.names["backbone"], cell.names["method"]): cell.recipe
        for cell in cells
        if cell.table == "Table 2" and cell.names["dataset"] == "MovieLens"
    }
    cold = [cell for cell in cells if cell.table == "Table 3"]
    assert {cell.names["dataset"] for cell in cold if cell.reason} == {"Last.FM"}
    found = []
    for cell in cold:
        if cell.recipe is None:
            continue
        data = cell.recipe.data
        assert cell.names["setting"].endswith(f", M={data.first_items}")
        alike = data.model_copy(update={"first_items": None})
        row = cell.names["backbone"], cell.names["method"]
        assert cell.recipe.model_copy(update={"data": alike}) == whole[row]
        found.append((*row, data.first_items))
    assert len(set(found)) == len(found) == 2 * 2 * 5
    blocks = running.planned("softrec", table="Table 3", row="MovieLens")
    assert [block.dataset for block in blocks] == [
        f"MovieLens, cold start t{n}, M={m}" for n, m in enumerate((5, 15, 20, 25, 30), 1)
    ]
    for block in blocks:
        known = {job.recipe.data.first_items for job in block.all_jobs}
        assert len(block.cells) == 4
        assert known == {int(block.dataset.rpartition("=")[2])}


@pytest.mark.parametrize(
    ("row", "number"),
    [("cold start t2, M=15", 4), ("GRU4Rec, cold start T2, m=15,POP+", 1), ("movielens,Caser", 10)],
)
def test_a_row_is_found_by_names_with_commas(row, number):
    assert (
        sum(len(each.cells) for each in running.planned("softrec", table="Table 3", row=row))
        == number
    )


@pytest.mark.parametrize("name", ["desorec", "timirec", "bsl"])
def test_a_data_set_is_one_block_of_a_table(name):
    blocks = [(block.table, block.dataset) for block in running.planned(name)]
    assert blocks == list(dict.fromkeys(cell.block for cell in cells_of(name)))


def test_where_a_log_has_no_order_the_defaults_are_of_models_without():
    (group,) = running.planned("bsl", table="repository logs", row="Yelp2018,MF,SL")
    recipes = [job.recipe for job in group.beside.values() if job.kind == "defaults"]
    assert [recipe.model.name for recipe in recipes] == ["mf", "lightgcn"]
    assert {recipe.training.windows for recipe in recipes} == {"interactions"}
    assert {recipe.training.monitor for recipe in recipes} == {"recall@20"}


# --- verdicts ---


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(0.9699, "below"), (0.97, "reached"), (1.0, "reached"), (1.03, "reached"), (1.031, "above")],
)
def test_thresholds(ratio, verdict):
    assert verdict_of(ratio) == verdict


@pytest.mark.parametrize(("value", "verdict"), [(0.0, "reached"), (0.01, "above")])
def test_a_published_zero_was_printed(value, verdict):
    row = row_of(value, published=0.0)
    assert row.verdict(row.measured[0]) == verdict


def row_of(value, published=0.1, **fields):
    mean = SeedMean(mean=value, per_seed=(value,))
    measured = Measured(metric="ndcg@10", published=published, here=mean)
    return Row(name="r", backbone="b", method="m", setting="", seeds=(0,), measured=(measured,),
               **fields)  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"supposed": "the moon"}, "supposed: the moon"),
        ({"supposed": "the moon", "found": "ties"}, "found: ties"),
        ({}, "the cause is not known"),
    ],
)
def test_a_supposed_cause_is_not_called_found(fields, cause):
    below, reached = row_of(0.09, **fields), row_of(0.0999, **fields)
    assert below.cause(below.measured[0]) == cause
    assert reached.cause(reached.measured[0]) == ""


def test_no_number_of_other_data_is_held_against_a_published_one():
    other = row_of(0.1, stand_in="the shop")
    assert other.verdict(other.measured[0]) == "other data"
    assert math.isnan(other.ratio(other.measured[0]))
    assert row_of(0.05).ratio(row_of(0.05).measured[0]) == pytest.approx(0.5)


# --- a run of it ---


@pytest.mark.slow
def test_all_of_a_paper(paper):
    found = softrec.reproduce(paper, out="out", progress=False, defaults=False)
    rows = by_name(found)
    assert [rows["Shop", name].verdict(rows["Shop", name].measured[0])
            for name in ("Base", "LS", "KD")] == ["above", "below", "below"]  # fmt: skip
    base, soft = rows["Shop", "Base"], rows["Shop", "LS"]
    assert base.verdict(base.measured[1]) == "not printed"
    assert math.isnan(base.measured[1].published)
    assert base.measured[1].here is not None  # measured all the same
    assert soft.cause(soft.measured[0]) == "supposed: the moon"
    assert soft.measured[0].gain_published == pytest.approx(9998)
    own = soft.measured[0].here.mean / base.measured[0].here.mean - 1
    assert soft.measured[0].gain_here == pytest.approx(own)
    assert "data set gone.csv is not available" in rows["Gone", "Base"].reason
    assert rows["Secret", "Base"].reason == "it is not public"
    (block, *_) = found.blocks
    assert {each.name for each in block.beside if each.test} >= {"popularity", "markov", "ease"}
    (best,) = (each for each in block.beside if each.chosen)
    assert best.valid == max(each.valid for each in block.beside if each.test)
    assert "ndcg@10" in best.test
    assert not found.complete
    kept = read_reproduction(Path("out/reproduction.json"))
    assert kept.model_dump_json() == found.model_dump_json()
    frame = pl.read_parquet("out/reproduction.parquet")
    assert frame.equals(found.frame())
    assert len(frame.filter(pl.col("kind") == "published")) == len(ROWS)
    text = Path("out/reproduction.md").read_text()
    assert "| Net, LS | ndcg@10 | 0.9999 |" in text
    assert "Below: supposed: the moon (Net, LS; Net, KD)." in text
    assert "softrec fit base.yaml --set target.name=uniform --set target.alpha=0.3" in text
    page = Path("out/reproduction.html").read_text()
    assert "Small: published and here" in page
    assert "it is not public" in page


@pytest.mark.slow
def test_the_teacher_of_one_row_is_the_run_of_another(paper):
    found = softrec.reproduce(paper, out="out", row="Shop", progress=False, baselines=False,
                              defaults=False)  # fmt: skip
    assert found.complete
    runs = {
        open_run(path).recipe.target.name: open_run(path) for path in Path("out/runs").iterdir()
    }
    base = runs["one-hot"]
    kept = folder_of(base.recipe, base.split())
    assert not kept.exists()  # the stage measures less
    (kept,) = Path("cache/runs").glob("youtubednn-*")
    assert (kept / "model.safetensors").samefile(base.folder / "model.safetensors")


@pytest.mark.slow
def test_a_stage_that_was_trained_is_a_row(paper):
    lines = Path("small.csv").read_text().splitlines(keepends=True)
    Path("small.csv").write_text("".join(line for line in lines if "HR@5" not in line))
    softrec.reproduce(paper, out="out", row="Shop,KD", progress=False, baselines=False,
                      defaults=False)  # fmt: skip
    (kept,) = Path("cache/runs").glob("youtubednn-*")
    other = softrec.reproduce(paper, out="other", row="Base,Shop", progress=False,
                              baselines=False, defaults=False)  # fmt: skip
    (folder,) = Path("other/runs").iterdir()
    assert (folder / "model.safetensors").samefile(kept / "model.safetensors")
    assert other.complete


@pytest.mark.slow
def test_it_goes_on_where_it_stood(paper, monkeypatch):
    real, trained = running.fit_recipe, []

    def killed(recipe, folder, **options):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(recipe)
        return real(recipe, folder, **options)

    options = {"row": "Shop", "progress": False, "baselines": False, "defaults": False}
    monkeypatch.setattr(running, "fit_recipe", killed)
    with pytest.raises(KeyboardInterrupt):
        softrec.reproduce(paper, out="out", **options)
    begun = read_reproduction(Path("out/reproduction.json"))
    assert [len(row.seeds) for row in by_name(begun).values()] == [1, 0, 0]
    trained.clear()
    trained.append(None)

    def counted(recipe, folder, **options):
        trained.append(recipe)
        return real(recipe, folder, **options)

    monkeypatch.setattr(running, "fit_recipe", counted)
    found = softrec.reproduce(paper, out="out", **options)
    assert len(trained) == 1 + 2
    assert found.complete
    one, other = (str(by_name(each)["Shop", "Base"]) for each in (begun, found))
    assert one == other
    assert softrec.reproduce(paper, out="out", budget=0, **options).complete  # nothing is left


def test_a_row_that_fails_does_not_stop_the_others(paper, monkeypatch):
    real = running.fit_recipe

    def fails(recipe, folder, **options):
        if recipe.target.name == "uniform":
            raise RuntimeError("a wheel came off")
        return real(recipe, folder, **options)

    monkeypatch.setattr(running, "fit_recipe", fails)
    found = softrec.reproduce(paper, out="out", row="Shop", progress=False, baselines=False,
                              defaults=False)  # fmt: skip
    rows = by_name(found)
    assert rows["Shop", "LS"].reason == "failed: RuntimeError: a wheel came off"
    assert rows["Shop", "KD"].seeds == (0,)


@pytest.mark.slow
def test_nothing_is_begun_that_the_budget_cannot_end(paper, monkeypatch):
    monkeypatch.setattr(running, "monotonic", lambda: 0.0)  # a training takes no time
    options = {"row": "Shop", "progress": False, "baselines": False, "defaults": False}
    found = softrec.reproduce(paper, out="out", budget=0, **options)
    assert {row.reason for row in by_name(found).values()} == {"the budget was used up"}
    wanted = running.planned(paper, row="Shop", baselines=False, defaults=False)
    costs = sorted({job.minutes for job in by_cost(wanted)})
    assert len(costs) == 2  # with and without a teacher
    options["budget"] = costs[0]
    alone = by_name(softrec.reproduce(paper, out="alone", **options | {"row": "Shop,KD"}))
    assert "of the budget were left" in alone["Shop", "KD"].reason
    after_its_teacher = softrec.reproduce(paper, out="both", **options)
    assert not {row.reason for row in by_name(after_its_teacher).values()} - {""}


def test_a_budget_holds_for_files_too(paper, monkeypatch, capsys):
    log_of(0).write_csv("gone.csv")
    options = {"baselines": False, "defaults": False}
    jobs = by_cost(running.planned(paper, **options))
    assert [math.isnan(job.minutes) for job in jobs] == [False] * 3 + [True]
    with pytest.raises(SystemExit):
        cli.main(["reproduce", paper, "--dry-run", "--no-baselines", "--no-defaults"])
    assert "minutes, and 1 of a cost that is not known" in capsys.readouterr().out
    monkeypatch.setattr(running, "monotonic", lambda: 0.0)
    monkeypatch.setattr(running, "fit_recipe", None)  # nothing is trained
    options |= {"out": "out", "row": "Gone", "budget": 1e-9, "progress": False}
    found = by_name(softrec.reproduce(paper, **options))
    assert "of the budget were left" in found["Gone", "Base"].reason
    Path("gone.csv").unlink()
    found = by_name(softrec.reproduce(paper, **options))
    assert "gone.csv is not available" in found["Gone", "Base"].reason


def test_finished_rows_stay_in_the_table(paper):
    options = {"baselines": False, "defaults": False, "progress": False, "out": "out"}
    softrec.reproduce(paper, row="Shop,Base", **options)
    found = by_name(softrec.reproduce(paper, row="Shop,LS", **options))
    assert {name: row.seeds for name, row in found.items()} == {
        ("Shop", "Base"): (0,), ("Shop", "LS"): (0,),
    }  # fmt: skip
    found = softrec.reproduce(paper, row="Secret", **options)
    assert [(b.dataset, len(b.rows)) for b in found.blocks] == [("Shop", 2), ("Secret", 1)]


def test_a_gain_of_the_paper_needs_no_training_of_the_baseline(paper):
    options = {"baselines": False, "defaults": False, "progress": False, "train": False}
    found = by_name(softrec.reproduce(paper, out="out", row="Shop,LS", **options))
    (measured,) = found["Shop", "LS"].measured
    assert measured.gain_published == pytest.approx(9998)
    assert math.isnan(measured.gain_here)


@pytest.mark.slow
def test_baselines_alone_are_counted_in_seconds(paper, monkeypatch):
    asked = []
    real = running.fit_recipe
    monkeypatch.setattr(
        running,
        "fit_recipe",
        lambda recipe, folder, **options: asked.append(recipe) or real(recipe, folder, **options),
    )
    found = softrec.reproduce(paper, out="out", row="Shop", train=False, progress=False)
    assert {is_counted(recipe.model.name) for recipe in asked} == {True}
    (block,) = found.blocks
    assert {row.reason for row in block.rows} == {"not trained, as was asked for"}
    assert [each.kind for each in block.beside if each.chosen] == ["simple"]


def test_seeds_are_trained_one_after_the_other(paper):
    found = softrec.reproduce(paper, out="out", row="Shop,LS", seeds=2, progress=False,
                              baselines=False, defaults=False)  # fmt: skip
    (row,) = by_name(found).values()
    assert row.seeds == (0, 1)
    assert len(row.measured[0].here.per_seed) == 2
    assert "±" in markdown(found)


def test_models_with_todays_defaults_stand_beside(paper, monkeypatch):
    (group,) = running.planned(paper, row="Shop", baselines=False)
    recipes = [job.recipe for job in group.beside.values()]
    assert [recipe.model.name for recipe in recipes] == ["sasrec", "gru4rec"]
    plain = read_input("shop", {}).recipe
    for recipe in recipes:
        assert recipe.training == plain.training
        assert recipe.candidates == plain.candidates
        assert recipe.evaluation.metrics == ("ndcg@10", "hit_rate@5")


# --- what is refused, and the command line ---


def test_what_does_not_exist_is_refused(paper):
    options = {"out": "out", "progress": False}
    with refused(RecipeError):
        softrec.reproduce("desorek", **options)
    with refused(RecipeError):
        softrec.reproduce(paper, table="two", **options)
    with refused(RecipeError):
        softrec.reproduce(paper, row="Shop,SASRec", **options)
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine")
    with refused(RunError):
        softrec.reproduce(paper, **options)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Secret:", "Other:"),
        ("file: small.csv", "file: none.csv"),
        ("name: one", "name: two"),
        ("supposed: the moon", "cause: the moon"),
        ("metric: HR@5", "colour: red"),
        ("alpha: 0.3}, note", "alpha: 3}, note"),
    ],
)
def test_a_paper_that_makes_no_sense_is_refused(paper, old, new):
    Path(paper).write_text(Path(paper).read_text().replace(old, new, 1))
    with refused(RecipeError):
        cells_of(paper)


def test_results_of_another_version_are_refused(paper):
    found = softrec.reproduce(paper, out="out", row="Secret", progress=False)
    path = Path("out/reproduction.json")
    write_reproduction(found.model_copy(update={"format": 99}), path)
    with refused(RunError):
        read_reproduction(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_the_command_of_a_row_trains_its_recipe(name):
    """The metrics aside, of which a run has those of all rows with the same training."""
    about, groups = read_paper(name), running.planned(name, baselines=False, defaults=False)
    found = results_of(about, groups, {}, {}, "")
    rows = [row for block in found.blocks for row in block.rows]
    cells = [cell for group in groups for cell in group.cells]
    assert any(row.command for row in rows)
    for row, cell in zip(rows, cells, strict=True):
        assert bool(row.command) == (cell.recipe is not None)
        if cell.recipe is None:
            continue
        _, _, source, *typed = shlex.split(row.command)
        sets = [text for flag, text in pairwise(typed) if flag == "--set"]
        recipe = read_input(source, dict(map(parse_assignment, sets))).recipe
        metrics = {"metrics": cell.recipe.evaluation.metrics}
        evaluation = recipe.evaluation.model_copy(update=metrics)
        assert recipe.model_copy(update={"evaluation": evaluation}) == cell.recipe, row.command


def test_the_command_line(paper, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as done:
            cli.main(["reproduce", paper, *arguments])
        return done.value.code, capsys.readouterr()

    code, said = run("--list")
    assert code == 0
    assert "it is not public" in said.out
    assert "base target.name=uniform target.alpha=0.3" in said.out
    code, said = run("--dry-run", "--no-baselines", "--no-defaults")
    lines = said.out.splitlines()
    assert len(lines) == 1 + 4 + 1
    assert "missing" in said.out
    assert not Path("out").exists()
    code, said = run()
    assert code == 2
    assert "--out" in said.err
    code, said = run("--row", "Shop,Base", "--no-baselines", "--no-defaults", "--out", "out")
    assert code == 0
    assert "of 2 published numbers 1 above, 1 not printed" in said.err
    assert Path("out/reproduction.md").exists()


def log_of(seed):
    draw = np.random.default_rng(seed)
    return pl.DataFrame({"user": np.repeat(np.arange(40), 6), "item": draw.integers(9, size=240)})


@pytest.mark.slow
def test_runs_of_another_log_are_not_shown_with_those_of_this_one(paper):
    log_of(0).write_csv("gone.csv")
    asked = {"row": "Gone,Base", "out": "out", "progress": False, "defaults": False}
    first = by_name(softrec.reproduce(paper, **asked))["Gone", "Base"]
    assert by_name(softrec.reproduce(paper, **asked))["Gone", "Base"] == first
    log_of(1).write_csv("gone.csv")
    with refused(RunError):
        softrec.reproduce(paper, seeds=2, **asked)


@pytest.mark.parametrize("value", ["0.2%", "n/a", "1,5"])
def test_what_is_no_number_is_refused(paper, value):
    with Path("small.csv").open("a") as file:
        file.write(f'one,Shop,Net,Base,,recall@10,"{value}"\n')
    with refused(RecipeError):
        cells_of(paper)


def test_a_dash_or_nothing_was_not_printed(paper):
    dashes = ("-", "\N{EN DASH}", "\N{EM DASH}", " ")
    with Path("small.csv").open("a") as file:
        file.writelines(f"one,Shop,Net,Base,,recall@{n},{d}\n" for n, d in enumerate(dashes, 1))
    assert sum(map(math.isnan, cells_of(paper)[0].published.values())) == 1 + 4


def test_two_values_of_one_cell_are_refused(paper):
    with Path("small.csv").open("a") as file:
        file.write("one,Shop,Net,Base,,ndcg@10,0.5\n")
    with refused(RecipeError):
        cells_of(paper)
