"""`compare --tune`: every row by the same budget, winners chosen on validation, and it is told."""

import json

import pytest

import softrec
from messages import refused
from softrec.errors import RecipeError, RunError
from softrec.experiments.combinations import plan
from softrec.experiments.comparison import open_comparison
from softrec.experiments.inputs import Given
from softrec.experiments.variants import axes_of
from softrec.report import tables
from softrec.report.results import read_results
from softrec.report.write import console_table, render_report

pytestmark = pytest.mark.slow

BUDGET = {"trials": 3, "epochs": 2, "pruner": "median", "seed": 0, "metric": "ndcg@10"}
ASKED = {
    "targets": "one-hot,uniform", "model": "gru4rec", "tune": 3, "seeds": 2, "epochs": 2,
    "length": 8, "space": {"model.dim": "4,8", "training.lr": "1e-3..1e-1:log"},
    "metrics": ["ndcg@10"], "baselines": False, "progress": False,
    "data.shop": {"n_items": 40, "n_users": 60},
}  # fmt: skip


def planned(trials=5, space=None, seeds=1, **asked):
    options = asked.pop("options", {})
    axes = axes_of(
        asked.pop("targets", "one-hot,pop+"), asked.pop("models", None),
        asked.pop("losses", None), asked.pop("grid", None), options,
    )  # fmt: skip
    given = Given({"data": {"source": "shop"}, **asked}, options)
    return plan(given, axes, seeds, tune=trials, space=space)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return softrec.compare("shop", out=tmp_path_factory.mktemp("tuned") / "c", **ASKED)


def test_every_row_has_the_same_budget_the_baseline_too(found):
    results = found.results
    assert [variant.name for variant in results.trained] == ["one-hot", "uniform"]
    assert results.tuning == BUDGET
    studies = sorted(path.name for path in (found.folder / "studies").iterdir())
    assert studies == ["one-hot", "uniform"]
    for variant in results.trained:
        search = variant.tuned
        assert search.trials == search.complete + search.pruned + search.failed == 3
        assert search.epochs <= 3 * 2
        assert search.space["training.lr"] == "0.001..0.1:log"
        assert ("target.alpha" in search.space) == (variant.name == "uniform")
        assert (found.folder / "studies" / variant.name / "study.db").exists()


def test_the_report_without_figures_has_what_was_found_and_no_setting_that_no_row_had(found):
    rates = {variant.tuned.settings["training.lr"] for variant in found.results.trained}
    assert len(rates) == 2
    assert found.results.budget["lr"] == "differs between rows"
    told = (found.folder / "report.md").read_text()
    assert "Search of settings" in told
    assert all(f"{rate:.4g}"[:5] in told for rate in rates)


def test_each_row_is_trained_with_the_settings_of_its_winner(found):
    for variant in found.results.trained:
        folders = sorted((found.folder / "runs").glob(f"{variant.name}-seed*"))
        recipes = [softrec.open_run(path).recipe for path in folders]
        assert [recipe.seed for recipe in recipes] == [0, 1]
        for place, value in variant.tuned.settings.items():
            section, _, field = place.partition(".")
            for recipe in recipes:
                own = getattr(recipe, section)
                assert (own.settings[field] if section == "model" else getattr(own, field)) == value
        # The first seed is that of the trials: the same training, the same validation.
        assert variant.valid["ndcg@10"].per_seed[0] == pytest.approx(variant.tuned.valid)


