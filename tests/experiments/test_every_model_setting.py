"""Every setting of every backbone, named in a recipe, makes another model; none is forgotten.

What a setting means is told by the tests of the models. Here it is only seen that it arrives:
weights, vectors of users and items, and vectors in training, with dropout, are not all the same.
"""

from itertools import combinations
from typing import Literal, get_args, get_origin

import numpy as np
import pytest
import torch

from softrec.data.batches import examples, training_batch
from softrec.data.interactions import Interactions, Sequences
from softrec.experiments.build.model import build_model
from softrec.recipe.recipe import read_recipe
from softrec.recipe.specs.arguments import arguments
from softrec.recipe.specs.models import MODELS, OF_THE_DATA, is_counted

SEQUENCES = Sequences.of([[0, 3, 1, 4, 1, 5, 6, 2], [5, 2, 6], [6, 1, 4, 2, 0, 3], [2, 2, 4, 3]])
TIMES = (torch.arange(len(SEQUENCES.items)) ** 2 % 7 * 40_000 + 30_000).cumsum(0).numpy()
LOG = Interactions.from_sequences(SEQUENCES, times=TIMES)
LENGTH = 5
SMALL = {"dim": 4}
TRAINED = [name for name in MODELS if not is_counted(name)]
SETTINGS = [(name, setting) for name in TRAINED for setting in arguments(MODELS[name], OF_THE_DATA)]
TRIED = {
    "dim": [4, 8], "length": [5, 9], "layers": [1, 2], "heads": [1, 2], "interests": [2, 3],
    "frequencies": [1, 2],
    "iterations": [1, 3], "intervals": [2, 40], "horizontal": [3, 5], "vertical": [2, 3],
    "predictor_layers": [1, 2], "heights": [None, (1, 2)], "map_std": [None, 2.0],
    "init": ["xavier", "normal"],
}  # fmt: skip
"""Values of numbers and lists; choices, switches and shares are tried by their type."""
WIDTHS = [None, (8,), (6, 5)]
NEEDED = {
    "init": {"relu_layer": True},
    "predictor_dropout": {"predictor_layers": 2},
}
"""What else must be set where a setting means anything."""


def choices(kind):
    found = list(get_args(kind)) if get_origin(kind) is Literal else []
    return found or [value for part in get_args(kind) for value in choices(part)]


def values_of(name, setting):
    kind = arguments(MODELS[name])[setting]
    if (name, setting) == ("comirec-dr", "init"):
        return ["xavier", "normal"]  # "gaussian" has other biases of layers, of which it has none
    if choices(kind):
        return choices(kind)  # None, where it may be, is one of them
    if kind is bool:
        return [False, True]
    if setting == "layers" and kind is not int:
        return WIDTHS
    if setting in TRIED:
        return TRIED[setting]
    return [0.0, 0.6] if kind is float else [3, 6]


def made(fields):
    """All numbers that a model shows: weights, vectors, and vectors in training."""
    recipe = read_recipe({"data": {"source": "shop"}, "model": fields,
                          "training": {"length": LENGTH}})  # fmt: skip
    encoder = build_model(recipe.model, LOG, LENGTH, seed=0)
    data = examples(LOG.sequences, "prefixes", LENGTH)
    batch = training_batch(data, torch.arange(len(data)).numpy(), LOG.n_items)
    numbers = [*encoder.state_dict().values()]
    for mode in (False, True):
        encoder.train(mode)
        torch.manual_seed(1)
        with torch.no_grad():
            numbers += [encoder(batch).users, *encoder.items()]
    return [part for part in numbers if part is not None]


def alike(one, other):
    return len(one) == len(other) and all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_a_setting_makes_another_model(name, setting):
    needed = NEEDED.get(setting, {})
    needed = {key: value for key, value in needed.items() if key in arguments(MODELS[name])}
    base = {"name": name} | SMALL | needed
    found = [made(base | {setting: value}) for value in values_of(name, setting)]
    assert len(found) > 1
    for one, other in combinations(found, 2):
        assert not alike(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_name_makes_the_model_and_a_preset_its_settings(name):
    for preset, settings in MODELS[name].PRESETS.items():
        small = {key: 4 for key in ("dim",) if key in arguments(MODELS[name])}
        by_preset = made({"name": name, "preset": preset} | small)
        by_hand = made({"name": name} | settings | small)
        assert alike(by_preset, by_hand)
    recipe = read_recipe({"data": {"source": "shop"}, "model": {"name": name}})
    assert type(build_model(recipe.model, LOG, 50, seed=0)) is MODELS[name]


@pytest.mark.parametrize("name", TRAINED)
def test_weights_that_are_loaded_need_not_be_drawn(name):
    """The model is the same to the bit; what does not fall from the weights is made as ever."""
    spec = read_recipe({"data": {"source": "shop"}, "model": {"name": name} | SMALL}).model
    drawn = build_model(spec, LOG, LENGTH, seed=3).eval()
    before = torch.get_rng_state()
    loaded = build_model(spec, LOG, LENGTH, seed=None).eval()
    assert name == "mind" or torch.equal(torch.get_rng_state(), before)  # mind draws a buffer
    loaded.load_state_dict(drawn.state_dict())
    for one, other in (
        (drawn.state_dict(), loaded.state_dict()),
        (dict(drawn.named_buffers()), dict(loaded.named_buffers())),
    ):
        assert list(one) == list(other)
        assert alike(list(one.values()), list(other.values()))
    batch = training_batch(examples(LOG.sequences, "prefixes", LENGTH), np.arange(5), LOG.n_items)
    with torch.no_grad():
        found, expected = loaded(batch), drawn(batch)
    assert torch.equal(found.users, expected.users)
    assert torch.equal(found.items.vectors, expected.items.vectors)
