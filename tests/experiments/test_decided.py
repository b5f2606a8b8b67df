"""What a recipe leaves to the sizes of its data: all items or a sample."""

import logging
from dataclasses import replace
from inspect import signature

import numpy as np
import pytest

from messages import refused
from softrec import compare
from softrec.candidates import AutoSettings, FullSettings, SampledSettings, StepSize
from softrec.data.batches import Examples
from softrec.data.interactions import Sequences
from softrec.errors import RecipeError, RunError
from softrec.experiments.build.data import load_split
from softrec.experiments.build.decided import decided, step_size
from softrec.experiments.build.model import rows_of
from softrec.experiments.build.objective import build
from softrec.experiments.compare import compare_targets
from softrec.experiments.runs import open_run
from softrec.experiments.train import fit_recipe
from softrec.models.sasrec import SASRec
from softrec.models.tisasrec import TiSASRec
from softrec.recipe.recipe import merged, read_recipe

SHOP = {"n_items": 40, "n_categories": 4, "n_archetypes": 4, "n_users": 30, "max_length": 9}
BASE = {
    "data": {"source": "shop", "shop": SHOP},
    "model": {"name": "sasrec", "dim": 8},
    "training": {"epochs": 1, "length": 6, "batch_size": 10, "accelerator": "cpu"},
}
LITTLE = {"candidates": {"name": "auto", "budget": 2e-5}}


@pytest.fixture(scope="module")
def split():
    return load_split(read_recipe(BASE).data)


def test_auto_is_the_default():
    assert read_recipe(BASE).candidates == AutoSettings()


@pytest.mark.parametrize(
    ("step", "found"),
    [  # 3 x 1,000 x 10 = 30,000 multiply-adds for each item, a quarter of 3 million for 25 of them
        (StepSize(100, 1_000, 10), FullSettings()),
        (StepSize(101, 1_000, 10), SampledSettings(number=25)),
        (StepSize(10**7, 1_000, 10), SampledSettings(number=25)),
        (StepSize(10**7, 10**4, 10**4), SampledSettings(number=1)),
    ],
)
def test_all_items_as_long_as_the_budget_allows(step, found):
    assert AutoSettings(budget=0.003).decided(step)[0] == found


@pytest.mark.parametrize("windows", ["positions", "last", "prefixes", "interactions", "sliding"])
def test_a_step_is_that_of_the_batches(split, windows):
    recipe = read_recipe(merged(BASE, {"training.windows": windows}))
    _, _, batches = build(recipe, split)
    labels = [len(batch.label) for batch in batches]
    size = step_size(recipe, split).size
    assert (size.n_items, size.width) == (split.train.n_items, 8)
    full = sum(labels) / len(batches.data) * 10  # of a batch that is not the rest
    assert size.labels == pytest.approx(full, abs=0.5)


@pytest.mark.parametrize(
    ("model", "width"),
    [({"name": "sasrec"}, 64), ({"name": "gru4rec", "preset": "desorec"}, 128),
     ({"name": "mf", "preset": "bsl", "dim": 7}, 7)],
)  # fmt: skip
def test_the_width_is_that_of_the_model(split, model, width):
    assert step_size(read_recipe(BASE | {"model": model}), split).size.width == width


@pytest.mark.parametrize("changes", [{}, LITTLE], ids=["all", "a sample"])
def test_a_run_says_what_was_decided(split, tmp_path, changes, caplog):
    recipe = read_recipe(BASE | changes)
    expected = {} if not changes else {"candidates": {"name": "sampled", "number": 3}}
    expected = expected or {"candidates": {"name": "full"}}
    with caplog.at_level(logging.INFO, "softrec"):
        run = fit_recipe(recipe, tmp_path / "auto", split=split)
    explicit = fit_recipe(read_recipe(BASE | expected), tmp_path / "explicit", split=split)
    assert run.recipe == explicit.recipe == open_run(tmp_path / "auto").recipe
    assert run.weights_fingerprint == explicit.weights_fingerprint
    told = [line for line in caplog.messages if line.startswith("candidates: ")]
    assert len(told) == 1
    assert ("a sample of 3 of" in told[0]) == bool(changes)


def test_what_is_decided_says_nothing_more(split):
    once, told = decided(read_recipe(BASE | LITTLE), split)
    assert len(told) == 1
    assert decided(once, split) == (once, [])


