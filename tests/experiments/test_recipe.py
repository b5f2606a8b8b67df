"""Recipes: what is written, laid over, refused, and found again from another folder."""

from pathlib import Path

import pytest
import yaml

from softrec.errors import RecipeError
from softrec.experiments.options import parse_target, parse_targets, recipe_of, shared_target
from softrec.experiments.recipe import read_recipe, read_yaml

LOG = {"data": {"source": "log.csv"}}
RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_of_the_project_are_read(path):
    assert read_recipe(read_yaml(path), str(path)).data.source


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target": "pop+", "alpha": 0.3, "temperature": 2.0},
        {"model": "gru4rec", "preset": "desorec", "model.dropout": 0.1, "length": 7},
        {"target": "uniform", "loss": "decoupled", "balance": 0.2, "clean": ("k-core=3",)},
    ],
)
def test_what_is_written_is_read_again(options):
    recipe = recipe_of(LOG, options)
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    assert read_recipe(yaml.safe_load(text)) == recipe


def test_no_option_changes_nothing():
    assert recipe_of(LOG, {"alpha": None, "lr": None}) == read_recipe(LOG)


def test_settings_need_no_name_of_the_default_model():
    recipe = recipe_of(LOG, {"model.dim": 8})
    assert (recipe.model.name, recipe.model.settings) == ("sasrec", {"dim": 8})


def test_another_name_starts_from_its_own_defaults():
    base = LOG | {"target": {"name": "pop+", "alpha": 0.7}, "model": {"name": "sasrec", "dim": 8}}
    same = recipe_of(base, {"target": "pop+", "model": "sasrec"})
    other = recipe_of(base, {"target": "uniform", "model": "gru4rec"})
    assert (same.target.soft_mass, same.model.settings) == (0.35, {"dim": 8})
    assert (other.target.soft_mass, other.model.settings) == (0.1, {})


def test_ones_own_settings_beat_the_preset():
    preset = recipe_of(LOG, {"model": "gru4rec", "preset": "desorec"}).model.settings
    own = recipe_of(LOG, {"model": "gru4rec", "preset": "desorec", "model.dim": 7}).model.settings
    assert own == preset | {"dim": 7}
    assert preset["dim"] != 7


def test_files_are_found_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("log.csv", "valid.csv", "test.csv"):
        (tmp_path / name).touch()
    given = recipe_of(LOG, {"valid": "valid.csv", "test": "test.csv", "split": "given"})
    assert given.data.source == str(tmp_path / "log.csv")
    assert (given.data.valid, given.data.test) == (
        str(tmp_path / "valid.csv"),
        str(tmp_path / "test.csv"),
    )
    assert recipe_of({"data": {"source": "diginetica"}}, {}).data.source == "diginetica"


def test_the_place_of_an_error_is_named():
    with pytest.raises(RecipeError, match=r"^mine\.yaml: training\.lr: .* got -1"):
        recipe_of(LOG, {"lr": -1}, "mine.yaml")


MIXTURE = {
    "name": "mixture",
    "alpha": 0.3,
    "of": [
        {"share": 0.25, "target": {"name": "uniform"}},
        {"share": 0.75, "target": {"name": "pop+"}},
    ],
}


def test_a_mixture():
    recipe = read_recipe(LOG | {"target": MIXTURE})
    assert recipe.target.soft_mass == 0.3
    unequal = MIXTURE | {"of": MIXTURE["of"][:1]}
    with pytest.raises(RecipeError, match=r"shares of a mixture sum to 1, these to 0\.25"):
        read_recipe(LOG | {"target": unequal})


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("one-hot", {"name": "one-hot"}),
        (" pop+ ( alpha=0.4 , scale=count ) ", {"name": "pop+", "alpha": 0.4, "scale": "count"}),
        ("uniform()", {"name": "uniform"}),
    ],
)
def test_a_target_as_text(text, target):
    assert parse_target(text) == target
    assert parse_targets(f"{text},pop+(alpha=1,temperature=2)") == [
        target,
        {"name": "pop+", "alpha": 1, "temperature": 2},
    ]


@pytest.mark.parametrize("text", ["", "pop+(", "pop+)x", "two words", "pop+(alpha)"])
def test_text_that_is_no_target(text):
    with pytest.raises(RecipeError, match="is no target|expected name=value"):
        parse_target(text)


def test_one_hot_stands_for_itself_alone():
    assert shared_target([{"name": "one-hot"}]) == {"target.name": "one-hot"}
