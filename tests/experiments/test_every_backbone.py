"""Every backbone by its name in a recipe: trained, kept, opened again, asked."""

import warnings
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from messages import refused
from softrec.data.splits import LeakageWarning
from softrec.errors import DataError, RecipeError
from softrec.experiments.build.data import load_split
from softrec.experiments.evaluator import Evaluator, means
from softrec.experiments.train import fit_recipe
from softrec.recipe.recipe import merged, read_recipe
from softrec.recipe.specs.models import MODELS, is_counted

TRAINED = [name for name in MODELS if not is_counted(name)]
N_ITEMS = 60
BASE = {
    "data": {
        "source": "shop",
        "cold_items": "keep",
        "shop": {"n_items": N_ITEMS, "n_categories": 6, "n_archetypes": 6, "n_users": 120,
                 "min_length": 8, "max_length": 20},
    },
    "training": {"epochs": 4, "batch_size": 128, "length": 8, "lr": 0.03, "accelerator": "cpu",
                 "windows": "prefixes", "patience": 5},
    "evaluation": {"metrics": ["recall@10", "ndcg@10"]},
}  # fmt: skip
GRAPHS = ("mf", "lightgcn", "ngcf")
HEADED = ("sasrec", "tisasrec")
TARGETS = [
    {"target": {"name": "one-hot"}},
    {"target": {"name": "uniform", "alpha": 0.2}},
    {"target": {"name": "pop+", "alpha": 0.5}, "loss": {"name": "decoupled"}},
]


@pytest.fixture(scope="module")
def split():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakageWarning)
        return load_split(read_recipe(BASE).data)


@pytest.fixture(scope="module")
def timed(split):
    """The same events, an hour apart."""
    parts = {}
    for part in ("train", "valid", "test"):
        log = getattr(split, part)
        hours = pl.int_range(pl.len()).cast(pl.Int64) * 3600 + 10**9 * (part != "train")
        parts[part] = replace(log, frame=log.frame.with_columns(hours.alias("time")))
    return replace(split, **parts)


def recipe(name, changes):
    model = {"name": name, "dim": 16}
    if name in HEADED:
        model |= {"heads": 1, "layers": 1, "dropout": 0.0}
    fields = merged(BASE, {"model": model}) | changes
    if name in GRAPHS:
        fields = merged(fields, {"training.windows": "interactions", "training.length": 1})
    return read_recipe(fields)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_backbone_learns_the_shop_and_comes_back_the_same(name, split, timed, tmp_path):
    """A list of ten drawn blindly has some ten of the sixty items."""
    split = timed if MODELS[name].needs_times else split
    found = []
    for number, changes in enumerate(TARGETS):
        made = recipe(name, changes)
        run = fit_recipe(made, tmp_path / str(number), split=split)
        again = means(Evaluator(made, split, "test").per_user(run.encoder()))
        assert again == pytest.approx(run.test, abs=1e-9)
        found.append(run.valid["recall@10"])
        user = split.train.users.ids(np.array([3]))[0]
        listed = run.recommender().recommend([user], k=5)
        assert len(listed) == 5
    assert min(found) > 0.3, found


def test_a_model_of_times_needs_them(tmp_path):
    (tmp_path / "log.csv").write_text(
        "user,item\n" + "".join(f"{u},{(u + i) % 5}\n" for u in range(8) for i in range(4))
    )
    fields = merged(BASE, {"data": {"source": str(tmp_path / "log.csv")},
                           "model": {"name": "tisasrec"}})  # fmt: skip
    with refused(DataError):
        fit_recipe(read_recipe(fields), tmp_path / "run")


def test_what_the_data_give_is_no_setting():
    for name in ("n_users", "edges", "n_items"):
        with refused(RecipeError):
            read_recipe(merged(BASE, {"model": {"name": "lightgcn", name: 3}}))
