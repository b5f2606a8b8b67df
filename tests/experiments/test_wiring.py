"""What a recipe can say and nothing builds is an error; it never becomes something else."""

from inspect import signature

import pytest
import torch

from messages import refused
from softrec.candidates import CandidatesSettings, DrawnSettings, InBatchSettings, SampledSettings
from softrec.errors import DataError, RecipeError
from softrec.experiments.build import objective as objectives
from softrec.experiments.build.data import load_split
from softrec.experiments.fitted import PASSED_ON
from softrec.losses.bilateral import BslSettings
from softrec.losses.settings import LossSettings, PairwiseSettings
from softrec.losses.softmax_settings import DecoupledSettings, MixedSettings
from softrec.recipe.recipe import read_recipe
from softrec.recipe.specs.training import TrainingSettings
from softrec.scoring import Scoring
from softrec.targets.one_hot import OneHotSettings
from softrec.targets.settings import TargetSettings
from softrec.training.loop import train

RECIPE = read_recipe(
    {
        "data": {"source": "shop", "cold_items": "keep",
                 "shop": {"n_items": 30, "n_categories": 4, "n_archetypes": 4, "n_users": 9}},
        "model": {"name": "gru4rec", "dim": 4},
        "training": {"length": 3},
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def split():
    return load_split(RECIPE.data)


def built(split, **sections):
    return objectives.build(RECIPE.model_copy(update=sections), split)


@pytest.mark.parametrize("kind", [TargetSettings, LossSettings, PairwiseSettings,
                                  CandidatesSettings, DrawnSettings])  # fmt: skip
def test_a_name_that_nothing_builds_is_refused_where_it_is_given(kind):
    before = list(kind.registry)
    if kind is PairwiseSettings:  # builds what `pairs` says
        with refused(AttributeError):
            kind.build(kind.model_construct(name="unheard"), None)
        return
    with refused(TypeError):
        type("Unheard", (kind,), {"__module__": __name__}, name="unheard")
    assert list(kind.registry) == before


@pytest.mark.parametrize(
    ("section", "spec"),
    [
        ("loss", BslSettings().model_copy(update={"mode": "triple"})),
        ("candidates", SampledSettings(number=3).model_copy(update={"sampler": "fair"})),
    ],
)
def test_a_choice_that_nothing_builds(split, section, spec):
    with refused(AssertionError):
        built(split, **{section: spec})


def test_one_hot_has_nothing_to_build():
    with refused(RecipeError):
        OneHotSettings().build(None)


def test_the_decoupled_loss_without_a_soft_target(split):
    with refused(ValueError):
        built(split, loss=DecoupledSettings())


def test_scores_that_nothing_makes(split):
    with refused(ValueError):
        Scoring("dot")
    loss = MixedSettings().model_copy(update={"score": "dot"})
    with refused(ValueError):
        built(split, loss=loss)


def test_a_split_that_nothing_makes():
    with refused(DataError):
        load_split(RECIPE.data.model_copy(update={"split": "halves"}))


@pytest.mark.parametrize("windows", ["last", "positions", "prefixes", "sliding", "interactions"])
def test_in_batch_frequencies_are_those_of_the_labels_of_an_epoch(split, windows):
    """Of what the batches hold, not of events: with windows `last` most events are no label."""
    training = RECIPE.training.model_copy(update={"windows": windows})
    _, objective, batches = built(split, candidates=InBatchSettings(), training=training)
    seen = torch.cat([batch.label for batch in batches]).bincount(minlength=split.train.n_items)
    expected = seen.double() / seen.sum()
    torch.testing.assert_close(objective.candidates.frequency.double(), expected)
    events = torch.from_numpy(split.train.item_counts).double()
    far = (expected - events / events.sum()).abs().max()
    assert (far > 1e-3) == (windows != "interactions")


def test_a_training_has_every_setting_of_the_loop():
    """One that is forgotten would be its default, whatever a recipe says."""
    named = signature(train).parameters.items()
    options = {name for name, one in named if one.kind is one.KEYWORD_ONLY}
    assert options - {"epochs", "schedule", "listener", "budget"} == set(PASSED_ON)
    assert set(PASSED_ON) <= TrainingSettings.model_fields.keys()
