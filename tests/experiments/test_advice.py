"""The sentences at the top of a report: what to use, by what the data say."""

import copy

import pytest
from made_results import a_simple_baseline, several_models, synthetic, typed

from softrec.report.advice import advice
from softrec.report.write import console_table, render_report

ONE_ITEM = {"test": {"cases": 7822, "relevant": 7822}}
DIFFERENCE = synthetic()["variants"][1]["difference"]["ndcg@10"]


def compared(best="pop+ (alpha 0.4)", simple=None, p=0.001, gain=-0.05, **changes):
    """The made-up comparison with a row that is best on validation, and a simple baseline.

    recall@10 is about 0.101 of one-hot labels and 0.124 lower or higher as the names say; that of
    the simple baseline is as of the best row and `gain` more.
    """
    results = {**synthetic(), "evaluation": ONE_ITEM, **changes}
    for variant in results["variants"]:
        variant["valid"]["ndcg@10"]["mean"] = 0.9 if variant["name"] == best else 0.1
        for metric, mean in (("recall@10", 0.2), ("ndcg@10", 0.1)):
            own = (variant["difference"] or {}).get(metric, {"mean": 0.0})["mean"]
            variant["test"][metric]["mean"] = mean + own
    if simple:
        row = a_simple_baseline(simple, gain)
        row["test"]["recall@10"]["mean"] = 0.2 + gain
        row["runs"][0]["seconds"] = 0.31
        results["variants"].append(row)
        difference = {**DIFFERENCE, "mean": gain, "low": gain - 0.01, "high": gain + 0.01, "p": p}
        results["simple"] = {"counted": simple, "trained": best, "difference": difference}
    return results


def test_a_variant_that_helped_is_to_be_used():
    found = advice(typed(compared(simple="markov")))
    assert (found.use, found.kind) == ("pop+ (alpha 0.4)", "variant")
    assert found.headline == "Use pop+ (alpha 0.4) instead of one-hot."
    assert found.reasons == (
        "Of 100 test users, 21.2 get the right item among the first 10; with one-hot 20.0; with "
        "markov, the best simple baseline, 15.0. That is 1.2 more with pop+ (alpha 0.4) than with "
        "one-hot (95 % interval +0.8 to +1.7).",
        "Cost: pop+ (alpha 0.4) is trained in 8.5 seconds, one-hot is trained in 8.4 seconds, "
        "markov is counted in 0.3 seconds.",
        "Evidence: ndcg@10 of pop+ (alpha 0.4) minus that of one-hot is +0.0124, 95 % interval "
        "+0.0082 to +0.0166, Holm-adjusted p = 0.0031, 7,822 users, 3 trainings.",
    )


def test_the_first_of_sampled_items_are_not_the_first_of_all():
    sampled = ONE_ITEM | {"negatives": 100}
    found = advice(typed(compared(simple="markov", evaluation=sampled)))
    assert found.reasons[0].startswith(
        "Of 100 test users, 21.2 get the right item among the first 10 of 100 sampled items and "
        "their own; with one-hot 20.0;"
    )


@pytest.mark.parametrize(
    ("best", "word"),
    [("label smoothing (0.1)", "not shown to be better"), ("teacher (self, T 2)", "worse")],
)
def test_one_hot_is_kept_where_the_best_variant_did_not_help(best, word):
    found = advice(typed(compared(best, "markov")))
    assert (found.use, found.kind) == ("one-hot", "baseline")
    assert found.headline == f"Keep one-hot: {best}, the best on validation, is {word}."
    assert found.reasons[0].startswith(
        f"Of 100 test users, 20.0 get the right item among the first 10; with {best}, the best on "
        "validation, "
    )
    assert ("fewer" in found.reasons[0]) == (word == "worse")
    assert "Holm-adjusted p" in found.reasons[2]
    assert found.reasons[3].startswith(
        "Of the rows that are not the best on validation, pop+ (alpha 0.4) helped on test: "
    )


def test_one_hot_is_kept_where_it_is_best_on_validation():
    found = advice(typed(compared("one-hot", "markov")))
    assert (found.use, found.kind) == ("one-hot", "baseline")
    assert found.headline == "Keep one-hot: no variant is better on validation."
    assert "with markov, the best simple baseline, 15.0." in found.reasons[0]
    assert not any("Evidence" in reason for reason in found.reasons)
    alone = compared("one-hot")
    alone["variants"] = alone["variants"][:1]
    assert advice(typed(alone)).headline == "Keep one-hot: it is the best on validation."


