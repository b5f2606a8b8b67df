"""Which row to use, in a few sentences for readers who do not read statistics.

The row is chosen on validation; all numbers are of the test users.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from softrec.report import text
from softrec.report.numbers import MetricDifference
from softrec.report.results import Results, Simple, Variant
from softrec.report.rows import best
from softrec.report.verdict import LEVEL, ONE_SEED, Verdict, verdicts

HITS = ("hit_rate", "recall")


@dataclass(frozen=True)
class Advice:
    """Which row to use.

    Attributes:
        use: the name of the row; "" if the experiment does not decide.
        kind: a variant that helped, a baseline to keep, a simple baseline, or nothing.
        headline: the advice in one sentence.
        reasons: sentences on the metric, the cost, the evidence, and what may change the advice.
    """

    use: str
    kind: Literal["variant", "baseline", "simple", "open"]
    headline: str
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return all sentences."""
        return " ".join([self.headline, *self.reasons])


class Facts(NamedTuple):
    """The best trained row on validation, its baseline, and the best simple baseline."""

    results: Results
    trained: Variant
    baseline: Variant
    simple: Variant | None
    verdict: Verdict | None  # on the trained row; None of a baseline


def advice(results: Results) -> Advice:
    """Return the advice which row to use.

    It is the simple baseline, unless the best trained row is better with p < 0.05. Otherwise it is
    that row if it is a variant that helped, and else the baseline of its model. With one training
    seed, or if the row or its baseline had not levelled off, there is no final advice.

    Raises:
        RunError: if no variant has the name of the baseline.
    """
    facts, simple = _facts(results), results.simple
    if min(len(each.runs) for each in results.trained) < 2:
        first = f"No advice yet: {ONE_SEED[0].lower()}{ONE_SEED[1:]}"
        more = "Train each variant three times or more (--seeds 3)."
        return Advice("", "open", first, _reasons(facts, facts.trained, more, named=False))
    if simple is not None and facts.simple is not None:
        beaten = simple.difference.p < LEVEL and simple.difference.mean < 0
        if not beaten:
            return _use_simple(facts, facts.simple, simple)
    return _use_trained(facts)


def _facts(results: Results) -> Facts:
    simple = results.simple
    trained = results.variant(simple.trained) if simple else best(results, results.trained)
    own = next((each for each in verdicts(results) if each.name == trained.name), None)
    counted = results.variant(simple.counted) if simple else None
    return Facts(results, trained, results.baseline_of(trained), counted, own)


def _use_simple(facts: Facts, counted: Variant, simple: Simple) -> Advice:
    why = (
        "it is better than the best trained row"
        if simple.difference.p < LEVEL
        else "there is no evidence that the best trained row is better"
    )
    p = f"p {text.p_equals(simple.difference.p)}"
    evidence = _evidence(facts, simple.difference, p, counted, facts.trained)
    return Advice(
        counted.name,
        "simple",
        f"Use the simple baseline {counted.name}: {why}.",
        _reasons(facts, counted, evidence),
    )


def _use_trained(facts: Facts) -> Advice:
    trained, baseline, verdict = facts.trained, facts.baseline, facts.verdict
    if verdict is None:
        others = any(each.baseline is not None for each in facts.results.trained)
        why = "no variant is better on validation" if others else "it is the best on validation"
        first = f"Keep {trained.name}: {why}."
        return Advice(trained.name, "baseline", first, _reasons(facts, trained))
    difference = trained.difference_in(facts.results.selection.metric)
    evidence = ""
    if difference is not None and math.isfinite(difference.p_holm):
        p = f"Holm-adjusted p {text.p_equals(difference.p_holm)}"
        evidence = _evidence(facts, difference, p, trained, baseline)
    if verdict.call == "helped":
        first = f"Use {trained.name} instead of {baseline.name}."
        return Advice(trained.name, "variant", first, _reasons(facts, trained, evidence))
    if verdict.call in ("no evidence", "hurt"):
        call = "worse" if verdict.call == "hurt" else "not shown to be better"
        first = f"Keep {baseline.name}: {trained.name}, the best on validation, is {call}."
        reasons = _reasons(facts, baseline, evidence, _helped(facts))
        return Advice(baseline.name, "baseline", first, reasons)
    rising = _rising(trained, baseline)
    why = f"{rising} had not levelled off" if rising else f"has no comparison with {baseline.name}"
    first = f"No advice yet: {trained.name} is the best on validation, but {why}."
    return Advice("", "open", first, _reasons(facts, trained, evidence))


def _helped(facts: Facts) -> str:
    """Return which rows helped that were not the best on validation."""
    names = [each.name for each in verdicts(facts.results) if each.call == "helped"]
    if not names:
        return ""
    return (
        f"Of the rows that are not the best on validation, {', '.join(names)} helped on test: "
        "a reason to train it again with other seeds, and none to choose it by its test."
    )


