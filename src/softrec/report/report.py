"""The report of an experiment: one HTML file that needs nothing else, and a table for the terminal.

Both read `results`, the content of results.json, and compute nothing but what a reader would:
ratios, shares and a verdict in words. Its parts, where a number may be None or NaN (not known):

    title, command, created, seed_note    text
    versions                              {package: version}
    data, model, budget                   plain settings, shown as they are
    selection                             {"metric": "ndcg@10", "on": "validation"}
    baseline                              the name of the variant that the others are compared with
    metrics                               ["recall@10", ...]
    variants                              [{name, target, soft_mass, test, valid, difference,
                                            runs, regret}]
      test, valid                         {metric: {"mean": float, "per_seed": [float]}}
      difference                          {metric: {mean, low, high, relative, p, p_holm, wins,
                                            ties, losses, n, detectable, low_users, high_users,
                                            p_wilcoxon}}; None for the baseline
      runs                                [{seed, best_epoch, epochs, levelled_off, seconds,
                                            seconds_per_epoch, peak_memory_mib, curve}]
      curve                               [{epoch, train_loss, valid: {metric: float}}]
      regret                              {metric: float} or None
    ceiling                               {"name": text, "test": {metric: float}} or None
    notes                                 [text]
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from softrec.errors import RunError, shown
from softrec.evaluation.significance import seed_spread
from softrec.files import write_text
from softrec.report import plots

Results = dict[str, Any]
ValueOf = Callable[[dict[str, Any]], float]  # of a point of a curve
Call = Literal["helped", "no evidence", "hurt", "no verdict", "not compared"]

LEVEL = 0.05
"""Holm-adjusted p-values below this count as evidence."""

WORDS: dict[Call, str] = {
    "helped": "helped",
    "no evidence": "without evidence either way",
    "hurt": "hurt",
    "no verdict": "without a verdict",
    "not compared": "not compared",
}
ONE_SEED = "One training seed: cannot tell training noise from a gain."
UNKNOWN = "n/a"
CONSOLE_METRICS = 2


@dataclass(frozen=True)
class Verdict:
    """What the experiment says about one soft variant, on the selection metric at test."""

    name: str
    call: Call
    text: str
    reason: Literal["", "one seed", "not levelled off"] = ""  # why there is no verdict


@dataclass(frozen=True)
class Table:
    """Text cells; the first of each row names the row."""

    caption: str
    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Plot:
    """A drawing with its words: a title, a note on reading it, and a text that replaces it."""

    title: str
    svg: Markup
    text: str
    note: str
    has_legend: bool = False


def write_report(results: Results, path: Path) -> None:
    """Write the report as one HTML file; equal results give an equal file.

    Args:
        results: the content of results.json, see the top of this file.
        path: the file to write; its folder is made if need be.

    Raises:
        RunError: if no variant has the name of the baseline.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render_report(results))