@pytest.mark.parametrize(
    ("p", "gain", "simple"),
    [(0.001, -0.05, False), (0.3, -0.05, True), (0.3, 0.05, True), (0.001, 0.05, True)],
)
def test_a_simple_baseline_is_to_be_used_unless_it_is_beaten(p, gain, simple):
    found = advice(typed(compared(simple="markov", p=p, gain=gain)))
    assert (found.kind == "simple") == simple
    if not simple:
        return
    why = (
        "it is better than the best trained row"
        if p < 0.05
        else "there is no evidence that the best trained row is better"
    )
    assert found.use == "markov"
    assert found.headline == f"Use the simple baseline markov: {why}."
    assert found.reasons[0] == (
        f"Of 100 test users, {20 + 100 * gain:.1f} get the right item among the first 10; with "
        "pop+ (alpha 0.4), the best trained row on validation, 21.2."
    )
    assert found.reasons[1] == (
        "Cost: markov is counted in 0.3 seconds, pop+ (alpha 0.4) is trained in 8.5 seconds."
    )
    assert f"minus that of pop+ (alpha 0.4) is {gain:+.4f}" in found.reasons[2]


def test_one_training_is_no_ground_for_advice():
    results = compared(simple="markov", gain=0.3)
    results["variants"][2]["runs"] = results["variants"][2]["runs"][:1]
    found = advice(typed(results))
    assert (found.use, found.kind) == ("", "open")
    assert found.headline == (
        "No advice yet: one training seed: cannot tell training noise from a gain."
    )
    assert "Train each variant three times or more (--seeds 3)." in found.reasons


@pytest.mark.parametrize("whose", [0, 1])
def test_what_had_not_levelled_off_gets_no_advice(whose):
    results = compared()
    results["variants"][whose]["runs"][1]["levelled_off"] = False
    found = advice(typed(results))
    name = results["variants"][whose]["name"]
    assert (found.use, found.kind) == ("", "open")
    assert found.headline == (
        "No advice yet: pop+ (alpha 0.4) is the best on validation, but seed 1 of "
        f"{name} had not levelled off."
    )
    assert found.reasons[-1] == (
        f"Seeds 1 of {name} had not levelled off: with more epochs this may change."
    ).replace("Seeds 1", "Seed 1")


def test_a_simple_baseline_is_used_with_a_caution_where_training_was_short():
    results = compared(simple="markov", gain=0.05)
    assert "levelled off" not in advice(typed(results)).text
    results["variants"][1]["runs"][0]["levelled_off"] = False
    found = advice(typed(results))
    assert found.use == "markov"
    assert found.reasons[-1].startswith("Seed 0 of pop+ (alpha 0.4) had not levelled off")


def test_a_row_that_still_rose_is_named_also_where_it_is_not_the_best_so_far():
    results = compared("one-hot")
    results["variants"][2]["runs"][1]["levelled_off"] = False
    found = advice(typed(results))
    assert found.use == "one-hot"
    name = results["variants"][2]["name"]
    assert found.reasons[-1].startswith(f"Seed 1 of {name} had not levelled off")


def test_where_users_have_several_items_recall_counts_no_users():
    several = {"test": {"cases": 10, "relevant": 25}}
    found = advice(typed(compared(evaluation=several)))
    assert found.reasons[0] == "ndcg@10 is 0.1124 on test; with one-hot 0.1000."
    results = compared(evaluation=several, metrics=["hit_rate@5", "ndcg@10"])
    for variant in results["variants"]:
        variant["test"]["hit_rate@5"] = {"mean": 0.5, "per_seed": [0.5] * 3}
    assert advice(typed(results)).reasons[0] == (
        "Of 100 test users, 50.0 get one of their items among the first 5; with one-hot 50.0."
    )


def test_of_several_models_the_baseline_of_the_best_is_compared():
    results = {**several_models(), "evaluation": ONE_ITEM}
    found = advice(typed(results))
    assert found.headline == "Use gru4rec: pop+ (alpha 0.4) instead of gru4rec: one-hot."


@pytest.mark.slow
def test_the_advice_stands_at_the_top_and_is_escaped():
    results = compared(simple="markov")
    nasty = '<b>& "pop"'
    results["variants"][1]["name"] = nasty
    results["simple"]["trained"] = nasty
    page = render_report(typed(results))
    at = page.index("Use &lt;b&gt;&amp; &#34;pop&#34; instead of one-hot.")
    assert at < page.index("Did soft targets help?")
    assert advice(typed(results)).headline in str(console_table(typed(results)).title)


def test_numbers_that_are_not_known_are_not_told():
    results = copy.deepcopy(compared())
    results["variants"][1]["difference"] = None
    for variant in results["variants"]:
        for run in variant["runs"]:
            run["seconds"] = None
    found = advice(typed(results))
    assert found.kind == "open"
    assert found.headline.endswith("but has no comparison with one-hot.")
    assert "nan" not in found.text
    assert "Cost" not in found.text
