"""Whether the order matters, on simulated shops of which it is known."""

import json
import math

import numpy as np
import polars as pl
import pytest

from messages import refused
from softrec.errors import RecipeError, RunError
from softrec.experiments.order import OrderFound, compare_order
from softrec.experiments.train import open_run
from softrec.recipe.recipe import merged, read_recipe

SHOP = {"n_items": 60, "n_categories": 6, "n_users": 400, "min_length": 8, "max_length": 20,
        "drift": 0.0, "noise": 0.05}  # fmt: skip


def recipe(model="markov", order="log", **shop):
    return read_recipe(
        {
            "data": {"source": "shop", "shop": SHOP | shop, "order": order},
            "model": {"name": model},
            "evaluation": {"metrics": ["ndcg@10"]},
        }
    )


def test_where_wishes_follow_the_last_items_the_order_matters(tmp_path):
    found = compare_order(recipe(stickiness=1.0, complementarity=1.0), tmp_path)
    assert found.low > 0
    assert found.sentence().startswith("the order matters: ndcg@10 is")
    log, shuffled = (open_run(tmp_path / f"{order}-seed0") for order in ("log", "shuffled"))
    assert (found.log, found.shuffled) == (log.test["ndcg@10"], shuffled.test["ndcg@10"])
    assert found.gain == pytest.approx(found.log - found.shuffled)
    kept = json.loads((tmp_path / "order.json").read_text())
    assert kept["gain"] == found.gain


def test_where_wishes_are_of_taste_alone_it_does_not(tmp_path):
    """Without drift and without a pull of the last items, any order of a history says the same."""
    found = compare_order(recipe(stickiness=0.0), tmp_path)
    assert found.low < 0 < found.high
    assert found.sentence().startswith("no use of the order is seen")


def test_a_model_that_reads_no_order_gains_nothing(tmp_path):
    base = recipe("ease", stickiness=1.0, complementarity=1.0)
    base = read_recipe(merged(base.model_dump(mode="json"), {"model.recency": 1.0}))
    found = compare_order(base, tmp_path)
    assert found.gain == pytest.approx(0, abs=1e-9)


def test_finished_runs_are_used_again_but_not_those_of_another_recipe(tmp_path):
    first = compare_order(recipe("popularity"), tmp_path)
    made = (tmp_path / "log-seed0" / "run.json").stat().st_mtime_ns
    assert compare_order(recipe("popularity"), tmp_path) == first
    assert (tmp_path / "log-seed0" / "run.json").stat().st_mtime_ns == made
    with refused(RunError):
        compare_order(recipe("markov"), tmp_path)
    assert compare_order(recipe("markov"), tmp_path, overwrite=True) != first


def test_finished_runs_of_another_log_are_not_used_again(tmp_path):
    """The file of a recipe may have other events by now, and `overwrite` trains in any case."""
    file = tmp_path / "log.csv"
    base = recipe("popularity").model_dump(mode="json")
    base["data"] = {"source": str(file), "cold_items": "keep", "split": "leave-last-out"}
    base = read_recipe(base)

    def log(step):
        items = (np.arange(40)[:, None] * step + np.arange(6)) % 30
        table = pl.DataFrame({"user": np.repeat(np.arange(40), 6), "item": items.ravel()})
        table.write_csv(file)

    log(1)
    compare_order(base, tmp_path / "out")
    made = (tmp_path / "out" / "log-seed0" / "run.json").stat().st_mtime_ns
    compare_order(base, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "log-seed0" / "run.json").stat().st_mtime_ns > made
    log(7)
    with refused(RunError):
        compare_order(base, tmp_path / "out")
    compare_order(base, tmp_path / "out", overwrite=True)


def test_what_the_sizes_of_the_data_decide_makes_no_other_recipe(tmp_path):
    """Candidates and batch size are `auto`, and a recipe may say how settings are searched."""
    changes = {"training.epochs": 1, "model.dim": 4, "tune.trials": 3}
    base = read_recipe(merged(recipe("gru4rec").model_dump(mode="json"), changes))
    first = compare_order(base, tmp_path, seeds=[0, 1])
    made = (tmp_path / "log-seed1" / "run.json").stat().st_mtime_ns
    assert compare_order(base, tmp_path, seeds=[0, 1]) == first
    assert (tmp_path / "log-seed1" / "run.json").stat().st_mtime_ns == made


def test_the_control_itself_is_refused(tmp_path):
    with refused(RecipeError):
        compare_order(recipe(order="shuffled"), tmp_path)


def test_one_training_cannot_tell():
    nan = math.nan
    found = OrderFound("ndcg@10", 0.12, 0.1, 0.02, nan, nan)
    assert found.sentence() == (
        "one training cannot tell whether the order matters: ndcg@10 is 0.1200 with it and 0.1000 "
        "in random order, a difference of +0.0200"
    )
    assert found._replace(low=-0.2, high=-0.1).sentence().startswith("the order misleads")