@pytest.mark.slow
def test_a_comparison_goes_on_with_what_was_decided(split, tmp_path, caplog):
    recipe = read_recipe(BASE | LITTLE)
    targets = [{"name": "one-hot"}, {"name": "uniform"}]
    with caplog.at_level(logging.INFO, "softrec"):
        found = compare_targets(recipe, targets, tmp_path / "c", seeds=(0,))
    assert sum(line.startswith("candidates: ") for line in caplog.messages) == 1
    runs = sorted((found.folder / "runs").iterdir())
    assert [open_run(run).recipe.candidates.name for run in runs] == ["sampled", "sampled"]
    # All but the report is there again, and nothing is trained twice.
    found.folder.rename(tmp_path / "c.part")
    caplog.clear()
    with caplog.at_level(logging.INFO, "softrec"):
        compare_targets(recipe, targets, tmp_path / "c", seeds=(0,))
    assert not [line for line in caplog.messages if line.startswith("training ")]


def test_a_run_is_built_of_the_settings_it_keeps(split, tmp_path):
    """Defaults that change later do not make another model of its weights."""
    run = fit_recipe(read_recipe(BASE), tmp_path / "run", split=split)
    defaults = {name: value.default for name, value in signature(SASRec).parameters.items()}
    expected = {**defaults, "dim": 8}
    assert run.facts["model"] == {
        n: expected[n] for n in defaults if n not in ("n_items", "length", "catalogue")
    }
    kept = {**run.facts["model"], "norm": "pre", "tied": False}
    with refused(RunError):  # the weights have no output table
        replace(run, facts={**run.facts, "model": kept}).model()


@pytest.mark.filterwarnings("ignore::softrec.data.aside.LeakageWarning")
def test_a_run_that_keeps_no_settings_has_the_former_defaults(tmp_path):
    changes = {"model": {"name": "tisasrec", "dim": 8}, "data.shop.times": True}
    timed = read_recipe(merged(BASE, changes))
    run = fit_recipe(timed, tmp_path / "run")
    older = {name: value for name, value in run.facts.items() if name != "model"}
    model = replace(run, facts=older).model()
    former, now = (
        TiSASRec(40, dim=8, length=6, norm="pre", scale=False),
        TiSASRec(40, dim=8, length=6),
    )
    assert (model.scale, model.blocks[0].style) == (former.scale, former.blocks[0].style)
    assert (run.model().scale, run.model().blocks[0].style) == (now.scale, now.blocks[0].style)
    own = timed.model.with_settings({"scale": True})
    chosen = replace(run, facts=older, recipe=timed.model_copy(update={"model": own})).model()
    assert chosen.scale == now.scale


def test_a_batch_has_fewer_rows_where_each_has_many_labels(split):
    recipe = read_recipe(merged(BASE, {"training.batch_size": None}))
    found, told = decided(recipe, split)
    assert found.training.batch_size == 128  # of at most 6 labels each
    assert told[0].startswith("batch_size: 128 examples, about ")
    zeros = np.zeros(9, dtype=np.int64)
    sequences = Sequences(np.array([0, 100]), np.zeros(100, dtype=np.int64))
    long = Examples(sequences, zeros, zeros + 65, zeros, 64, every=True)
    assert rows_of(recipe.training, long) == 12  # 768 / 64
    assert rows_of(recipe.training, replace(long, every=False)) == 128
    assert rows_of(recipe.training.model_copy(update={"batch_size": 5}), long) == 5


def test_runs_of_counted_models_with_former_defaults_are_read():
    fields = {"data": BASE["data"], "model": {"name": "popularity"}}
    assert read_recipe(fields | {"training": {"patience": 5, "batch_size": 128}})
    with refused(RecipeError):
        read_recipe(fields | {"training": {"patience": 4}})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grid", "title"),
    [(None, "only the target differs"), ({"training.batch_size": [4, 8]}, "settings of training")],
)
def test_a_title_has_the_batch_sizes_that_were_asked_for(tmp_path, grid, title):
    """Not those that follow from other windows, of the row at every position."""
    source = tmp_path / "log.csv"
    rows = [f"{user},{(user + step) % 40}" for user in range(12) for step in range(30)]
    source.write_text("\n".join(["user,item", *rows]))
    found = compare(
        source, out=tmp_path / "c", targets="one-hot,uniform", seeds=1, baselines=False, grid=grid,
        progress=False, epochs=1, windows="last", length=20, **{"model.dim": 4},
    )  # fmt: skip
    assert title in found.results.title
