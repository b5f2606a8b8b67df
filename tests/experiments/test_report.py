import copy
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from made_results import METRICS, NASTY, Page, some_slices, synthetic, typed
from matplotlib import rcParams
from rich.console import Console
from rich.table import Table

from messages import refused
from softrec.errors import RunError
from softrec.evaluation.significance import seed_spread
from softrec.experiments.comparison import open_comparison
from softrec.files import write_text
from softrec.report import figures, plots, slices, verdict, write
from softrec.report.results import FORMAT, read_results, write_results
from softrec.report.verdict import headline


def render_report(results: dict) -> str:
    return write.render_report(typed(results))


def write_report(results: dict, path: Path) -> None:
    write.write_report(typed(results), path)


def verdicts(results: dict) -> list[verdict.Verdict]:
    return verdict.verdicts(typed(results))


def console_table(results: dict) -> Table:
    return write.console_table(typed(results))


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_report(synthetic()))


# --- every number is that of the results ---


def test_the_overview_has_every_mean_and_spread(page):
    results, table = synthetic(), page.table("Means over the test users")
    for variant in results["variants"]:
        for metric in METRICS:
            value = variant["test"][metric]
            sd = seed_spread(value["per_seed"])[1]
            assert table[variant["name"]][metric] == f"{value['mean']:.4f} ± {sd:.4f}"
    assert table[results["ceiling"]["name"]]["ndcg@10"] == "0.3100"


@pytest.mark.parametrize("metric", METRICS)
def test_the_table_of_a_metric_has_every_number(page, metric):
    results, table = synthetic(), page.table(metric)
    ceiling = results["ceiling"]["test"][metric]
    base = results["variants"][0]["test"][metric]["mean"]
    assert list(table) == [variant["name"] for variant in results["variants"]]
    for variant in results["variants"]:
        row, test = table[variant["name"]], variant["test"][metric]
        assert row["each seed"] == ", ".join(f"{value:.4f}" for value in test["per_seed"])
        assert row["validation"].startswith(f"{variant['valid'][metric]['mean']:.4f}")
        assert row["below the best"] == f"{ceiling - test['mean']:.4f}"
        share = (test["mean"] - base) / (ceiling - base)
        assert row["fraction of gap closed"] == f"{100 * share:+.1f} %"
    for variant in results["variants"][1:]:
        row, difference = table[variant["name"]], variant["difference"][metric]
        assert row["difference"] == f"{difference['mean']:+.4f}"
        assert row["95 % interval"] == f"{difference['low']:+.4f} to {difference['high']:+.4f}"
        assert row["relative"] == f"{100 * difference['relative']:+.1f} %"
        users = f"{difference['low_users']:+.4f} to {difference['high_users']:+.4f}"
        assert row["users only: 95 % interval"] == users
        assert row["wins / ties / losses"] == "1,234 / 5,678 / 910"
        assert row["users"] == "7,822"
        assert row["detectable (power 80 %)"] == "0.0063"
        assert row["effect size"].startswith(row["difference"][0])
        assert row["bootstrap: 95 % interval"].count(" to ") == 1
    assert table["pop+ (alpha 0.4)"]["p (Holm)"] == "0.0031"
    assert table["teacher (self, T 2)"]["p (Holm)"] == "< 0.0001"
    assert table["pop+ (alpha 0.4)"]["users only: p of ranks"] == "0.0008"
    assert table["one-hot"]["difference"] == ""


def test_the_cost_table(page):
    table = page.table("Cost")
    results = synthetic()
    base = results["variants"][0]["runs"][0]["seconds_per_epoch"]
    for variant in results["variants"]:
        row, run = table[variant["name"]], variant["runs"][0]
        assert row["runs"] == "3"
        assert row["seconds per epoch"] == f"{run['seconds_per_epoch']:.2f}"
        assert row["of the baseline's"] == f"{run['seconds_per_epoch'] / base:.2f} ×"
        assert row["best epoch"] == "4, 4, 4"
        assert row["epochs run"] == "7, 7, 7"
        assert row["seconds in all"] == f"{3 * run['seconds']:.1f}"
        assert row["peak memory (MiB)"] == "513"