def _reasons(facts: Facts, use: Variant, *evidence: str, named: bool = True) -> tuple[str, ...]:
    """Return the sentences after the first, which has `named` the row, or not."""
    sentences = [_numbers(facts, use, named), _cost(facts, use), *evidence, _caution(facts)]
    return tuple(sentence for sentence in sentences if sentence)


def _numbers(facts: Facts, use: Variant, named: bool) -> str:
    """Return the metrics of the rows: hits of 100 users or, if unknown, the selection metric."""
    hits = _hits(facts.results)
    metric = facts.results.selection.metric if hits is None else hits[0]

    def value(each: Variant) -> str:
        mean = each.test[metric].mean if metric in each.test else math.nan
        return text.decimals(mean) if hits is None else _of_100(mean)

    others = "; ".join(
        f"with {each.name}{what} {value(each)}" for each, what in _others(facts, use)
    )
    own = "" if named else f" with {use.name}"
    sentence = (
        f"{metric} is {value(use)} on test{own}"
        if hits is None
        else f"Of 100 test users, {value(use)} get {hits[1]}{own}"
    )
    sentence += f"; {others}." if others else "."
    difference = facts.trained.difference_in(metric)
    if hits is None or difference is None or use.kind == "counted":
        return sentence
    return f"{sentence} {_more(facts, difference)}"


def _others(facts: Facts, use: Variant) -> Iterator[tuple[Variant, str]]:
    """Yield the other rows of interest, with a description."""
    simple = [(facts.simple, ", the best simple baseline,")] if facts.simple else []
    trained = [(facts.trained, ", the best trained row on validation,")]
    if use.kind == "counted":
        yield from trained
        return
    for each in (facts.trained, facts.baseline):
        if each is not use and each is not facts.trained:
            yield each, ""
        elif each is not use:
            yield each, ", the best on validation,"
    yield from simple


def _more(facts: Facts, difference: MetricDifference) -> str:
    """Return how many more or fewer users have a hit with the trained row than its baseline."""
    word = "more" if difference.mean >= 0 else "fewer"
    ends = " to ".join(f"{100 * end:+.1f}" for end in difference.interval)
    interval = f" (95 % interval {ends})" if math.isfinite(difference.interval[0]) else ""
    return (
        f"That is {_of_100(abs(difference.mean))} {word} with {facts.trained.name} than with "
        f"{facts.baseline.name}{interval}."
    )


def _hits(results: Results) -> tuple[str, str] | None:
    """Return the metric that counts users, preferably at the cut-off of the chosen one, in words.

    The hit rate does; recall does if every user has one relevant item.
    """
    asked = results.evaluation.get("test", {})
    single = bool(asked) and asked["relevant"] == asked["cases"]
    own = results.selection.metric.rpartition("@")[2]
    found = [
        metric
        for metric in sorted(results.metrics, key=lambda name: name.rpartition("@")[2] != own)
        if metric.partition("@")[0] in (HITS if single else HITS[:1])
    ]
    if not found:
        return None
    which = "the right item" if single else "one of their items"
    number = results.evaluation.get("negatives")
    of = f" of {number:,} sampled items and their own" if number else ""
    return found[0], f"{which} among the first {found[0].rpartition('@')[2]}{of}"


def _cost(facts: Facts, use: Variant) -> str:
    """Return how long the rows take."""
    rows = [use, *(each for each, _ in _others(facts, use))]
    costs = [
        f"{each.name} is {'counted' if each.kind == 'counted' else 'trained'} in "
        f"{_duration(seconds)}"
        for each in rows
        if math.isfinite(seconds := each.seconds)
    ]
    return f"Cost: {', '.join(costs)}." if costs else ""


def _rising(*compared: Variant) -> str:
    """Return which rows had not levelled off."""
    rows = {each.name: each for each in compared if each.rising}
    return " and ".join(f"{text.seeds(each.rising)} of {name}" for name, each in rows.items())


def _caution(facts: Facts) -> str:
    """Return which rows had not levelled off: any of them may become the best."""
    rising = _rising(*facts.results.trained)
    if not rising:
        return ""
    which = f"{rising[0].upper()}{rising[1:]}"
    return f"{which} had not levelled off: with more epochs this may change."


def _duration(seconds: float) -> str:
    """Return a time as text.

    Example:
        >>> _duration(0.25), _duration(42.2), _duration(600), _duration(9000)
        ('0.2 seconds', '42 seconds', '10 minutes', '2.5 hours')
    """
    if seconds < 10:
        return f"{seconds:.1f} seconds"
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _evidence(
    facts: Facts, difference: MetricDifference, p: str, one: Variant, other: Variant
) -> str:
    return (
        f"Evidence: {facts.results.selection.metric} of {one.name} minus that of {other.name} is "
        f"{text.signed(difference.mean)}, 95 % interval {text.span(difference.interval)}, {p}, "
        f"{text.count(difference.n)} users, {len(facts.trained.runs)} trainings."
    )


def _of_100(fraction: float) -> str:
    return f"{100 * fraction:.1f}" if math.isfinite(fraction) else text.UNKNOWN
