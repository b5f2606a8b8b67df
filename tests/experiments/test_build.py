"""From the data section of a recipe to a split: what is asked for is done, or refused."""

from pathlib import Path

import polars as pl
import pytest

from messages import refused
from softrec.data import sources
from softrec.data.interactions import Interactions
from softrec.data.sources import Counts, Parts, Source
from softrec.errors import DataError, RecipeError
from softrec.experiments.build.data import load_split, split_of
from softrec.experiments.build.model import build_model, notices
from softrec.recipe.recipe import Recipe, read_recipe


def recipe(model: str = "sasrec", **data) -> Recipe:
    return read_recipe({"data": data, "model": {"name": model}})


@pytest.fixture
def log(tmp_path) -> str:
    """A log of two users of two events and of an item that is only ever the last one."""
    lists = [[1, 2, 3, 1], [2, 3, 1, 2], [3, 1, 2, 77], [1, 2], [3, 1]]
    rows = [(user, item) for user, items in enumerate(lists) for item in items]
    path = tmp_path / "log.csv"
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(path)
    return str(path)


@pytest.fixture
def published(restored) -> str:
    """The name of a data set with published parts, whose test part has an item of its own."""
    tables = [
        pl.DataFrame({"user": [0] * 6 + [1] * 6, "item": [0, 1, 2] * 4}),
        pl.DataFrame({"user": [0, 0, 1], "item": [9, 1, 1]}),
    ]
    train, test = Interactions.together(tables)
    source = Source(
        name="toy", title="A toy", files=(), read=lambda: Parts(train=train, test=test),
        licence="none", citation="none", homepage="none",
        split={"split": "given", "valid": 0.1, "cold": "keep"}, counts=Counts(0, 0, 0),
    )  # fmt: skip
    restored(sources.SOURCES)["toy"] = source
    return "toy"


def test_the_log_of_a_real_shop_can_be_used_at_once(log):
    spec = recipe(source=log)
    split = load_split(spec.data)
    assert [len(split.train), len(split.valid), len(split.test)] == [10, 3, 2]
    (line,) = notices(spec.model, split)
    assert line.startswith("2 users and 1 item set aside, because the users have fewer than 3")


@pytest.mark.parametrize("split", ["leave-last-out", "user-ratio"])
def test_strictness_is_an_option(log, split):
    data = recipe(source=log, split=split, short_users="drop", cold_items="keep").data
    made = load_split(data)
    assert (made.aside.short_users, made.aside.short) == (2, "drop")
    assert len(made.whole()) == 12
    strict = recipe(source=log, split=split, short_users="error", cold_items="error").data
    with refused(DataError):
        load_split(strict)


def test_a_split_by_time_knows_no_short_users(tmp_path):
    path = tmp_path / "log.csv"
    rows = "".join(f"{n % 3},{n % 2},{n}\n" for n in range(30))
    path.write_text("user,item,time\n" + rows)
    with refused(RecipeError):
        load_split(recipe(source=str(path), split="time", short_users="keep").data)


@pytest.mark.parametrize(("cold", "left"), [(None, 3), ("keep", 3), ("drop", 2)])
def test_published_parts_stay_as_they_are_unless_cold_items_are_dropped(published, cold, left):
    split = load_split(recipe(source=published, cold_items=cold).data)
    assert len(split.test) == left
    assert split.aside.cold_items == 1


def test_published_parts_refuse_what_would_be_ignored(published):
    with refused(DataError):
        load_split(recipe(source=published, cold_items="error").data)
    with refused(RecipeError):
        load_split(recipe(source=published, clean=["k-core=2"]).data)
    with refused(RecipeError):
        load_split(recipe(source=published, short_users="drop").data)
    whole = recipe(source=published, split="user-ratio", clean=["min-item=2"])
    assert len(load_split(whole.data).whole()) == 14  # item 9 occurs once


@pytest.mark.parametrize(
    "data",
    [
        {"source": "shop", "clean": ["nonsense"]},
        {"source": "shop", "clean": ["k-core=2"]},
        {"source": "log.csv", "shop": {"n_items": 9}},
        {"source": "a", "valid": "b", "test": "c", "split": "given", "clean": ["k-core=2"]},
        {"source": "a", "valid": "b", "test": "c", "split": "given", "short_users": "drop"},
    ],
)  # fmt: skip
def test_what_would_be_ignored_is_refused(data):
    with refused(RecipeError):
        recipe(**data)


@pytest.mark.parametrize("model", ["mf", "lightgcn", "ngcf", "sasrec"])
def test_untrained_users_are_told_of_models_that_know_users_by_number(tmp_path, model):
    parts = {"train": "a,1\na,2\nb,2\nb,1\n", "valid": "a,2\nc,1\n", "test": "a,1\nc,2\n"}
    for name, rows in parts.items():
        (tmp_path / f"{name}.csv").write_text("user,item\n" + rows)
    files = {name: str(Path(tmp_path) / f"{name}.csv") for name in ("valid", "test")}
    spec = recipe(model, source=str(tmp_path / "train.csv"), split="given", **files)
    told = notices(spec.model, load_split(spec.data))
    if model == "sasrec":
        assert told == []
    else:
        assert told == [
            "1 users of the test part have only validation events and no training event: "
            f"{model} has a vector for each user, and their vectors are never trained"
        ]


@pytest.mark.parametrize("split", ["leave-last-out", "user-ratio"])
def test_users_of_one_event_are_told_from_a_small_log(split):
    frame = pl.DataFrame({"user": range(1000), "item": [n % 7 for n in range(1000)]})
    with refused(DataError):
        split_of(Interactions.read(frame), recipe(source="memory:x", split=split).data)


def test_a_trained_model_needs_two_items():
    """A counted one does not."""
    log = Interactions.read(pl.DataFrame({"user": [1, 1, 1], "item": ["tea"] * 3}))
    assert build_model(recipe("popularity", source="x").model, log, 5, seed=0)
    with refused(DataError):
        build_model(recipe("mf", source="x").model, log, 5, seed=0)
