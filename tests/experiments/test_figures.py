"""The figures of a report: what is drawn is what the results say."""

import copy
import itertools
import re

import numpy as np
import pytest
from made_results import (
    METRICS,
    Page,
    a_simple_baseline,
    gridded,
    several_models,
    some_slices,
    synthetic,
    typed,
    with_values,
)
from matplotlib.patches import Rectangle

from softrec.report import charts, costs, figures, grids, looks, plots, slices
from softrec.report.rows import rows
from softrec.report.write import render_report

pytestmark = pytest.mark.slow

ALPHAS, BALANCES = [0.5, 0.1, 0.3], [0.3, 0.5, 0.9, "red-line"]


def drawn(axes):
    """The lines of an axes that have a marker or several points, by what they look like."""
    return {(line.get_color(), line.get_marker()): line for line in axes.lines}


# --- looks ---


def test_no_two_rows_look_the_same():
    """8 colours and 7 markers are 56 pairs, 8 colours and 4 kinds of dashes 32."""
    assert len({(looks.look(n).color, looks.look(n).marker) for n in range(56)}) == 56
    assert len({(looks.look(n).color, looks.look(n).dashes) for n in range(32)}) == 32
    assert len({(looks.muted(n).color, looks.muted(n).marker) for n in range(14)}) == 14


def test_a_legend_shows_the_marker_with_y_downwards():
    entry = looks.entry("a", looks.Look(looks.INK, (4.0, 2.0), "^"))
    numbers = [float(n) for n in entry.marker.replace("M", "").replace("L", "").split()[:-1]]
    assert numbers[1] < 0  # the tip of the triangle comes first, and is above
    assert entry.dashes == "5.6 2.8"
    assert looks.entry("a", looks.look(0)).dashes == "none"


# --- a grid of one setting ---


def test_a_curve_has_the_means_at_the_values_and_rings_what_validation_chooses():
    results = typed(gridded(target_alpha=ALPHAS))
    axes = grids.curve_figure(results, "target.alpha").axes[0]
    own = {row.label: row.look for row in rows(results)}
    line = drawn(axes)[own["uniform"].color, own["uniform"].marker]
    np.testing.assert_allclose(line.get_xdata(), [0.1, 0.3, 0.5])
    np.testing.assert_allclose(line.get_ydata(), [0.201, 0.203, 0.205])
    (ring,) = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == pytest.approx((0.1, 0.201))
    flat = drawn(axes)[own["one-hot"].color, "None"]
    assert flat.get_ydata()[0] == pytest.approx(results.variants[0].test["ndcg@10"].mean)
    band = axes.collections[0].get_paths()[0].vertices
    sd = np.std([0.191, 0.201, 0.211], ddof=1)
    assert band[:, 1].min() == pytest.approx(0.201 - sd)
    assert band[:, 1].max() == pytest.approx(0.205 + sd)


def test_a_curve_is_told_in_words_with_what_is_chosen_on_validation():
    (plot,) = grids.grids(typed(gridded(target_alpha=ALPHAS)))
    assert plot.title == "ndcg@10 on test, by target.alpha"
    assert "target.alpha 0.5: 0.2050; best on validation: target.alpha 0.1" in plot.text
    assert "one-hot: 0.2" in plot.text
    assert [entry.name for entry in plot.legend] == ["uniform", "one-hot", "pop+ (alpha 0.4)"]
    assert "one-hot, pop+ (alpha 0.4): without this setting" in plot.note
    assert "± one standard deviation" in plot.note


def test_one_seed_has_no_band():
    results = gridded(target_alpha=ALPHAS)
    for variant in results["variants"]:
        variant["runs"] = variant["runs"][:1]
        for metric in METRICS:
            variant["test"][metric]["per_seed"] = variant["test"][metric]["per_seed"][:1]
    axes = grids.curve_figure(typed(results), "target.alpha").axes[0]
    assert not axes.collections
    assert len(axes.patches) == 0
    assert "band" not in grids.grids(typed(results))[0].note


@pytest.mark.parametrize(
    ("values", "scale", "places"),
    [
        ([0.1, 1.0, 10.0], "log", [0.1, 1, 10]),
        ([0.0, 1.0, 10.0], "linear", [0, 1, 10]),
        ([1, 2, 4], "linear", [1, 2, 4]),
        (["red-line", 0.5, 0.2], "linear", [0, 1, 2]),
    ],
)
def test_the_axis_of_the_values(values, scale, places):
    results = typed(gridded(target_temperature=values))
    axes = grids.curve_figure(results, "target.temperature").axes[0]
    assert axes.get_xscale() == scale
    np.testing.assert_allclose(axes.get_xticks(), places)
    words = [tick.get_text() for tick in axes.get_xticklabels()]
    numbers = sorted(v for v in values if not isinstance(v, str))
    assert words == [*map(str, numbers), *(v for v in values if isinstance(v, str))]


