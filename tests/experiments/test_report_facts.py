"""The facts about the data that a report tells, in words."""

import pytest
from made_results import synthetic, typed

from softrec.report import text
from softrec.report.markdown import render_markdown
from softrec.report.write import render_report

ASIDE = {"short_users": 0, "short": "keep", "cold_items": 0, "cold_events": 0, "cold": "drop"}


@pytest.mark.parametrize(
    ("aside", "words"),
    [
        ({}, None),
        ({"short_users": 1200}, "1,200 users with fewer than 3 events (trained on, not evaluated)"),
        ({"short_users": 3, "short": "drop"}, "3 users with fewer than 3 events (dropped)"),
        (
            {"cold_items": 4, "cold_events": 5},
            "4 items without a training event (their 5 events dropped)",
        ),
        (
            {"cold_items": 4, "cold_events": 5, "cold": "keep", "single_users": 2},
            "4 items without a training event (their 5 events kept as misses), "
            "2 sequences of one event (dropped)",
        ),
    ],
)
def test_what_was_set_aside_is_told_in_words(aside, words):
    told = text.about_data({"users": 3, "set_aside": ASIDE | aside, "protocol": {}})
    assert told == {"users": 3} | ({} if words is None else {"set_aside": words})


def test_settings_of_the_protocol_are_told_in_words():
    told = text.about_data({"protocol": {"false_positives": 0.2, "seed": 3}})
    assert told == {"protocol": "false positives 0.2, seed 3"}
    assert text.about_data({"name": "lists"}) == {"name": "lists"}


def test_the_report_has_no_facts_that_say_nothing():
    made = synthetic()
    made["data"] |= {"set_aside": ASIDE, "protocol": {}}
    for page in (render_report(typed(made)), render_markdown(typed(made))):
        assert "short: keep" not in page
        assert "set aside" not in page
