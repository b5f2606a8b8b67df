"""What can be registered, under which names and with which settings."""

import pytest
import torch

import softrec
from messages import refused
from softrec.errors import RecipeError
from softrec.losses.softmax import soft_cross_entropy
from softrec.models.gru4rec import GRU4Rec
from softrec.models.registry import MODELS
from softrec.recipe.options import recipe_of
from softrec.registry import Registry
from softrec.targets.settings import TARGETS
from softrec.targets.smoothing import UniformTarget

pytestmark = pytest.mark.usefixtures("own_members")


def no_alpha(training, *, power: float = 0.2):
    return UniformTarget(training.n_items)


def too_heavy(training, *, alpha: float = 1.5):
    return UniformTarget(training.n_items)


def named(training, *, alpha: float = 0.2, name: str = ""):
    return UniformTarget(training.n_items)


def mass(training, *, alpha: float = 0.2, mass: float = 0.3):
    return UniformTarget(training.n_items)


def built(training, *, alpha: float = 0.2, build: int = 3):
    return UniformTarget(training.n_items)


def config(training, *, alpha: float = 0.2, model_config: int = 3):
    return UniformTarget(training.n_items)


def private(training, *, alpha: float = 0.2, _k: int = 3):
    return UniformTarget(training.n_items)


def of_tensors(training, *, alpha: float = 0.2, probs: torch.Tensor | None = None):
    return UniformTarget(training.n_items)


@pytest.mark.parametrize(
    "function", [no_alpha, too_heavy, named, mass, built, config, private, of_tensors]
)
def test_settings_that_cannot_be(function):
    with refused(RecipeError):
        softrec.register("wrong", function)
    assert not any("wrong" in one for one in Registry.all)


@pytest.mark.parametrize("name", ["", "two words", "mine(x)", "a,b", "<lambda>", no_alpha])
def test_names_that_no_recipe_can_have(name):
    with refused(RecipeError):
        softrec.register(name)


def test_the_weight_of_a_target_is_a_share():
    @softrec.register("own")
    def own(training, *, alpha: float = 0.2):
        return UniformTarget(training.n_items)

    for alpha in (-1, 1.5):
        with refused(RecipeError):
            recipe_of({"data": {"source": "shop"}}, {"target": "own", "alpha": alpha})


def test_a_name_is_taken_by_another_function_and_not_by_the_same_once_more():
    def make(value):
        @softrec.register("own")
        def own(training, *, alpha: float = value):
            return UniformTarget(training.n_items)

    make(0.2)
    make(0.3)  # as a cell of a notebook that is run again
    assert TARGETS["own"]().soft_weight == 0.3

    def other(training, *, alpha: float = 0.2):
        return UniformTarget(training.n_items)

    with refused(RecipeError):
        softrec.register("own", other)
    assert TARGETS["own"]().soft_weight == 0.3


def test_losses_without_a_name_are_not_taken_for_one_another():
    with refused(RecipeError):
        recipe_of(
            {"data": {"source": "shop"}},
            {"loss": lambda stats, answers, weight: soft_cross_entropy(stats, answers, weight)},
        )


def test_the_class_of_a_model_may_be_called_one():
    class Own(GRU4Rec):
        pass

    assert softrec.register("own", kind="model")(Own) is Own
    assert MODELS["own"] is Own
    with refused(RecipeError):
        softrec.register("other", no_alpha, kind="model")


@pytest.mark.parametrize("kind", ["target", "candidates", "weights"])
def test_what_fails_when_a_source_is_made_is_named(kind):
    @softrec.register("own", kind=kind)
    def own(training, *, alpha: float = 0.2):
        return {}["nothing"]

    made = next(one for one in Registry.all if one.kind == kind)["own"]()
    with refused(RecipeError):
        made.build(None, **({"softmax": True} if kind == "candidates" else {}))
