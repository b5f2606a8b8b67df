"""What tests of the way from a recipe to the objects share."""

import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import lightning
import polars as pl
import pytest
import torch

from softrec.data.splits import Split
from softrec.experiments.build.data import load_split
from softrec.experiments.train import fit_recipe
from softrec.recipe.recipe import Recipe, merged, read_recipe
from softrec.targets.build.sharing import CutWarning

BASE = {
    "data": {
        "source": "shop",
        "cold_items": "keep",
        "shop": {"n_items": 30, "n_categories": 4, "n_archetypes": 4, "n_users": 14,
                 "max_length": 12},
    },
    "model": {"name": "gru4rec", "dim": 4, "dropout": 0.0},
    "training": {"epochs": 1, "batch_size": 64, "length": 5, "accelerator": "cpu"},
}  # fmt: skip


class Begun(NamedTuple):
    """All that a recipe became when its training began: nothing was trained."""

    recipe: Recipe
    module: Any
    batches: Any
    settings: dict[str, Any]  # what Lightning was told
    split: Split

    @property
    def encoder(self):
        return self.module.encoder

    @property
    def objective(self):
        return self.module.objective

    @property
    def source(self):
        return self.module.objective.source

    @property
    def batch(self):
        """The first batch of training, again and again."""
        state = self.batches.state_dict()
        first = next(iter(self.batches))
        self.batches.load_state_dict(state)
        return first

    def value(self, batch=None):
        """The loss of a batch in float64, without dropout; candidates are drawn by seed 0."""
        encoder = self.encoder.double().eval()
        torch.manual_seed(0)
        return self.objective(encoder, self.batch if batch is None else batch)

    def callback(self, name):
        """The callback of Lightning of a class."""
        (found,) = [c for c in self.settings["callbacks"] if type(c).__name__ == name]
        return found


class StoppedError(Exception):
    """Raised where training would begin."""


@pytest.fixture(scope="session")
def split():
    """The shop of `BASE`, whose events have a number each."""
    found = load_split(read_recipe(BASE).data)
    parts = {name: getattr(found, name) for name in ("train", "valid", "test")}
    weight = (pl.int_range(pl.len()) % 7).cast(pl.Float32)
    rated = {n: replace(p, frame=p.frame.with_columns(weight=weight)) for n, p in parts.items()}
    return replace(found, **rated)


@pytest.fixture(scope="session")
def teachers(split, tmp_path_factory):
    """Two trained runs on the shop, by the names that stand for them."""
    found = {}
    for seed, name in enumerate(("TEACHER A", "TEACHER B")):
        fields = merged(BASE, {"seed": seed, "training.lr": 0.05, "training.epochs": 2})
        out = tmp_path_factory.mktemp("teachers") / str(seed)
        found[name] = str(fit_recipe(read_recipe(fields), out, split=split).folder)
    return found


@pytest.fixture
def begin(monkeypatch, tmp_path, split, teachers):
    """Return a function of changes to `BASE`: what begins to be trained."""
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    found = {}

    class Trainer:
        strategy = SimpleNamespace(root_device=torch.device("cuda"))  # where something is asked

        def __init__(self, **settings):
            found["settings"] = settings

        def fit(self, module, batches, **settings):
            found["settings"]["deterministic"] = torch.are_deterministic_algorithms_enabled()
            found.update(module=module, batches=batches)
            raise StoppedError

    def begun(changes):
        recipe = read_recipe(_with_teachers(merged(BASE, changes), teachers))
        with monkeypatch.context() as patched, warnings.catch_warnings():
            patched.setattr(lightning, "Trainer", Trainer)
            warnings.simplefilter("ignore", CutWarning)
            with pytest.raises(StoppedError):
                fit_recipe(recipe, tmp_path / "run", split=split)
        return Begun(recipe, found["module"], found["batches"], found["settings"], split)

    return begun


def _with_teachers(value, teachers):
    """Put the folders of runs where their names stand."""
    if isinstance(value, dict):
        return {name: _with_teachers(part, teachers) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_teachers(part, teachers) for part in value]
    return teachers.get(value, value) if isinstance(value, str) else value