def test_regret_settings_and_the_way_to_run_it_again(page):
    assert page.table("Regret")["pop+ (alpha 0.4)"]["ndcg@10"] == "0.0321"
    targets = page.table("The target of each")
    assert targets["pop+ (alpha 0.4)"]["target"] == "kind: pop+ (alpha 0.4), alpha: 0.4"
    assert targets["pop+ (alpha 0.4)"]["soft mass"] == "20.0 %"
    assert page.table("Versions")["torch"]["version"] == "2.6.0"
    for text in (
        "softrec run recipes/simulated.yaml --seeds 3",
        "Seeds: 0, 1, 2. Seeds set the initial weights",
        "leave-one-out",
        "8,000",
        "0.001",
        "Users with fewer than 5 events were left out.",
    ):
        assert text in page.text


# --- the verdict is honest ---


def test_a_verdict_follows_the_adjusted_p_and_the_sign():
    found = verdicts(synthetic())
    assert [verdict.call for verdict in found] == ["helped", "no evidence", "hurt"]
    assert "+0.0124 (+6.2 % of the baseline), 95 % interval +0.0082 to +0.0166" in found[0].text
    assert "Holm-adjusted p = 0.0031" in found[0].text
    assert "Holm-adjusted p < 0.0001" in found[2].text
    assert headline(found) == (
        "Of 3 soft variants: 1 helped, 1 without evidence either way, 1 hurt."
    )


def test_the_verdict_is_on_the_selection_metric_alone():
    results = synthetic()
    results["variants"][1]["difference"]["ndcg@10"]["p_holm"] = 0.06
    results["variants"][1]["difference"]["recall@10"]["p_holm"] = 0.0
    verdict = verdicts(results)[0]
    assert verdict.call == "no evidence"
    assert "not among as many comparisons" in verdict.text


def test_without_evidence_the_report_says_what_could_have_been_seen():
    found = verdicts(synthetic())
    assert "true difference of 0.0063 would be found in 80 % of such comparisons" in found[1].text
    assert "would be found" not in found[0].text + found[2].text


def one_seed() -> dict:
    """What a comparison with one seed leaves: no interval over trainings and no p-value."""
    results = synthetic(1)
    for variant in results["variants"][1:]:
        for difference in variant["difference"].values():
            difference |= dict.fromkeys(("low", "high", "p", "p_holm", "detectable", "p_wilcoxon"))
    return results


@pytest.mark.slow
def test_one_seed_gives_numbers_and_no_verdict():
    results = one_seed()
    found = verdicts(results)
    assert [verdict.call for verdict in found] == ["no verdict"] * 3
    assert "+0.0124" in found[0].text
    assert "interval +0.0103 to +0.0145 over the users only" in found[0].text
    assert headline(found) == (
        "Of 3 soft variants: 3 without a verdict. "
        "One training seed: cannot tell training noise from a gain."
    )
    text = " ".join(Page(render_report(results)).text.split())
    assert "Line: 95 % interval over the users only." in text
    assert "The intervals cover the choice of users only" in text
    assert "Holm-adjusted p =" not in text
    row = Page(render_report(results)).table("ndcg@10")["pop+ (alpha 0.4)"]
    assert row["95 % interval"] == row["p"] == row["p (Holm)"] == "n/a"
    assert row["users only: 95 % interval"] == "+0.0103 to +0.0145"
    lines = shown(results, 120)
    assert "no verdict" in lines
    assert "one seed" in lines
    assert "helped" not in lines