def test_every_model_has_a_panel_with_its_own_baseline():
    found = []
    results = several_models(("sasrec", "mf"))
    for variant in results["variants"]:
        if "smoothing" not in variant["name"]:
            found.append(variant)
            continue
        low = variant["test"]["ndcg@10"]["mean"]
        found += [
            {**with_values(variant, {"target.alpha": alpha}, low + alpha, low), "name": alpha}
            for alpha in (0.1, 0.2)
        ]
    for number, variant in enumerate(found):
        variant["name"] = str(variant["name"]) if number not in (0, 4) else variant["name"]
        if isinstance(variant["name"], str) and variant["name"][0] == "0":
            variant["name"] = f"{variant['series']} ({variant['name']})"
            variant["series"] = f"{variant['group']}: label smoothing"
    results["variants"] = found
    figure = grids.curve_figure(typed(results), "target.alpha")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["sasrec", "mf"]
    looks_of = {row.label: row.look for row in rows(typed(results))}
    for axes, place in zip(figure.axes, (0, 5), strict=True):
        flat = drawn(axes)[looks_of["one-hot"].color, "None"]
        assert flat.get_ydata()[0] == found[place]["test"]["ndcg@10"]["mean"]


# --- a grid over a condition ---


def test_nobody_chooses_a_condition_but_other_settings_are_chosen_at_each_value():
    """On validation the lowest alpha is best (`gridded`), and more noise looks better, too."""
    made = gridded(data_falsepositives=[0.0, 0.5], target_alpha=ALPHAS)
    for variant in made["variants"][2:]:
        alpha, noise = variant["grid"]["target.alpha"], variant["grid"]["data.falsepositives"]
        variant["valid"]["ndcg@10"]["mean"] = 0.3 + noise - alpha
    results = typed(made)
    noisy, chosen = grids.grids(results)
    assert (noisy.title, chosen.title) == (
        "ndcg@10 on test, by data.falsepositives", "ndcg@10 on test, by target.alpha"
    )  # fmt: skip
    assert "Ring" not in noisy.note
    assert "best on validation" not in noisy.text
    assert "Ring" in chosen.note
    ((_, members),) = grids.over(results, "data.falsepositives").items()
    assert [v.grid["data.falsepositives"] for v in members] == [0.0, 0.5]
    assert {v.grid["target.alpha"] for v in members} == {0.1}
    ((_, members),) = grids.over(results, "target.alpha").items()
    assert {v.grid["data.falsepositives"] for v in members} == {0.0}
    (shown,) = [row.variant for row in rows(results) if row.label == "uniform"]
    assert shown.grid == {"data.falsepositives": 0.0, "target.alpha": 0.1}
    assert "of data.falsepositives, the lowest" in figures.figures(results)[0].note


@pytest.mark.parametrize("ways", [["replace", "add"], ["add", "replace"]])
def test_of_a_condition_in_words_the_first_one_stands_for_all(ways):
    """As in the advice, which is of the first level of the lowest share."""
    made = gridded(data_falsepositives=[0.5, 0.0], data_contamination=ways)
    (shown,) = [row.variant for row in rows(typed(made)) if row.label == "uniform"]
    assert shown.grid == {"data.falsepositives": 0.0, "data.contamination": ways[0]}
    said = "of data.contamination, the first; of data.falsepositives, the lowest"
    assert any(said in plot.note for plot in figures.figures(typed(made)))


# --- a grid of two settings ---


def test_a_heat_map_has_a_cell_for_each_pair_of_values():
    results = typed(gridded(target_alpha=ALPHAS, loss_balance=BALANCES))
    (members,) = [own for own in grids.series(results).values() if len(own) > 1]
    axes = grids.heat_figure(results, members).axes[0]
    cells = [patch for patch in axes.patches if patch.get_fill()]
    assert len(cells) == 12
    at = {(p.get_x() + 0.5, p.get_y() + 0.5): p.get_facecolor()[3] for p in cells}
    assert max(at, key=at.get) == (2, 2)  # alpha 0.5, balance 0.9
    assert min(at.values()) == pytest.approx(charts.FAINT)
    assert max(at.values()) == pytest.approx(charts.STRONG)
    (frame,) = [patch for patch in axes.patches if not patch.get_fill()]
    assert isinstance(frame, Rectangle)
    assert (frame.get_x() + 0.5, frame.get_y() + 0.5) == (0, 3)  # a text adds nothing to the sum
    words = {(t.xy[0], t.xy[1]): t.get_text() for t in axes.texts}
    assert words[1, 0] == "0.2060\n+0.0011"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.1", "0.3", "0.5"]
    assert [tick.get_text() for tick in axes.get_yticklabels()][-1] == "red-line"


