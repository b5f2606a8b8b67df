"""Each field is described, and what has a name of its own has only one meaning."""

from typing import get_args

import pytest
from pydantic import create_model

from messages import refused
from softrec.candidates import CandidatesSettings
from softrec.errors import RecipeError
from softrec.recipe.fields import extra, options, places
from softrec.recipe.options import recipe_of
from softrec.recipe.recipe import Recipe
from softrec.registry import Registry
from softrec.settings import Settings, setting
from softrec.targets.one_hot import OneHotSettings
from softrec.targets.settings import TARGETS

LOG = {"data": {"source": "x.csv"}}


def below(kind):
    for one in kind.__subclasses__():
        yield one
        yield from below(one)


list(map(len, Registry.all))  # all members are there
CLASSES = [one for one in below(Settings) if one.__module__.startswith("softrec.")]


def test_the_settings_of_all_places_are_looked_at():
    assert {one for place, one in places().items() if place != "model"} <= set(CLASSES)
    assert len(CLASSES) > 30


@pytest.mark.parametrize("kind", [*CLASSES, places()["model"]], ids=lambda kind: kind.__name__)
def test_every_field_is_described(kind):
    untold = [name for name, field in kind.model_fields.items() if not field.description]
    assert not untold, f"{kind.__module__}.{kind.__name__}: give setting(...) a text for {untold}"


def test_an_option_of_several_members_has_one_type():
    for name, option in options().items():
        kinds = {
            tuple(part for part in get_args(field.annotation) if part is not type(None))
            or field.annotation
            for field in option.fields.values()
        }
        assert len(kinds) == 1, name


def test_no_option_stands_for_two_places():
    paths = [option.path for option in options().values()]
    assert len(paths) == len(set(paths))
    flags = [flag for option in options().values() for flag in option.flags]
    assert len(flags) == len(set(flags))


def test_an_option_stands_for_its_place():
    for name, option in options().items():
        last = option.path.rpartition(".")[2]
        assert name in (last, option.section)
        assert option.section in ("", *Recipe.model_fields)


@pytest.fixture
def own_settings(restored):
    """Settings of one's own, gone after the test."""
    restored(TARGETS)

    def made(**fields):
        return create_model(
            "OwnSettings",
            __base__=OneHotSettings,
            __cls_kwargs__={"name": "own-target"},
            **{name: (float, field) for name, field in fields.items()},
        )

    return made


def test_a_common_field_is_a_keyword(own_settings):
    own_settings(sharpness=setting(2.0, "how sharp it is", common=True), hidden=setting(1.0, "x"))
    recipe = recipe_of(LOG, {"target": "own-target", "sharpness": 3})
    assert recipe.target.sharpness == 3.0
    with refused(RecipeError):
        recipe_of(LOG, {"target": "own-target", "hidden": 3})
    recipe_of(LOG, {"target": "own-target", "target.hidden": 3})


def test_a_keyword_of_two_sections_is_refused(own_settings):
    own_settings(epochs=setting(2.0, "of its own", common=True))
    with refused(RecipeError):
        options()


def test_what_a_field_was_not_told():
    assert extra(CandidatesSettings.model_fields["name"], "common") is False
    assert extra(CandidatesSettings.model_fields["name"], "flags") == ()