def render_report(results: Results) -> str:
    """Return the text of the HTML file that `write_report` writes."""
    environment = Environment(
        loader=PackageLoader("softrec.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found = verdicts(results)
    return environment.get_template("report.html.j2").render(
        results=results,
        headline=headline(found),
        verdicts=found,
        certainty=certainty(results),
        overview=_overview_table(results),
        details=[_metric_table(results, metric) for metric in _metrics(results)],
        plots=_plots(results),
        legend=_legend(results),
        regret=_regret_table(results),
        cost=_cost_table(results),
        targets=_target_table(results),
        facts=[
            (title, _facts(results[key]))
            for title, key in (
                ("Data", "data"),
                ("Model", "model"),
                ("Budget", "budget"),
                ("Choice of the best epoch", "selection"),
            )
        ],
        seeds=_shown_setting(_seeds(results)),
        versions=Table(
            "Versions", ["package", "version"], [[*each] for each in results["versions"].items()]
        ),
    )


def console_table(results: Results) -> RichTable:
    """Return the main facts for the terminal: means, the difference, its certainty, the cost.

    Raises:
        RunError: if no variant has the name of the baseline.
    """
    chosen = results["selection"]["metric"]
    # The page has all metrics; a terminal has room for the one that decides and one more.
    metrics = sorted(results["metrics"], key=lambda name: name != chosen)[:CONSOLE_METRICS]
    found = verdicts(results)
    by_name = {verdict.name: verdict for verdict in found}
    table = RichTable(
        title=Text(f"{results['title']}: {headline(found)}"),
        caption=Text(
            f"Difference, interval and p: {chosen} on test; ±: over seeds. {certainty(results)}"
        ),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("variant")
    for title in (*metrics, "difference\n95 % interval", "s/epoch"):
        table.add_column(title, justify="right", no_wrap=True)  # names wrap before numbers do
    table.add_column("verdict\np (Holm)", no_wrap=True)
    for variant in results["variants"]:
        difference = _difference(variant, chosen)
        means = (_shown_mean(variant["test"].get(metric)) for metric in metrics)
        cells = [
            variant["name"],
            *(mean.replace(" ± ", "\n± ") for mean in means),
            _shown_difference(difference) if difference else "",
            _decimals(_seconds_per_epoch(variant), 1),
            _shown_call(by_name.get(variant["name"]), difference),
        ]
        table.add_row(*(Text(cell) for cell in cells))
    if results["ceiling"]:
        ceiling = results["ceiling"]
        means = [_decimals(ceiling["test"].get(metric)) for metric in metrics]
        table.add_row(*(Text(cell) for cell in (ceiling["name"], *means)))
    return table


def _shown_call(verdict: Verdict | None, difference: dict[str, Any]) -> str:
    if verdict is None:
        return "baseline"
    return f"{verdict.call}\n{verdict.reason or _probability(difference.get('p_holm'))}"


# --- the verdict ---


def verdicts(results: Results) -> list[Verdict]:
    """Return for each variant but the baseline whether it helped, hurt, or neither can be said.

    Evidence is a Holm-adjusted p below 0.05 for the selection metric at test; the sign of the
    difference says which way it goes. There is no verdict where training had one seed, for then
    nothing tells luck of training from a gain, nor where a run had not levelled off.
    """
    baseline = _baseline(results)
    return [
        _verdict(results, variant, baseline)
        for variant in results["variants"]
        if variant is not baseline
    ]


def headline(found: list[Verdict]) -> str:
    """Return the verdicts counted in one sentence, those without evidence included."""
    if not found:
        return "There is no soft variant to compare with the baseline."
    calls = Counter(verdict.call for verdict in found)
    counts = ", ".join(f"{calls[call]} {words}" for call, words in WORDS.items() if calls[call])
    text = f"Of {len(found)} soft variant{'s' * (len(found) > 1)}: {counts}."
    return f"{text} {ONE_SEED}" if any(each.reason == "one seed" for each in found) else text


def certainty(results: Results) -> str:
    """Return what the intervals cover, and which runs cannot be judged."""
    seeds = [len(variant["runs"]) for variant in results["variants"]]
    told = (
        "The intervals and p-values cover the choice of users and the randomness of training "
        "together."
        if min(seeds) > 1
        else f"{ONE_SEED} The intervals cover the choice of users only; for a verdict give each "
        "variant three seeds or more."
    )
    waiting = "; ".join(
        f"{variant['name']} ({_seeds_in_words(rising)})"
        for variant in results["variants"]
        if (rising := _not_levelled_off(variant))
    )
    if waiting:
        told += (
            f" Not levelled off when the epochs ended: {waiting}. There is no verdict on these; "
            "give more epochs."
        )
    return told


def _not_levelled_off(variant: dict[str, Any]) -> list[int]:
    """Return the seeds of the runs that the budget stopped before patience would have."""
    return [run["seed"] for run in variant["runs"] if not run["levelled_off"]]


def _seeds_in_words(seeds: list[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _verdict(results: Results, variant: dict[str, Any], baseline: dict[str, Any]) -> Verdict:
    metric, name = results["selection"]["metric"], variant["name"]
    difference = _difference(variant, metric)
    mean, p = _number(difference.get("mean")), _number(difference.get("p_holm"))
    if math.isnan(mean):
        text = f"{metric} at test has no usable comparison with the baseline."
        return Verdict(name, "not compared", text)
    numbers = (
        f"{metric} {_shown_mean(variant['test'].get(metric))} against "
        f"{_shown_mean(baseline['test'].get(metric))} of the baseline: a difference of "
        f"{_signed(mean)} ({_percent(difference['relative'], sign=True)} of the baseline), 95 % "
        f"interval {_interval(difference)}"
    )
    if min(len(each["runs"]) for each in (variant, baseline)) < 2:
        text = f"{numbers} over the users only. {ONE_SEED}"
        return Verdict(name, "no verdict", text, "one seed")
    numbers += f", Holm-adjusted p {_equals(p)}."
    rising = [
        f"{_seeds_in_words(seeds)} of {whose}"
        for each, whose in ((variant, "this variant"), (baseline, "the baseline"))
        if (seeds := _not_levelled_off(each))
    ]
    if rising:
        which = " and ".join(rising)
        text = (
            f"{numbers} {which[0].upper()}{which[1:]} had not levelled off when the epochs ended, "
            "so this says little of what longer training gives."
        )
        return Verdict(name, "no verdict", text, "not levelled off")
    if math.isnan(p):
        return Verdict(name, "not compared", f"{numbers} There is no p-value to judge by.")
    call: Call = "no evidence" if p >= LEVEL or mean == 0 else "helped" if mean > 0 else "hurt"
    return Verdict(name, call, " ".join([numbers, *_cautions(difference)]))


def _cautions(difference: dict[str, Any]) -> Iterator[str]:
    """Yield the remarks without which the numbers would say too much."""
    if _number(difference["p_holm"]) < LEVEL:
        return
    if _number(difference["low"]) > 0 or _number(difference["high"]) < 0:
        yield "Taken alone it would look real, but not among as many comparisons as were made."
    elif math.isfinite(_number(difference["detectable"])):
        yield (
            f"With these users and seeds a difference below {_decimals(difference['detectable'])} "
            "cannot be told from none."
        )


# --- tables ---


def _overview_table(results: Results) -> Table:
    metrics = results["metrics"]
    rows = [
        [variant["name"], *(_shown_mean(variant["test"].get(metric)) for metric in metrics)]
        for variant in results["variants"]
    ]
    if results["ceiling"]:
        ceiling = results["ceiling"]["test"]
        rows.append([results["ceiling"]["name"], *(_decimals(ceiling.get(m)) for m in metrics)])
    return Table(
        "Means over the test users (± standard deviation over seeds)", ["", *metrics], rows
    )


def _metric_table(results: Results, metric: str) -> Table:
    """Return everything that is known of one metric, a row per variant."""
    ceiling = _ceiling(results, metric)
    head = ["", "test", "each seed", "validation", "difference", "95 % interval", "relative", "p"]
    head += ["p (Holm)", "users only: 95 % interval", "users only: p of ranks"]
    head += ["wins / ties / losses", "users"]
    head += ["below the best", "share of gap closed"] if ceiling is not None else []
    rows = [_metric_row(results, variant, metric, ceiling) for variant in results["variants"]]
    return Table(metric, head, rows)


def _metric_row(
    results: Results, variant: dict[str, Any], metric: str, ceiling: float | None
) -> list[str]:
    test = variant["test"].get(metric)
    row = [
        variant["name"],
        _shown_mean(test),
        ", ".join(_decimals(value) for value in test["per_seed"]) if test else UNKNOWN,
        _shown_mean(variant["valid"].get(metric)),
        *_difference_cells(_difference(variant, metric)),
    ]
    if ceiling is not None:
        mean = _mean_and_sd(test)[0]
        base = _mean_and_sd(_baseline(results)["test"].get(metric))[0]
        row += [_decimals(ceiling - mean), _percent(_ratio(mean - base, ceiling - base), sign=True)]
    return row


def _difference_cells(difference: dict[str, Any]) -> list[str]:
    if not difference:
        return [""] * 9
    counts = [_count(difference[key]) for key in ("wins", "ties", "losses")]
    return [
        _signed(difference["mean"]),
        _span(difference["low"], difference["high"]),
        _percent(difference["relative"], sign=True),
        _probability(difference["p"]),
        _probability(difference["p_holm"]),
        _span(difference["low_users"], difference["high_users"]),
        _probability(difference["p_wilcoxon"]),
        " / ".join(counts),
        _count(difference["n"]),
    ]


def _regret_table(results: Results) -> Table | None:
    """Return how much each variant loses to the truth, where a simulator knows it."""
    regrets = {v["name"]: v["regret"] for v in results["variants"] if v["regret"]}
    if not regrets:
        return None
    metrics = list(dict.fromkeys(metric for regret in regrets.values() for metric in regret))
    rows = [
        [name, *(_decimals(r.get(metric)) for metric in metrics)] for name, r in regrets.items()
    ]
    return Table(
        "Regret against the truth of the simulator (lower is better)", ["", *metrics], rows
    )


def _cost_table(results: Results) -> Table:
    base = _seconds_per_epoch(_baseline(results))
    head = ["", "runs", "seconds per epoch", "of the baseline's", "best epoch", "epochs run"]
    head += ["levelled off", "seconds in all", "peak memory (MiB)"]
    return Table(
        "Cost of training (times and memory are means over the runs)",
        head,
        [
            [
                variant["name"],
                str(len(variant["runs"])),
                _decimals(_seconds_per_epoch(variant), 2),
                f"{_decimals(_ratio(_seconds_per_epoch(variant), base), 2)} ×",
                ", ".join(_count(run["best_epoch"]) for run in variant["runs"]),
                ", ".join(_count(run["epochs"]) for run in variant["runs"]),
                ", ".join("yes" if run["levelled_off"] else "no" for run in variant["runs"]),
                _decimals(sum(_number(run["seconds"]) for run in variant["runs"]), 1),
                _decimals(_mean_of_runs(variant, "peak_memory_mib"), 0),
            ]
            for variant in results["variants"]
        ],
    )


def _target_table(results: Results) -> Table:
    return Table(
        "What each variant is trained towards",
        ["", "target", "soft mass"],
        [
            [v["name"], _shown_setting(v["target"]), _percent(v["soft_mass"])]
            for v in results["variants"]
        ],
    )


# --- numbers and settings in words ---


def _number(value: float | None) -> float:
    """Return NaN for None: JSON has no NaN, so both mean that a value is not known."""
    return float("nan") if value is None else float(value)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def _decimals(value: float | None, digits: int = 4) -> str:
    return f"{_number(value):,.{digits}f}" if math.isfinite(_number(value)) else UNKNOWN


def _signed(value: float | None) -> str:
    return f"{_number(value):+.4f}" if math.isfinite(_number(value)) else UNKNOWN


def _percent(value: float | None, *, sign: bool = False) -> str:
    if not math.isfinite(_number(value)):
        return UNKNOWN
    return f"{100 * _number(value):{'+' if sign else ''}.1f} %"


def _probability(value: float | None) -> str:
    return "< 0.0001" if _number(value) < 0.0001 else _decimals(value)


def _equals(p: float) -> str:
    return _probability(p) if p < 0.0001 else f"= {_probability(p)}"


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _span(low: float | None, high: float | None) -> str:
    return UNKNOWN if math.isnan(_number(low)) else f"{_signed(low)} to {_signed(high)}"


def _ends(difference: dict[str, Any]) -> tuple[float, float]:
    """Return the interval over users and trainings or, with one seed, over users only."""
    ends = (_number(difference["low"]), _number(difference["high"]))
    if not math.isnan(ends[0]):
        return ends
    return _number(difference["low_users"]), _number(difference["high_users"])


def _interval(difference: dict[str, Any]) -> str:
    return _span(*_ends(difference))


def _shown_difference(difference: dict[str, Any]) -> str:
    relative = _percent(difference["relative"], sign=True)
    return f"{_signed(difference['mean'])} ({relative})\n{_interval(difference)}"


def _mean_and_sd(value: dict[str, Any] | None) -> tuple[float, float]:
    """Return the mean and the standard deviation over seeds, NaN where there is none."""
    if value is None:
        return float("nan"), float("nan")
    per_seed = [_number(each) for each in value["per_seed"]]
    return _number(value["mean"]), seed_spread(per_seed)[1] if per_seed else float("nan")


def _shown_mean(value: dict[str, Any] | None) -> str:
    mean, sd = _mean_and_sd(value)
    return _decimals(mean) if math.isnan(sd) else f"{_decimals(mean)} ± {_decimals(sd)}"


def _shown_setting(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown_setting(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_shown_setting(each) for each in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def _facts(settings: dict[str, Any]) -> list[tuple[str, str]]:
    return [(key.replace("_", " "), _shown_setting(value)) for key, value in settings.items()]


# --- where things are in the results ---


def _baseline(results: Results) -> dict[str, Any]:
    for variant in results["variants"]:
        if variant["name"] == results["baseline"]:
            return variant
    raise RunError(
        f"expected a variant with the name of the baseline, {results['baseline']!r}, but the "
        f"variants are {shown(variant['name'] for variant in results['variants'])}; name one of "
        "them as the baseline"
    )


def _metrics(results: Results) -> list[str]:
    """Return the names of the metrics, the one that the verdict rests on first."""
    return list(dict.fromkeys([results["selection"]["metric"], *results["metrics"]]))


def _difference(variant: dict[str, Any], metric: str) -> dict[str, Any]:
    return (variant["difference"] or {}).get(metric) or {}


def _ceiling(results: Results, metric: str) -> float | None:
    return results["ceiling"]["test"].get(metric) if results["ceiling"] else None


def _mean_of_runs(variant: dict[str, Any], key: str) -> float:
    known = [run[key] for run in variant["runs"] if math.isfinite(_number(run[key]))]
    return sum(known) / len(known) if known else float("nan")


def _seconds_per_epoch(variant: dict[str, Any]) -> float:
    return _mean_of_runs(variant, "seconds_per_epoch")


def _seeds(results: Results) -> list[int]:
    seeds = [run["seed"] for variant in results["variants"] for run in variant["runs"]]
    return list(dict.fromkeys(seeds))


# --- plots: which numbers go into which figure, and the words beside it ---


def _plots(results: Results) -> list[Plot]:
    """Return the plots that the results have something for."""
    chosen = results["selection"]["metric"]
    found = []
    if _intervals(results):
        found.append(_forest_plot(results))
    if _any_known(results, _valid_value(chosen)):
        found.append(_validation_plot(results))
    if _any_known(results, _train_loss):
        found.append(_loss_plot(results))
    return [*found, _bar_plot(results)]


def _forest_plot(results: Results) -> Plot:
    found = [v for v in verdicts(results) if v.call != "not compared"]
    alone = any(verdict.reason == "one seed" for verdict in found)
    line = f"Line: 95 % interval over the users {'only' if alone else 'and the trainings'}."
    return Plot(
        f"Difference in {results['selection']['metric']} to the baseline",
        plots.svg("forest", partial(forest_figure, results)),
        " ".join(f"{verdict.name}: {verdict.call}. {verdict.text}" for verdict in found),
        f"Dot: mean difference over the test users, to the right of 0 is better. {line} A filled "
        "dot stands for evidence (Holm-adjusted p < 0.05), a hollow one for none.",
    )


def _validation_plot(results: Results) -> Plot:
    metric = results["selection"]["metric"]
    value = _valid_value(metric)
    return Plot(
        f"{metric} on validation, by epoch",
        plots.svg("validation", partial(curve_figure, results, value, metric, best=True)),
        _curve_text(results, value),
        "One line for each run. The dot marks the epoch that was kept.",
        has_legend=True,
    )


def _loss_plot(results: Results) -> Plot:
    draw = partial(curve_figure, results, _train_loss, "training loss", best=False)
    return Plot(
        "Training loss, by epoch",
        plots.svg("loss", draw),
        _curve_text(results, _train_loss),
        "Compare the shapes, not the heights: every target has another lowest possible loss.",
        has_legend=True,
    )


def _bar_plot(results: Results) -> Plot:
    overview = _overview_table(results)
    text = "; ".join(
        f"{row[0]}: "
        + ", ".join(f"{m} {cell}" for m, cell in zip(overview.head[1:], row[1:], strict=True))
        for row in overview.rows
    )
    line = f" Dashed line: {results['ceiling']['name']}." if results["ceiling"] else ""
    note = f"Means over the test users, from 0. Small dots: the single seeds.{line}"
    return Plot("Metrics on test", plots.svg("bars", partial(bar_figure, results)), text, note)


def forest_figure(results: Results) -> Figure:
    """Draw the difference of each variant to the baseline with its interval, one below another."""
    return plots.forest(_intervals(results), f"difference in {results['selection']['metric']}")


def curve_figure(results: Results, value: ValueOf, label: str, *, best: bool) -> Figure:
    """Draw `value` of every epoch of every run, a colour and a dash for each variant."""
    curves = [
        plots.Curve(
            number,
            {point["epoch"]: value(point) for point in run["curve"]},
            run["best_epoch"] if best else None,
        )
        for number, variant in enumerate(results["variants"])
        for run in variant["runs"]
    ]
    return plots.curves(curves, label)


def bar_figure(results: Results) -> Figure:
    """Draw the means of every metric, one panel each because their scales differ."""
    variants = results["variants"]
    panels = [
        plots.Panel(
            metric,
            [_bar(variant["test"].get(metric)) for variant in variants],
            _number(_ceiling(results, metric)),
        )
        for metric in results["metrics"]
    ]
    return plots.bars([variant["name"] for variant in variants], panels)


def _intervals(results: Results) -> list[plots.Interval]:
    """Return the known differences to the baseline on the selection metric."""
    metric = results["selection"]["metric"]
    calls = {verdict.name: verdict.call for verdict in verdicts(results)}
    rows = [(v["name"], _difference(v, metric)) for v in results["variants"]]
    return [
        plots.Interval(name, _number(d["mean"]), *_ends(d), calls[name])
        for name, d in rows
        if math.isfinite(_number(d.get("mean")))
    ]


def _bar(value: dict[str, Any] | None) -> plots.Bar:
    mean = _mean_and_sd(value)[0]
    per_seed = value["per_seed"] if value else []
    return plots.Bar(mean, _decimals(mean), [_number(each) for each in per_seed])


def _any_known(results: Results, value: ValueOf) -> bool:
    runs = [run for variant in results["variants"] for run in variant["runs"]]
    return any(math.isfinite(value(point)) for run in runs for point in run["curve"])


def _valid_value(metric: str) -> ValueOf:
    return lambda point: _number((point["valid"] or {}).get(metric))


def _train_loss(point: dict[str, Any]) -> float:
    return _number(point["train_loss"])


def _curve_text(results: Results, value: ValueOf) -> str:
    """Return the first and the last value of every run in words."""
    return "; ".join(
        f"{variant['name']}, seed {run['seed']}: from {_decimals(value(run['curve'][0]))} to "
        f"{_decimals(value(run['curve'][-1]))} in {len(run['curve'])} epochs"
        for variant in results["variants"]
        for run in variant["runs"]
        if run["curve"]
    )


def _legend(results: Results) -> list[tuple[str, str, str]]:
    """Return name, CSS colour and SVG dashes of each variant; a legend in HTML can wrap."""
    return [(v["name"], *plots.css_look(n)) for n, v in enumerate(results["variants"])]
