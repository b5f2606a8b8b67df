"""The verdict on each soft variant: helped, hurt, no evidence, or no verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from softrec.report import text
from softrec.report.numbers import MetricDifference
from softrec.report.results import Results, Variant, is_condition

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
PATIENT = 10
"""Epochs without improvement after which what a training could still gain is small
(`python -m benchmarks.stopping`)."""
MARK = "*"
"""Marks evidence in a table."""
ONE_SEED = "One training seed: cannot tell training noise from a gain."


@dataclass(frozen=True)
class Verdict:
    """The verdict on one soft variant, by the selection metric on test."""

    name: str
    call: Call
    text: str
    reason: Literal["", "one seed", "not levelled off"] = ""  # why there is no verdict


def verdicts(results: Results) -> list[Verdict]:
    """Return the verdict on each variant except the baselines.

    A variant helped or hurt if the Holm-adjusted p of the selection metric on test is below 0.05,
    by the sign of the difference. There is no verdict with one seed, because a lucky training
    cannot be distinguished from a gain, and none on runs that had not levelled off.

    Raises:
        RunError: if no variant has the name of the baseline.
    """
    results.variant(results.baseline)
    pairs = [(variant, results.baseline_of(variant)) for variant in results.trained]
    metric = results.selection.metric
    return [_verdict(metric, own, baseline) for own, baseline in pairs if own is not baseline]


def simple_sentence(results: Results) -> str:
    """Return a sentence: does the best trained variant beat the best simple baseline?

    "" if there are no simple baselines.
    """
    simple, metric = results.simple, results.selection.metric
    if simple is None:
        return ""
    values = {variant.name: variant.test.get(metric) for variant in results.variants}
    own, trained = (text.mean_and_spread(values[n]) for n in (simple.counted, simple.trained))
    difference = simple.difference
    listed = any(each.name == simple.trained for each in results.listed)
    chosen = "" if listed else ", the best trained row on validation"
    numbers = (
        f"{metric} {own} against {trained} of {simple.trained}{chosen} "
        f"(difference {text.signed(difference.mean)}, 95 % interval "
        f"{text.span(difference.interval)}{_alone(difference.p)})"
    )
    if math.isnan(difference.p):
        call = "higher" if difference.mean > 0 else "not higher"
        than = simple.trained if listed else "the best trained row"
        start = f"The best simple baseline, {simple.counted}, is {call} than {than}"
        return f"{start}: {numbers}. {ONE_SEED}"
    if difference.p < LEVEL and difference.mean < 0:
        return f"The best simple baseline, {simple.counted}, is beaten: {numbers}."
    call = "better" if difference.p < LEVEL and difference.mean > 0 else "as good, for all one sees"
    return f"A simple baseline, {simple.counted}, is {call}: {numbers}."


def _alone(p: float) -> str:
    """Return a p-value that is not corrected, because the two rows were chosen on validation."""
    return "" if math.isnan(p) else f", p {text.p_equals(p)} of this comparison alone"


def counted_call(variant: Variant, metric: str) -> str:
    """Return the verdict on a simple baseline compared with the one-hot row, in a word or two."""
    difference = variant.difference_in(metric)
    if difference is None or math.isnan(difference.p_holm):
        return "no verdict"
    return {"helped": "better", "hurt": "worse"}.get(_call(difference), "no evidence")


def headline(found: Sequence[Verdict], results: Results | None = None) -> str:
    """Return one sentence with the number of verdicts of each kind.

    Args:
        found: the verdicts.
        results: of the comparison, to mention groups and variants without a soft target.
    """
    groups = len(results.groups) if results else 1
    if results is not None:
        found = [e for e in found if not results.on_other_windows(results.variant(e.name))]
    if not found:
        none = "There is no soft variant to compare with the baseline"
        return f"{none} of its {_group(results)}." if results and groups > 1 else f"{none}."
    calls = Counter(verdict.call for verdict in found)
    counts = ", ".join(f"{calls[call]} {words}" for call, words in WORDS.items() if calls[call])
    judged = [] if results is None else [results.variant(each.name) for each in found]
    kind = "soft variant" if all(each.soft_weight > 0 for each in judged) else "variant"
    sentence = f"Of {len(found)} {kind}{'s' * (len(found) > 1)}: {counts}."
    if results and groups > 1:
        sentence = f"Each against the baseline of its own {_group(results)}. {sentence}"
    one_seed = any(each.reason == "one seed" for each in found)
    return f"{sentence} {ONE_SEED}" if one_seed else sentence


def _group(results: Results) -> str:
    """Return what the rows of a group share, and other groups have another one of."""
    models = len({str(variant.model) for variant in results.trained}) > 1
    noise = any(is_condition(place) for variant in results.trained for place in variant.grid)
    words = ["model"] * models + ["share of false positives"] * noise
    return " and ".join(words) or "settings"


def protocol_sentences(results: Results) -> list[str]:
    """Return what other windows of training matter, beside the most that a target matters."""
    metric = results.selection.metric
    found: list[str] = []
    for variant in results.trained:
        difference = variant.difference_in(metric)
        if difference is None or not results.on_other_windows(variant):
            continue
        baseline = results.baseline_of(variant)
        told = f"{variant.name}: {_numbers(metric, variant, baseline, difference)}"
        told += (
            f". {ONE_SEED}"
            if math.isnan(difference.p_holm)
            else f", Holm-adjusted p {text.p_equals(difference.p_holm)}."
        )
        others = [
            (abs(own.mean), each.name, own.mean)
            for each in results.of_group(variant.group)
            if each.baseline and not results.on_other_windows(each)
            if (own := each.difference_in(metric)) and math.isfinite(own.mean)
        ]
        if others:
            _, name, mean = max(others)
            told += f" The most that a target changes is {text.signed(mean)} ({name})."
        found.append(told)
    return found


def certainty(results: Results) -> str:
    """Return what the intervals cover, and which runs cannot be judged."""
    sentences = (
        "The intervals and p-values cover the choice of users and the randomness of training "
        "together."
        if min(variant.trainings for variant in results.trained) > 1
        else f"{ONE_SEED} The intervals cover the choice of users only; for a verdict give each "
        "variant three seeds or more."
    )
    waiting = "; ".join(
        f"{variant.name} ({text.seeds(variant.rising)})"
        for variant in results.trained
        if variant.rising
    )
    if waiting:
        sentences += (
            f" Not levelled off when the epochs ended: {waiting}. There is no verdict on these; "
            "give more epochs or minutes."
        )
    return sentences + _impatience(results)


def _impatience(results: Results) -> str:
    """Return what a short patience may do to a comparison; "" if none stopped by a short one."""
    waited = [
        run.epochs - run.best_epoch
        for variant in results.trained
        for run in variant.runs
        if run.levelled_off
    ]
    if min(waited, default=PATIENT) >= PATIENT:
        return ""
    return (
        f" Trainings stopped {text.count(min(waited))} epochs after their best one. With so "
        "short a patience, a row that learns slowly is stopped further below what it could reach "
        "than one that learns fast, and the intervals do not cover that: before you trust a small "
        f"difference, repeat the comparison with a patience of {PATIENT}."
    )


def _verdict(metric: str, variant: Variant, baseline: Variant) -> Verdict:
    name, difference = variant.name, variant.difference_in(metric)
    if difference is None or math.isnan(difference.mean):
        sentence = f"{metric} at test has no usable comparison with the baseline."
        return Verdict(name, "not compared", sentence)
    numbers = _numbers(metric, variant, baseline, difference)
    if min(each.trainings for each in (variant, baseline)) < 2:
        sentence = f"{numbers} over the users only. {ONE_SEED}"
        return Verdict(name, "no verdict", sentence, "one seed")
    numbers += f", Holm-adjusted p {text.p_equals(difference.p_holm)}."
    which = " and ".join(
        f"{text.seeds(each.rising)} of {whose}"
        for each, whose in ((variant, "this variant"), (baseline, "the baseline"))
        if each.rising
    )
    if which:
        sentence = (
            f"{numbers} {which[0].upper()}{which[1:]} had not levelled off when the epochs ended, "
            "so this says little of what longer training gives."
        )
        return Verdict(name, "no verdict", sentence, "not levelled off")
    if math.isnan(difference.p_holm):
        return Verdict(name, "not compared", f"{numbers} There is no p-value to judge by.")
    return Verdict(name, _call(difference), " ".join([numbers, *_cautions(difference)]))


def _numbers(metric: str, variant: Variant, baseline: Variant, difference: MetricDifference) -> str:
    return (
        f"{metric} {text.mean_and_spread(variant.test.get(metric))} against "
        f"{text.mean_and_spread(baseline.test.get(metric))} of the baseline: a difference of "
        f"{text.signed(difference.mean)} ({text.percent(difference.relative, sign=True)} of the "
        f"baseline), 95 % interval {text.span(difference.interval)}"
    )


def marked(words: str, p_holm: float) -> str:
    """Return the words of a difference, with the mark if its p counts as evidence."""
    return f"{words} {MARK}" if p_holm < LEVEL else words


def _call(difference: MetricDifference) -> Call:
    if difference.p_holm >= LEVEL or difference.mean == 0:
        return "no evidence"
    return "helped" if difference.mean > 0 else "hurt"


def _cautions(difference: MetricDifference) -> Iterator[str]:
    """Yield remarks that keep a reader from concluding too much from the numbers."""
    if difference.p_holm < LEVEL:
        return
    if difference.low > 0 or difference.high < 0:
        yield "Taken alone it would look real, but not among as many comparisons as were made."
    elif math.isfinite(difference.detectable):
        yield (
            "With these users and seeds a true difference of "
            f"{text.decimals(difference.detectable)} would be found in 80 % of such comparisons, "
            "a smaller one less often."
        )
