"""What a recipe can say and nothing builds is an error; it never becomes something else."""

from typing import get_args

import pytest
import torch

from softrec.errors import DataError, RecipeError
from softrec.experiments.build import objective as objectives
from softrec.experiments.build import targets as sources
from softrec.experiments.build.data import load_split
from softrec.experiments.build.wiring import wired
from softrec.recipe.recipe import read_recipe
from softrec.recipe.specs import candidates, losses, targets
from softrec.scoring import Scoring

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


def members(union):
    """The specs of a section."""
    return get_args(get_args(union)[0])


def unheard(spec, **fields):
    """A spec of a new class, as a section would have that somebody forgot to wire."""
    values = {name: field.default for name, field in spec.model_fields.items()}
    return type("Unheard", (spec,), {}).model_construct(**values | {"name": "unheard"} | fields)


def built(split, **sections):
    return objectives.build(RECIPE.model_copy(update=sections), split, progress=False)


@pytest.mark.parametrize("spec", members(losses.LossSpec))
def test_a_loss_that_nothing_builds(split, spec):
    with pytest.raises(RecipeError, match=r"loss: unheard .* nothing builds it"):
        built(split, loss=unheard(spec))


@pytest.mark.parametrize("spec", members(candidates.CandidatesSpec))
def test_candidates_that_nothing_draws(split, spec):
    with pytest.raises(RecipeError, match=r"candidates: unheard .* nothing builds it"):
        built(split, candidates=unheard(spec, number=3))


@pytest.mark.parametrize(
    "spec", [s for s in members(targets.TargetSpec) if s.__name__[:3] != "One"]
)
def test_a_target_that_nothing_builds(split, spec):
    with pytest.raises(RecipeError, match=r"target: unheard .* nothing builds it"):
        built(split, target=unheard(spec))


def test_a_part_of_a_mixture_that_nothing_builds(split):
    part = targets.ShareSpec.model_construct(share=1.0, target=unheard(targets.UniformSpec))
    mixture = targets.MixtureSpec.model_construct(name="mixture", alpha=0.2, of=(part,))
    with pytest.raises(RecipeError, match=r"target: unheard .* nothing builds it"):
        built(split, target=mixture)


@pytest.mark.parametrize(
    ("section", "spec", "text"),
    [
        ("loss", losses.BprSpec.model_construct(name="ppr"), "loss: ppr .* .only bce, bce-sum"),
        ("loss", losses.BceSpec.model_construct(name="mae"), "loss: mae .* .only bce, bce-sum"),
        ("loss", losses.BslSpec(name="bsl").model_copy(update={"mode": "triple"}),
         "loss: bsl in mode triple .* .only bilateral, multi, reweight, single"),
        ("candidates", candidates.SampledSpec(name="sampled", number=3).model_copy(
            update={"sampler": "fair"}), "candidates.sampler: fair .* .only log-uniform, popul"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_name_that_nothing_builds(split, section, spec, text):
    with pytest.raises(RecipeError, match=text):
        built(split, **{section: spec})


def test_the_decoupled_loss_without_a_soft_target(split):
    with pytest.raises(RecipeError, match="loss: decoupled needs a soft target"):
        built(split, loss=losses.DecoupledSpec(name="decoupled"))


def test_scores_that_nothing_makes(split):
    with pytest.raises(ValueError, match="scores are inner, cosine, euclidean, got 'dot'"):
        Scoring("dot")
    loss = losses.MixedSpec().model_copy(update={"score": "dot"})
    with pytest.raises(ValueError, match="got 'dot'"):
        built(split, loss=loss)


def test_a_split_that_nothing_makes():
    with pytest.raises(DataError, match="shop cannot be split by 'halves'"):
        load_split(RECIPE.data.model_copy(update={"split": "halves"}))


def test_the_tables_are_whole_and_have_nothing_else():
    assert set(objectives.LOSSES) == set(members(losses.LossSpec))
    assert set(objectives.CANDIDATES) == set(members(candidates.CandidatesSpec))
    assert {targets.OneHotSpec, *sources.TARGETS} == set(members(targets.TargetSpec))
    names = {
        "mode": (losses.BslSpec, objectives.BSL),
        "sampler": (candidates.SampledSpec, objectives.SAMPLERS),
    }
    for field, (spec, table) in names.items():
        assert set(table) == set(get_args(spec.model_fields[field].annotation))
    plain = [get_args(s.model_fields["name"].annotation) for s in (losses.BprSpec, losses.BceSpec)]
    assert set(objectives.PLAIN) == {name for several in plain for name in several}


def test_a_table_says_what_it_has():
    with pytest.raises(RecipeError, match=r"pooling: max .* \(only mean, sum\)"):
        wired({"sum": 1, "mean": 2}, "max", "pooling: max")


@pytest.mark.parametrize("windows", ["last", "positions", "prefixes", "pieces", "interactions"])
def test_in_batch_frequencies_are_those_of_the_labels_of_an_epoch(split, windows):
    """Of what the batches hold, not of events: with windows `last` most events are no label."""
    training = RECIPE.training.model_copy(update={"windows": windows})
    _, objective, batches = built(
        split, candidates=candidates.InBatchSpec(name="in-batch"), training=training
    )
    seen = torch.cat([batch.label for batch in batches]).bincount(minlength=split.train.n_items)
    expected = seen.double() / seen.sum()
    torch.testing.assert_close(objective.candidates.frequency.double(), expected)
    events = torch.from_numpy(split.train.item_counts).double()
    far = (expected - events / events.sum()).abs().max()
    assert (far > 1e-3) == (windows != "interactions")