@pytest.mark.slow
@pytest.mark.parametrize("whose", [0, 1])
def test_what_had_not_levelled_off_is_named_and_not_judged(whose):
    """The second seed of the baseline or of pop+; the interval and p are shown all the same."""
    results = synthetic()
    results["variants"][whose]["runs"][1]["levelled_off"] = False
    found = verdicts(results)
    judged = ["no evidence", "hurt"] if whose else ["no verdict", "no verdict"]
    assert [verdict.call for verdict in found] == ["no verdict", *judged]
    name = "this variant" if whose else "the baseline"
    assert f"Seed 1 of {name} had not levelled off" in found[0].text
    assert "interval +0.0082 to +0.0166, Holm-adjusted p = 0.0031" in found[0].text
    told = f"{results['variants'][whose]['name']} (seed 1)"
    page = Page(render_report(results))
    assert f"Not levelled off when the epochs ended: {told}." in page.text
    assert page.table("Cost")[results["variants"][whose]["name"]]["levelled off"] == "yes, no, yes"
    assert page.table("ndcg@10")["pop+ (alpha 0.4)"]["p (Holm)"] == "0.0031"
    lines = shown(results, 80)
    assert "not levelled off" in lines
    assert told in " ".join(lines.split())


def test_the_certainty_of_several_seeds():
    text = Page(render_report(synthetic(3))).text
    assert "One training seed" not in text
    assert "cover the choice of users and the randomness of training together" in text
    assert "95 % interval over the users and the trainings" in text


@pytest.mark.parametrize(("epochs", "levelled_off", "short"), [
    (12, True, True),
    (14, True, False),
    (12, False, False),  # the epochs ended, which is told elsewhere
])  # fmt: skip
def test_a_short_patience_is_told(epochs, levelled_off, short):
    results = synthetic(3)
    for variant in results["variants"]:
        for run in variant["runs"]:
            run.update(best_epoch=4, epochs=14)
    results["variants"][1]["runs"][2].update(epochs=epochs, levelled_off=levelled_off)
    text = Page(render_report(results)).text
    assert ("Trainings stopped 8 epochs after their best one" in text) == short
    assert ("repeat the comparison with a patience of 10" in text) == short


def test_a_mean_of_one_seed_has_no_spread():
    results = synthetic(1)
    means = Page(render_report(results)).table("Means over the test users")
    assert means["one-hot"]["ndcg@10"] == (
        f"{results['variants'][0]['test']['ndcg@10']['mean']:.4f}"
    )


def test_nothing_but_the_baseline():
    results = synthetic()
    results["variants"] = results["variants"][:1]
    assert "There is no soft variant to compare" in Page(render_report(results)).text


def test_a_baseline_that_is_no_variant_is_refused(tmp_path):
    results = {**synthetic(), "baseline": "two-hot"}
    with refused(RunError):
        write_report(results, tmp_path / "report.html")


# --- what may be missing ---


def test_without_a_ceiling():
    results = {**synthetic(), "ceiling": None}
    page = Page(render_report(results))
    assert "fraction of gap closed" not in page.table("ndcg@10")["one-hot"]
    assert "Dashed line" not in page.text


@pytest.mark.slow
@pytest.mark.parametrize("unknown", [None, math.nan])
def test_numbers_that_are_not_known(unknown):
    results = synthetic(1)
    variant = results["variants"][1]
    variant["test"]["ndcg@10"] = {"mean": unknown, "per_seed": [unknown]}
    for key in ("mean", "low", "high", "relative", "p", "p_holm"):
        variant["difference"]["ndcg@10"][key] = unknown
    variant["runs"][0].update(peak_memory_mib=unknown, seconds_per_epoch=unknown)
    variant["runs"][0]["curve"][2].update(train_loss=unknown, valid=None)
    page = Page(render_report(results))
    assert verdicts(results)[0].call == "not compared"
    row = page.table("ndcg@10")["pop+ (alpha 0.4)"]
    assert row["test"] == row["difference"] == row["relative"] == row["p (Holm)"] == "n/a"
    assert row["95 % interval"] == "n/a"
    assert page.table("Cost")["pop+ (alpha 0.4)"]["peak memory (MiB)"] == "n/a"
    assert "nan" not in re.findall(r"\w+", page.text.lower())
    console_table(results)