def red_lines(**values):
    """Return the lines on the heat map of two settings."""
    results = typed(gridded(**values))
    (members,) = [own for own in grids.series(results).values() if len(own) > 1]
    return list(grids.heat_figure(results, members).axes[0].lines)


def test_the_red_line_is_where_both_losses_are_the_same():
    """lambda2 = 1 / (1 + lambda1): 0.5 at 1, 2/3 at 0.5, between the cells of 0.5 and 0.75."""
    (line,) = red_lines(target_alpha=[0.0, 0.5, 1.0], loss_balance=[0.5, 0.75, 1.0])
    found = dict(line.get_xydata().tolist())
    assert found[0.0] == pytest.approx(2.0)
    assert found[2.0] == pytest.approx(0.0)
    near = min(found, key=lambda place: abs(place - 1.0))
    assert found[near] == pytest.approx((2 / 3 - 0.5) / 0.25, abs=0.03)
    for above_or_below in ([0.1, 0.2], [0.95, 0.99]):  # it goes from 0.91 to 0.83
        assert red_lines(target_alpha=[0.1, 0.2], loss_balance=above_or_below) == []
    assert red_lines(target_alpha=[0.1, 0.2], training_lr=[0.1, 0.2]) == []
    results = typed(gridded(target_alpha=ALPHAS, loss_balance=BALANCES))
    (plot,) = grids.grids(results)
    assert "Red: loss.balance = 1 / (1 + target.alpha)" in plot.note
    other = typed(gridded(target_alpha=ALPHAS, target_temperature=[1.0, 2.0]))
    (plot,) = grids.grids(other)
    assert "Red" not in plot.note
    assert "target.alpha and target.temperature" in plot.title


def test_what_was_left_out_of_a_grid_is_an_empty_cell():
    results = gridded(target_alpha=[0.1, 0.2], target_temperature=[1.0, 2.0])
    del results["variants"][-1]
    members = grids.series(typed(results))["", "uniform"]
    axes = grids.heat_figure(typed(results), members).axes[0]
    assert len([patch for patch in axes.patches if patch.get_fill()]) == 3


def test_three_settings_are_followed_through_the_best_on_validation():
    results = typed(
        gridded(target_alpha=[0.1, 0.5], target_temperature=[1.0, 2.0], loss_balance=[0.2, 0.4])
    )
    found = grids.grids(results)
    assert [plot.title.rpartition(" ")[2] for plot in found] == [
        "target.alpha", "target.temperature", "loss.balance"
    ]  # fmt: skip
    (members,) = grids.over(results, "target.temperature").values()
    assert [v.grid for v in members] == [
        {"target.alpha": 0.1, "target.temperature": t, "loss.balance": 0.2} for t in (1.0, 2.0)
    ]
    assert "the best variant on validation" in found[0].note


# --- which rows are shown ---


def test_of_the_values_of_a_grid_the_best_on_validation_stands_for_all():
    results = typed(gridded(target_alpha=ALPHAS, loss_balance=BALANCES))
    shown = [row.variant.name for row in rows(results)]
    assert shown == ["one-hot", "pop+ (alpha 0.4)", "uniform (alpha 0.1, balance red-line)"]
    axes = figures.forest_figure(results).axes[0]
    assert len([line for line in axes.lines if line.get_marker() == "o"]) == 2
    assert "best on validation" in figures.figures(results)[0].note


def test_models_have_panels_and_the_same_looks_in_each():
    results = typed(several_models())
    figure = figures.curve_figure(results, lambda point: point.train_loss, "loss", best=False)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["sasrec", "mf", "gru4rec"]
    colors = [{line.get_color() for line in axes.lines} for axes in figure.axes]
    assert colors[0] == colors[1] == colors[2]
    assert len(colors[0]) == 4
    panels = figures.bar_figure(results).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["sasrec", "mf", "gru4rec"]
    lengths = [[patch.get_width() for patch in axes.patches] for axes in panels]
    means = [v.test["ndcg@10"].mean for v in results.variants]
    np.testing.assert_allclose(list(itertools.chain(*lengths)), means)
    assert len({axes.get_xlim() for axes in panels}) == 1


# --- cost ---


def test_cost_is_drawn_over_the_seconds_of_a_training():
    results = synthetic()
    results["variants"].append(a_simple_baseline("markov", 0.1))
    found = typed(results)
    axes = costs.cost_figure(found).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.xaxis.get_major_formatter()(0.1) == "0.1"  # a small exponent could not be read
    dots = {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in axes.lines
        if line.get_marker() not in ("None", "")
    }
    assert dots == {(v.runs[0].seconds, v.test["ndcg@10"].mean) for v in found.variants}
    (plot,) = costs.costs(found)
    assert [entry.name for entry in plot.legend] == [v.name for v in found.variants]
    assert "pop+ (alpha 0.4): 8.5 seconds, 0.2131" in plot.text
    for variant in results["variants"]:
        for run in variant["runs"]:
            run["seconds"] = None
    assert costs.costs(typed(results)) == []


