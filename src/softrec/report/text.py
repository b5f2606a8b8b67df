"""Numbers and settings as text."""

from __future__ import annotations

import math
from typing import Any

from softrec.report.numbers import MetricDifference, SeedMean

UNKNOWN = "n/a"


def decimals(value: float, digits: int = 4) -> str:
    """Return a number with `digits` decimals.

    Example:
        >>> decimals(1234.56789), decimals(float("nan"))
        ('1,234.5679', 'n/a')
    """
    return f"{value:,.{digits}f}" if math.isfinite(value) else UNKNOWN


def signed(value: float) -> str:
    """Return a difference, always with its sign."""
    return f"{value:+.4f}" if math.isfinite(value) else UNKNOWN


def percent(value: float, *, sign: bool = False) -> str:
    """Return a fraction in percent.

    Example:
        >>> percent(0.062, sign=True)
        '+6.2 %'
    """
    return f"{100 * value:{'+' if sign else ''}.1f} %" if math.isfinite(value) else UNKNOWN


def p_value(value: float) -> str:
    """Return a p-value; a very small one as "< 0.0001"."""
    return "< 0.0001" if value < 0.0001 else decimals(value)


def p_equals(value: float) -> str:
    """Return a p-value with "=" or "<" before it, for use in a sentence."""
    return p_value(value) if value < 0.0001 else f"= {p_value(value)}"


def count(value: int) -> str:
    """Return a whole number."""
    return f"{value:,}"


def span(ends: tuple[float, float]) -> str:
    """Return an interval of differences."""
    return UNKNOWN if math.isnan(ends[0]) else f"{signed(ends[0])} to {signed(ends[1])}"


def mean_and_spread(value: SeedMean | None) -> str:
    """Return a mean, with the standard deviation over the seeds if there are several."""
    if value is None:
        return UNKNOWN
    spread = value.spread
    return decimals(value.mean) + ("" if math.isnan(spread) else f" ± {decimals(spread)}")


def difference(value: MetricDifference) -> str:
    """Return a difference from the baseline and its interval, in two lines."""
    relative = percent(value.relative, sign=True)
    return f"{signed(value.mean)} ({relative})\n{span(value.interval)}"


def setting(value: object) -> str:
    """Return the value of a setting.

    Example:
        >>> setting({"layers": [1, 2], "tied": False})
        'layers: 1, 2, tied: no'
    """
    if isinstance(value, dict):
        return ", ".join(f"{key}: {setting(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(setting(each) for each in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def short(value: object) -> object:
    """Return a number with few digits, and anything else as it is.

    Example:
        >>> short(0.0123456), short("pop+")
        ('0.01235', 'pop+')
    """
    return f"{value:.4g}" if isinstance(value, float) else value


def about_data(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts about the data, what was set aside and the protocol in words.

    Example:
        >>> about_data({"users": 5, "protocol": {"first_items": 3}, "set_aside": {}})
        {'users': 5, 'protocol': 'first items 3'}
    """
    protocol = facts.get("protocol", {})
    words = {
        "set_aside": _set_aside(facts.get("set_aside", {})),
        "protocol": ", ".join(f"{name} {value}" for name, value in settings(protocol)),
    }
    return {name: words.get(name, value) for name, value in facts.items() if words.get(name, True)}


def _set_aside(facts: dict[str, Any]) -> str:
    """Return what `SetAside.facts` counts, without what there is none of."""
    short = "trained on, not evaluated" if facts.get("short") == "keep" else "dropped"
    cold = "kept as misses" if facts.get("cold") == "keep" else "dropped"
    told = {
        "short_users": f"{{:,}} users with fewer than 3 events ({short})",
        "cold_items": "{:,} items without a training event "
        f"(their {facts.get('cold_events', 0):,} events {cold})",
        "single_users": "{:,} sequences of one event (dropped)",
    }
    return ", ".join(words.format(facts[name]) for name, words in told.items() if facts.get(name))


def settings(values: dict[str, object]) -> list[tuple[str, str]]:
    """Return names and values of settings."""
    return [(key.replace("_", " "), setting(value)) for key, value in values.items()]


def seeds(values: list[int]) -> str:
    """Return seeds as text.

    Example:
        >>> seeds([0, 2])
        'seeds 0, 2'
    """
    return f"seed{'s' * (len(values) > 1)} {', '.join(map(str, values))}"