def test_runs_without_curves_give_no_plot_of_them():
    results = synthetic()
    for variant in results["variants"]:
        for run in variant["runs"]:
            run["curve"] = []
    page = Page(render_report(results))
    assert "Training loss, by epoch" not in page.text
    assert "Metrics on test" in page.text


# --- the page itself ---


def test_texts_are_escaped_wherever_they_stand():
    results = synthetic()
    for key in ("title", "command", "seed_note", "created"):
        results[key] = NASTY
    results["variants"][1]["name"] = NASTY
    results["notes"] = [NASTY]
    results["data"]["name"] = NASTY
    results["ceiling"]["name"] = NASTY
    text = render_report(results)
    assert "<b>" not in text
    page = Page(text)  # its tags are balanced, so nothing was broken open
    assert NASTY in page.table("ndcg@10")
    assert page.text.count(NASTY) > 10


def test_nothing_is_loaded_from_anywhere(page):
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "img", "object")
        for name, value in attributes.items():
            if "://" in (value or ""):
                assert name.startswith("xmlns"), (tag, name, value)
            if name in ("href", "xlink:href", "src"):
                assert (value or "").startswith("#"), (tag, name, value)
    assert "@import" not in page.text
    assert "url(" not in page.text


def test_ids_are_unique_and_references_resolve(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = set()
    for _, attributes in page.tags:
        used.update(value[1:] for name, value in attributes.items() if name.endswith("href"))
        used.update(re.findall(r"url\(#([^)]*)\)", " ".join(map(str, attributes.values()))))
        used.update([attributes["aria-labelledby"]] if "aria-labelledby" in attributes else [])
    assert used
    assert used <= set(ids)


def test_it_can_be_read_without_seeing_it(page):
    images = [attributes for _, attributes in page.tags if attributes.get("role") == "img"]
    assert len(images) == 5
    assert all(len(image["aria-label"]) > 40 for image in images)
    assert "+0.0124" in images[0]["aria-label"]
    heads = [attributes for tag, attributes in page.tags if tag == "th"]
    assert all(head["scope"] in ("col", "row") for head in heads)
    assert ("html", {"lang": "en"}) in page.tags


def test_colours_follow_the_page():
    text = render_report(synthetic())
    assert "@media screen and (prefers-color-scheme: dark)" in text  # paper is white
    for svg in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        assert re.findall(r"#[0-9a-f]{6}\b", svg) == []
        assert re.match(r'<svg viewBox="[\d. ]+"', svg)


@pytest.mark.slow
def test_equal_results_give_an_equal_file_and_leave_no_trace(tmp_path):
    settings = dict(rcParams)
    first, second = tmp_path / "a" / "report.html", tmp_path / "report.html"
    results = synthetic()
    write_report(results, first)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(rcParams, "lines.linewidth", 9.0)  # a reader's own settings
        write_report(synthetic(), second)
    assert first.read_bytes() == second.read_bytes()
    assert results == synthetic()
    assert dict(rcParams) == settings


def test_the_forest_shows_the_interval_and_the_evidence():
    axes = figures.forest_figure(typed(synthetic())).axes[0]
    intervals = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2][1:]
    np.testing.assert_allclose(intervals[-1], [0.0124 - 0.0042, 0.0124 + 0.0042])
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    filled = [line.get_markerfacecolor() == line.get_color() for line in dots]
    assert filled == [True, False, True]  # from the bottom: hurt, no evidence, helped


