"""Rows of the same on other windows, and what the report says of them."""

import copy

import pytest
from made_results import synthetic, typed

import softrec
from softrec.experiments.combinations import plan
from softrec.experiments.inputs import Given
from softrec.experiments.protocol import with_protocol_rows
from softrec.experiments.variants import axes_of
from softrec.report import slices, tables
from softrec.report.rows import rows
from softrec.report.verdict import headline, protocol_sentences, verdicts
from softrec.report.write import render_report

pytestmark = pytest.mark.slow


def planned(rows="auto", seeds=2, models=None, grid=None, targets="one-hot,uniform", **options):
    axes = axes_of(targets, models, None, grid, options)
    given = Given({"data": {"source": "a.csv"}}, options)
    return with_protocol_rows(plan(given, axes, seeds), rows)


def windows(made):
    return [(v.name, v.recipes[0].training.windows) for v in made.variants]


def test_one_label_a_sequence_has_a_row_of_every_position():
    made = planned(windows="last")
    assert windows(made) == [
        ("one-hot", "last"),
        ("uniform (alpha 0.1)", "last"),
        ("one-hot, every position", "positions"),
    ]
    first, _, added = made.variants
    assert made.baselines == [0, 0, 0]
    assert [recipe.seed for recipe in added.recipes] == [0, 1]
    changed = added.recipes[1].model_dump(mode="json")
    changed["training"]["windows"] = "last"
    assert changed == first.recipes[1].model_dump(mode="json")
    (note,) = made.notes
    assert "one-hot, every position" in note
    assert "2 trainings more" in note


def test_trials_of_the_row_are_told_too():
    given = Given({"data": {"source": "a.csv"}}, {"windows": "last"})
    made = plan(given, axes_of("one-hot,uniform", None, None, None, {}), 2, tune=3)
    (note,) = with_protocol_rows(made, "auto").notes
    assert "2 trainings and 3 trials more" in note


@pytest.mark.parametrize("own", ["positions", "prefixes", "sliding", "interactions"])
def test_other_windows_have_none_unless_asked_for(own):
    assert len(planned(windows=own).variants) == 2
    added = windows(planned("always", windows=own))[2:]
    assert added == ([] if own == "interactions" else [("one-hot, one label a sequence", "last")])
    assert len(planned("never", windows="last").variants) == 2


def test_each_model_has_one_behind_its_own_variants():
    made = planned(models="sasrec,mf,gru4rec", windows="last")
    assert [name for name, _ in windows(made)] == [
        "sasrec: one-hot", "sasrec: uniform (alpha 0.1)", "sasrec: one-hot, every position",
        "mf: one-hot", "mf: uniform (alpha 0.1)",
        "gru4rec: one-hot", "gru4rec: uniform (alpha 0.1)", "gru4rec: one-hot, every position",
    ]  # fmt: skip
    assert made.baselines == [0, 0, 0, 3, 3, 5, 5, 5]


def test_values_of_a_grid_get_no_row_each():
    made = planned(grid=["training.lr=0.1,0.01", "target.alpha=0.1,0.2"], windows="last")
    assert [name for name, own in windows(made) if own == "positions"] == [
        "sasrec (lr 0.1): one-hot, every position"
    ]


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        ({"grid": ["windows=last,positions"]}, 4),
        ({"grid": ["windows=positions,last"], "rows": "always"}, 4),
        ({"models": "gru4rec,gru4rec(training.windows=positions)", "windows": "last"}, 4),
    ],
)
def test_windows_that_were_asked_for_are_trained_once(asked, rows):
    made = planned(**asked)
    assert len(made.variants) == rows
    assert not made.notes


def test_the_row_is_trained_and_compared(tmp_path):
    found = softrec.compare(
        "shop", out=tmp_path / "c", model="gru4rec", targets="one-hot,uniform", seeds=2, epochs=1,
        length=8, windows="last", metrics=["ndcg@10"], baselines=False, progress=False,
        **{"data.shop": {"n_items": 40, "n_users": 60}, "model.dim": 8},
    )  # fmt: skip
    results = found.results
    last, _, every = results.variants
    assert (last.windows, every.windows) == ("last", "positions")
    assert every.baseline == "one-hot"
    assert results.on_other_windows(every)
    difference = every.test["ndcg@10"].mean - last.test["ndcg@10"].mean
    assert every.difference["ndcg@10"].mean == pytest.approx(difference)
    assert results.title.endswith("only the target differs")
    assert "To show what the protocol" in results.notes[-1]


def with_a_row() -> dict:
    results = copy.deepcopy(synthetic())
    for variant in results["variants"]:
        variant["windows"] = "last"
    row = copy.deepcopy(results["variants"][1])
    row.update(name="one-hot, every position", series="one-hot, every position", soft_weight=0.0)
    row.update(windows="positions")
    row["valid"]["ndcg@10"]["mean"] = 0.9
    row["difference"]["ndcg@10"]["mean"] = 0.05
    results["variants"].append(row)
    return results


def test_the_report_tells_how_much_the_protocol_matters():
    results = typed(with_a_row())
    (told,) = protocol_sentences(results)
    assert told.startswith("one-hot, every position: ndcg@10 ")
    assert "a difference of +0.0500" in told
    assert "Holm-adjusted p = 0.0031" in told
    assert told.endswith("The most that a target changes is -0.0152 (teacher (self, T 2)).")
    assert told.replace("'", "&#39;") in render_report(results)
    assert protocol_sentences(typed(synthetic())) == []
    assert "Baselines are also trained on other windows" in render_report(results)
    plain = render_report(typed(synthetic()))
    assert "How much does the protocol" not in plain
    assert "other windows" not in plain


def test_it_is_no_soft_target():
    results = typed(with_a_row())
    assert headline(verdicts(results), results).startswith("Of 3 soft variants: 1 helped")
    assert [row.variant.name for row in slices.best_soft(results)] == ["pop+ (alpha 0.4)"]
    assert [row.label for row in rows(results)][-1] == "one-hot, every position"
    head, cells = tables.targets(results).head, tables.targets(results).rows
    assert [row[head.index("windows")] for row in cells] == ["last"] * 4 + ["positions"]


def test_one_training_tells_no_noise_from_a_gain():
    results = with_a_row()
    for metric in results["metrics"]:
        results["variants"][-1]["difference"][metric].update(low=None, high=None, p_holm=None)
    (told,) = protocol_sentences(typed(results))
    assert "One training seed: cannot tell" in told
    assert "Holm" not in told