def test_the_line_of_cost_goes_through_what_nothing_cheaper_reaches():
    def point(cost, mean):
        return charts.Point(looks.look(0), cost, mean, 0.0)

    given = [
        point(1, 0.2),
        point(2, 0.1),
        point(2, 0.3),
        point(3, 0.3),
        point(5, 0.3),
        point(4, 0.5),
    ]
    assert [(p.cost, p.mean) for p in costs.front(given)] == [(1, 0.2), (2, 0.3), (4, 0.5)]


# --- slices ---


def test_slices_of_several_models_stand_side_by_side():
    results = several_models(("sasrec", "mf"))
    results["slices"] = [
        {**row, "variant": f"{model}: {row['variant']}"}
        for model in ("sasrec", "mf")
        for row in some_slices()
    ]
    found = typed(results)
    chosen = [row.variant.name for row in slices.best_soft(found)]
    assert chosen == ["sasrec: pop+ (alpha 0.4)", "mf: pop+ (alpha 0.4)"]
    plot = slices.forests(found)[1]
    assert plot.title == "The best variants by user"
    assert [entry.name for entry in plot.legend] == chosen
    assert "mf: pop+ (alpha 0.4), known, 13 cases: -0.0300" in plot.text
    axes = slices.forest_figure(found, "user").axes[0]
    dots = [line for line in axes.lines if line.get_marker() in looks.MARKERS]
    assert len(dots) == 4
    assert dots[0].get_markerfacecolor() == dots[0].get_color()  # known users: evidence
    assert dots[3].get_markerfacecolor() == plots.PAGE
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert [name for name in names if name] == ["known (13)", "new (12)"]


def test_a_slicing_into_one_slice_has_no_figure():
    results = {**synthetic(), "slices": some_slices()[:-4]}  # all users are new
    assert [plot.title for plot in slices.forests(typed(results))] == [
        "pop+ (alpha 0.4) by label count"
    ]


# --- texts ---


def test_letters_that_the_font_of_the_drawing_lacks_are_left_to_the_page():
    results = synthetic()
    results["variants"][1]["name"] = "日本 (alpha 0.4)"
    found = figures.figures(typed(copy.deepcopy(results)))  # a warning would be an error
    assert "日本" in found[0].svg


# --- the page ---


def with_slices(results: dict) -> dict:
    """Every row has the slices of one-hot or of pop+."""
    known = {row: [r for r in some_slices() if r["variant"][:3] == row] for row in ("one", "pop")}
    found = [
        {**row, "variant": variant["name"]}
        for variant in results["variants"]
        for row in known["pop" if variant["baseline"] else "one"]
    ]
    return {**results, "slices": found}


KINDS = {
    "plain": synthetic,
    "models": several_models,
    "grid of one": lambda: gridded(target_alpha=ALPHAS),
    "grid of two": lambda: gridded(target_alpha=ALPHAS, loss_balance=BALANCES),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_one_file_with_titles_and_texts_for_all_figures(kind):
    results = typed(with_slices(KINDS[kind]()))
    text = render_report(results)
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "img", "object", "image", "foreignobject")
        for name, value in attributes.items():
            assert "://" not in (value or "") or name.startswith("xmlns")
            if name in ("href", "xlink:href", "src"):
                assert (value or "").startswith("#")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    tags = [tag for tag, _ in page.tags]
    places = [place for place, tag in enumerate(tags) if tag == "figure"]
    plots_of = [*figures.figures(results), *slices.forests(results)]
    assert len(places) == len(plots_of) >= 6
    for start, end, plot in zip(places, [*places[1:], len(tags)], plots_of, strict=True):
        own = page.tags[start:end]
        assert own[1][0] == "h3"
        (label,) = [a["aria-label"] or "" for _, a in own if a.get("role") == "img"]
        assert label.startswith(f"{plot.title}. ")
        assert len(label) > len(plot.title) + 40
        assert "figcaption" in tags[start:end]
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", text)]
    assert min(sizes) >= 9


@pytest.mark.slow
def test_means_stand_in_line_whether_they_have_a_spread_or_not():
    results = synthetic()
    results["variants"].append(a_simple_baseline("markov", 0.1))
    text = render_report(typed(results))
    row = text[text.index("markov</th>") :]
    assert row[: row.index("</tr>")].count('<span class="sd"></span>') == 2
    (rows_of,) = [rows for title, rows in Page(text).tables.items() if title[:5] == "Means"]
    assert rows_of[1] == ["one-hot", "0.1007 ± 0.0008", "0.2007 ± 0.0005"]
    one = Page(render_report(typed(synthetic(1))))
    assert not [a for _, a in one.tags if a.get("class") == "sd"]