def test_long_and_many_names_stay_inside_the_drawing():
    results = synthetic()
    results["variants"] += [
        {**copy.deepcopy(results["variants"][1]), "name": f"mixture number {n} of " + "x" * 40}
        for n in range(9)
    ]
    figure = figures.bar_figure(typed(results))
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    assert box.x0 >= -0.01
    assert box.x1 <= plots.WIDTH + 0.01


def test_no_name_of_the_forest_stands_on_its_lines():
    results = synthetic()
    results["variants"][1]["name"] = "mixture (of csn and interest-sharing, alpha 0.35, shares)"
    figure = figures.forest_figure(typed(results))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    drawn = axes.get_window_extent()
    names = axes.get_yticklabels()
    assert [name.get_text().replace("\n", " ") for name in names][2].startswith("mixture (of csn")
    assert len(names) == 3
    for name in names:
        assert name.get_window_extent().x1 < drawn.x0
        assert name.get_window_extent().x0 >= 0
    assert not axes.texts


# --- beyond accuracy ---


@pytest.mark.slow
def test_lists_have_a_table_with_the_spread_over_seeds():
    results = synthetic()
    results["variants"][1]["lists"]["coverage"] = {"mean": 0.3, "per_seed": [0.2, 0.3, 0.4]}
    table = Page(render_report(results)).table("Beyond accuracy: the top-10 lists")
    assert table["pop+ (alpha 0.4)"]["coverage"] == "0.3000 ± 0.1000"
    assert table["pop+ (alpha 0.4)"]["tail fraction"] == "0.2624 ± 0.0000"
    for variant in results["variants"]:
        variant["lists"] = {}
    assert "Beyond accuracy" not in render_report(results)


# --- the file ---


def plain() -> dict:
    return {
        "format": FORMAT, **synthetic(), "evaluation": {"mask_seen": True}, "slices": some_slices(),
        "tuning": {},
    }  # fmt: skip