@pytest.mark.slow
def test_the_report_says_so(found, tmp_path):
    results = found.results
    assert results.title == "gru4rec on shop: only the target differs, each tuned"
    told = "with the same budget, 3 trials of at most 2 epochs"
    page = render_report(results)
    assert told in page
    assert "How the settings were found" in page
    assert told in " ".join(str(console_table(results).caption).split())
    assert told in results.notes[0]
    rows = tables.tuning(results).rows
    assert [row[:2] for row in rows] == [["one-hot", "3"], ["uniform", "3"]]
    assert f"{results.trained[1].tuned.valid:.4f}" in rows[1][-1]
    plain = json.loads((found.folder / "results.json").read_text())
    assert plain["format"] == 3
    assert read_results(found.folder / "results.json") == results
    plain |= {"format": 2}
    plain.pop("tuning")
    for variant in plain["variants"]:
        variant.pop("tuned")
    (tmp_path / "results.json").write_text(json.dumps(plain))
    before = read_results(tmp_path / "results.json")
    assert before.tuning == {}
    assert tables.tuning(before) is None
    assert told not in render_report(before.model_copy(update={"notes": ()}))
    with refused(RunError):
        softrec.compare("shop", out=found.folder, **ASKED)
    assert open_comparison(found.folder).results == results


def test_names_leave_out_what_is_yet_to_be_found():
    names = [v.name for v in planned(targets="one-hot,pop+,pop+(temperature=2)").variants]
    assert names == ["one-hot", "pop+", "pop+ (temperature 2.0)"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"targets": "pop+,pop+(alpha=0.4)"}, ["pop+", "pop+ (alpha 0.4)"]),
        ({"targets": "pop+(temperature=1),pop+"}, ["pop+ (temperature 1.0)", "pop+"]),
        (
            {"targets": "one-hot,uniform", "losses": "decoupled,decoupled(balance=0.5)"},
            ["one-hot", "uniform, decoupled", "uniform, decoupled (balance 0.5)"],
        ),
        (
            {"targets": "one-hot", "models": "sasrec,sasrec(dim=64)"},
            ["sasrec: one-hot", "sasrec (dim 64): one-hot"],
        ),
    ],
)
def test_a_default_in_brackets_is_kept_where_the_other_row_searches_it(asked, names):
    """Equal before the search, but not after it; without a search they are the same twice."""
    made = planned(**asked).variants
    assert [variant.name for variant in made] == names
    assert len({json.dumps(variant.space.facts()) for variant in made}) > 1
    with refused(RecipeError):
        planned(**asked, trials=None)


def test_what_makes_a_variant_is_not_searched():
    made = planned(
        targets="one-hot,uniform(alpha=0.3),pop+", grid={"target.temperature": [1, 2]},
        models="gru4rec(dim=8),gru4rec", options={"lr": 0.01, "balance": 0.3},
        losses="mixed,decoupled", space={"target.alpha": "0.1..0.2", "weight_decay": "0,1e-3"},
    )  # fmt: skip
    assert made.search.trials == 5
    for variant in made.variants:
        facts, target = variant.space.facts(), variant.recipes[0].target
        assert "training.lr" not in facts
        assert "loss.balance" not in facts
        assert "target.temperature" not in facts
        assert not {"target.name", "loss.name"} & facts.keys()
        assert facts["training.weight_decay"] == "0,0.001"
        assert ("model.dim" in facts) == ("dim 8" not in variant.name)
        assert facts.get("target.alpha") == ("0.1..0.2" if target.name == "pop+" else None)


@pytest.mark.parametrize(
    "asked",
    [
        {"trials": None, "space": {"lr": "1e-3..1e-2"}},
        {"space": {"target": "one-hot,uniform"}},
        {"space": {"loss": "mixed,decoupled"}},
        {"space": {"balance": "0.1..0.9"}},
        {"space": {"alpha": "0.1..0.9"}, "grid": {"target.alpha": [0.1, 0.2]}},
        {"space": {"epochs": "1,2"}},
        {"trials": 0},
        {"trials": 20_000},
        {"seeds": 0},
    ],
)
def test_a_search_that_no_variant_can_have_is_refused(asked):
    with refused(RecipeError):
        planned(**asked)


def test_the_section_tune_of_a_recipe_is_the_base():
    made = planned(tune={"trials": 9, "pruner": "none", "space": {"lr": "1e-3..1e-2"}}, trials=4)
    assert made.search.trials == 4
    assert made.search.pruner == "none"
    assert {v.space.facts()["training.lr"] for v in made.variants} == {"0.001..0.01"}
    assert planned(options={"tune.pruner": "none"}).search.pruner == "none"
