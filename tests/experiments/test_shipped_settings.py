"""A default may change, what repeats a paper may not."""

import json

import pytest

from resolved import KEPT, resolved

KEPT_SETTINGS = json.loads(KEPT.read_text())


@pytest.fixture(scope="module")
def now():
    return resolved()


def test_all_shipped_recipes_are_kept(now):
    assert now.keys() == KEPT_SETTINGS.keys()


@pytest.mark.parametrize("name", KEPT_SETTINGS)
def test_a_shipped_recipe_trains_with_what_it_did(now, name):
    assert now[name] == KEPT_SETTINGS[name]