def test_results_come_back_from_their_file(tmp_path):
    results = typed(plain())
    write_results(results, tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == plain()
    assert read_results(tmp_path / "results.json") == results
    assert results.variants[1].difference_in("ndcg@10").wins == 1234
    assert results.seeds == [0, 1, 2]


def test_what_is_not_known_is_null_in_the_file_and_no_number_outside(tmp_path):
    results = plain()
    results["variants"][1]["difference"]["ndcg@10"]["p"] = None
    results["variants"][0]["runs"][0]["peak_memory_mib"] = None
    found = typed(results)
    assert math.isnan(found.variants[1].difference_in("ndcg@10").p)
    write_results(found, tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == results


def test_results_without_a_version_are_read_if_their_fields_are_the_same(tmp_path):
    old = synthetic()
    (tmp_path / "results.json").write_text(json.dumps(old))
    assert read_results(tmp_path / "results.json") == typed(old)
    del old["variants"][0]["runs"][1]["levelled_off"]
    (tmp_path / "results.json").write_text(json.dumps(old))
    with refused(RunError):
        read_results(tmp_path / "results.json")


def test_a_file_with_the_former_name_of_the_weight_is_read(tmp_path):
    results = plain()
    old = json.dumps(results).replace('"soft_weight"', '"soft_mass"')
    assert "soft_mass" in old
    (tmp_path / "results.json").write_text(old)
    assert read_results(tmp_path / "results.json") == typed(results)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "{",
        "[]",
        json.dumps({**synthetic(), "format": 4}),
        json.dumps({**synthetic(), "surprise": 2}),
    ],
)
def test_files_that_hold_no_such_results(text, tmp_path):
    path = tmp_path / "results.json"
    if text is not None:
        write_text(path, text)
    with pytest.raises(RunError) as caught:  # its words hold a path, and are cut where that is long
        read_results(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the terminal ---


def shown(results: dict, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(console_table(results))
    return out.getvalue()


def test_the_console_table_has_the_same_facts():
    results = synthetic()
    results["variants"][2]["name"] = "smoothing [red]"
    out = io.StringIO()
    Console(file=out, width=240).print(console_table(results))
    text = out.getvalue()
    lines = {re.split(r"  +", line.strip())[0]: line for line in text.splitlines()}
    assert "+0.0124 (+6.2 %)" in lines["pop+ (alpha 0.4)"]
    assert "+0.0082 to +0.0166" in text
    assert "helped" in lines["pop+ (alpha 0.4)"]
    assert "no evidence" in lines["smoothing [red]"]
    assert "baseline" in lines["one-hot"]
    assert "0.3100" in lines[results["ceiling"]["name"]]
    assert "1 hurt" in text


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("levelled_off", [True, False])
def test_the_console_table_fits_the_terminal(width, levelled_off):
    results = synthetic()
    results["variants"][3]["runs"][0]["levelled_off"] = levelled_off
    text = shown(results, width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert ("not levelled off" in text) != levelled_off
    assert "0.2131" in text
    assert "no evidence" in text
    assert "+0.0082 to +0.0166" in text
    assert "smoothing" in text


# --- a finished comparison ---


@pytest.mark.slow
def test_a_comparison_is_read_and_its_report_written_again(tmp_path):
    write_results(typed(plain()), tmp_path / "results.json")
    found = open_comparison(tmp_path)
    assert found.results == typed(plain())
    assert found.write_report().read_text() == render_report(plain())
    with pytest.raises(RunError):
        open_comparison(tmp_path / "nothing here")


# --- slices ---


def sliced() -> dict:
    return {**synthetic(), "slices": some_slices()}


@pytest.mark.slow
def test_slices_stand_in_a_table_by_the_way_to_slice():
    page = Page(render_report(sliced()))
    (rows,) = (rows for caption, rows in page.tables.items() if "by slice" in caption)
    names = [variant["name"] for variant in synthetic()["variants"]]
    assert rows[0] == ["slice", "cases", *names]
    assert [row[0] for row in rows[1:]] == ["label count", "0", "1", "user", "new", "known"]
    assert rows[2][1:4] == ["10", "0.1000", "+0.0300 (+0.0200 to +0.0400) *"]
    assert not rows[3][3].endswith("*")


def test_each_way_to_slice_has_a_forest_of_the_best_variant():
    found = {plot.title: plot for plot in slices.forests(typed(sliced()))}
    assert list(found) == ["pop+ (alpha 0.4) by label count", "pop+ (alpha 0.4) by user"]
    figure = slices.forest_figure(typed(sliced()), "user")
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in lines] == pytest.approx([-0.03, -0.01])  # from below
    assert [line.get_color() for line in lines] == [plots.HURT, plots.MUTED]
    assert "known (13)" in figure.axes[0].get_yticklabels()[0].get_text()


def test_of_one_seed_slices_have_the_interval_over_users():
    results = sliced()
    for row in results["slices"]:
        row.update(low=None, high=None, p=None, p_holm=None)
    first = next(row for row in typed(results).slices if row.variant != "one-hot")
    assert first.interval == (-0.5, 0.5)
    assert "*" not in slices.told(first.difference, first)


def test_results_without_slices_have_neither():
    assert slices.table(typed(synthetic())) is None
    assert slices.forests(typed(synthetic())) == []
    assert "by slice" not in render_report(synthetic())


@pytest.mark.parametrize("old", [{"format": 1}, {}])
def test_results_of_before_slices_are_read(old, tmp_path):
    path = tmp_path / "results.json"
    write_text(path, json.dumps({**synthetic(), **old}))
    assert read_results(path).slices == ()


def test_variants_of_before_groups_have_the_first_baseline(tmp_path):
    path, old = tmp_path / "results.json", copy.deepcopy(synthetic())
    for variant in old["variants"]:
        del variant["baseline"]
    write_text(path, json.dumps(old))
    assert [each.baseline for each in read_results(path).variants] == [None, *["one-hot"] * 3]
