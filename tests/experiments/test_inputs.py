"""What a source names: a data set, or a recipe."""

from softrec.data.sources import SOURCES
from softrec.experiments.inputs import read_source
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
