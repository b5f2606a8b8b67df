"""What a source names: a data set, or a recipe."""

import pytest

from softrec.data.sources import SOURCES
from softrec.experiments.inputs import read_input, read_source
from softrec.recipe import shipped


def test_a_name_of_both_a_data_set_and_a_recipe_is_the_data_set():
    both = {path.stem for path in shipped.paths()} & set(SOURCES)
    assert both == {"movielens-1m-sasrec"}  # else it shows nothing
    for name in both:
        assert read_source(name, {}).fields == {"data": {"source": name}}


def test_with_its_ending_it_is_the_recipe():
    fields = read_source("movielens-1m-sasrec.yaml", {}).fields
    assert fields["evaluation"]["negatives"] == 1000
    assert read_source("recipes/movielens-1m-sasrec.yaml", {}).fields == fields


@pytest.mark.parametrize(
    ("options", "place", "fields"),
    [
        ({"model": "gru4rec(dim=8)"}, "model", {"name": "gru4rec", "dim": 8}),
        ({"model": "item-knn(shrinkage=5)"}, "model", {"name": "item-knn", "shrinkage": 5}),
        ({"loss": "sl(score_temperature=0.3)"}, "loss", {"name": "sl", "score_temperature": 0.3}),
        ({"candidates": "sampled(number=7)"}, "candidates", {"name": "sampled", "number": 7}),
        ({"target": "pop+(alpha=0.3)"}, "target", {"name": "pop+", "alpha": 0.3}),
    ],
)
def test_settings_may_stand_in_brackets_after_a_name(options, place, fields):
    recipe = read_input("shop", options).recipe
    found = getattr(recipe, place).model_dump()
    assert fields.items() <= found.items()
