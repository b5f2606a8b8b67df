"""What an update says: what is new, how far the data have moved, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MEASURES = {"total_variation": "total variation", "jensen_shannon": "Jensen-Shannon divergence"}


def data_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return what is new in the log, and what is gone."""
    lines = [
        f"{facts['new']:,} new events beside {facts['known']:,} known ones"
        + _told(", {:,} known already and left out", facts["duplicates"])
        + _told(", {:,} left out because they precede known ones", facts["earlier"])
        + _told(", {:,} left out by cleaning", facts["left_out"])
    ]
    if facts["doubtful"]:
        lines.append(
            f"{facts['doubtful']:,} new events are of a user with an item that this user had; "
            "without times they are taken as further events: give only what came after the log"
        )
    for kind in ("users", "items"):
        own = facts[kind]
        gone = _told(", {:,} have no event any more", own["gone"])
        are = "is" if own["new"] == 1 else "are"
        lines.append(f"{own['new']:,} of {own['all']:,} {kind} {are} new{gone}")
    return lines


def held_lines(held: Mapping[str, Any]) -> list[str]:
    """Return what a reader of the gate must know of the events that judge."""
    lines = []
    if held["late"]:
        lines.append(
            f"{held['late']:,} new events precede known ones of their user: they are trained on, "
            "and do not judge"
        )
    return [*lines, held["leak"]] if held["leak"] else lines


def drift_lines(drift: Mapping[str, Any]) -> list[str]:
    """Return how far the new events are from the known ones."""
    popular, repeats = drift["popularity"], drift["repeats"]
    catalogue, histories = drift["catalogue"], drift["histories"]
    return [
        "popularity of items: "
        + ", ".join(f"{words} {_beside(popular[name])}" for name, words in MEASURES.items()),
        f"repeats: {_beside(repeats, '.1%')} of the events",
        f"catalogue: {catalogue['events_of_new_items']:.1%} of the new events are of new items, "
        f"{catalogue['events_of_new_users']:.1%} of new users; "
        f"{catalogue['items_without_new_events']:.1%} of the items have no new event",
        f"histories: {histories['known_events_of_a_user']:.1f} known events of a user, "
        f"{histories['new_events_of_a_user']:.1f} new ones of a user who has some",
    ]


def verdict_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return the verdict of the gate, and the numbers behind it."""
    gate = facts["gate"]
    metric = gate["metric"]
    own = gate["metrics"][metric]
    word = "accepted" if gate["accepted"] else "not accepted"
    lines = [
        f"{word}, {gate['verdict']}: {gate['reason']}",
        f"{metric} of {gate['cases']:,} users on the newest events: old {own['old']:.4f}, new "
        f"{own['new']:.4f}, difference {_difference(own)}",
    ]
    for name, group in gate["groups"].items():
        if group["cases"] and name != "known":
            lines.append(
                f"of these {group['cases']:,} with {name}: old {group['old']:.4f}, new "
                f"{group['new']:.4f}, difference {_difference(group)}"
            )
    listed = [f"{name} {values[metric]:.4f}" for name, values in gate["baselines"].items()]
    return [*lines, f"for comparison: {', '.join(listed)}"] if listed else lines


def _told(text: str, count: int) -> str:
    return text.format(count) if count else ""


def _beside(found: Mapping[str, Any], form: str = ".3f") -> str:
    word = ", more than chance" if found["value"] > found["high"] else ""
    word = ", less than chance" if found["value"] < found["low"] else word
    value, expected, low, high = (
        format(found[name], form) for name in ("value", "expected", "low", "high")
    )
    return f"{value} (without drift {expected}, from {low} to {high}{word})"


def _difference(own: Mapping[str, float]) -> str:
    if math.isnan(own["low"]):  # of one user
        return f"{own['difference']:+.4f} (one user: no interval)"
    return f"{own['difference']:+.4f} (95 % interval {own['low']:+.4f} to {own['high']:+.4f})"
