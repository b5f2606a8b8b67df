"""What a search may try: read from texts, or from beside the settings, and what is refused."""

import numpy as np
import polars as pl
import pytest

from messages import refused
from softrec.data.interactions import Interactions
from softrec.data.splits import leave_last_out
from softrec.errors import RecipeError
from softrec.experiments.build.data import label_counts
from softrec.experiments.inputs import Given
from softrec.experiments.tuning.searched import space_of
from softrec.experiments.tuning.starts import (
    alpha_of_counts,
    starts,
    temperature_of_skew,
)
from softrec.experiments.tuning.tune import search_of
from softrec.recipe.options import recipe_of
from softrec.recipe.space import Between, Choices, parse_range, parse_space


def recipe(**options):
    return recipe_of({"data": {"source": "shop"}}, options)


def searched(given=None, options=None, **named):
    """Return the space of `softrec tune` for a recipe's fields and options."""
    fields = {"data": {"source": "shop"}, **(given or {})}
    return search_of(Given(fields, options or {}), **named).space


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1e-4..1e-2:log", Between(1e-4, 1e-2, log=True)),
        (" 0.05 .. 0.9 ", Between(0.05, 0.9)),
        ("16..64", Between(16, 64)),
        ("-1..1", Between(-1, 1)),
        ("0,0.2,0.5", Choices((0, 0.2, 0.5))),
        ("[64,32],[8]", Choices(([64, 32], [8]))),
        ("true,false", Choices((True, False))),
        ([0, 0.2], Choices((0, 0.2))),
        (0.3, Choices((0.3,))),
        ("null", Choices((None,))),
    ],
)
def test_a_range_is_read(text, wanted):
    found = parse_range("x", text)
    assert found == wanted
    assert parse_range("x", str(found)) == wanted or wanted.values[0] == [64, 32]


@pytest.mark.parametrize(
    "text",
    ["1e-4..1e-2:lin", "1..1", "2..1", "0..1:log", "a..b", "..1", "1..", "0,0", "", [], "1..2..3",
     "true..false"],
)  # fmt: skip
def test_a_range_that_is_none_is_refused(text):
    with refused(RecipeError):
        parse_range("training.lr", text)


@pytest.mark.parametrize("texts", [["lr"], ["=1,2"], ["lr=1..2", "lr=3..4"]])
def test_a_text_without_a_field_is_refused(texts):
    with refused(RecipeError):
        parse_space(texts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "own",
    [
        {"epochs": "1,2"}, {"training.monitor": "a,b"}, {"model": "sasrec,mf"}, {"data.seed": "1"},
        {"prior.strength": "0.5..2"},
        {"model.dimm": "8,16"}, {"target": "onehot"}, {"target": "kd,uniform"}, {"loss": "bpr"},
        {"alpha": "0.1..2"}, {"training.windows": "1..2"}, {"model.dim": "8.5..16"}, {"lr": "a,b"},
        {"lr": "1,2", "training.lr": "3,4"}, {"candidates": "full,in-batch"},
        {"target.clusters": "2..4"}, {"target": "1..2"},
    ],
)  # fmt: skip
def test_a_space_that_makes_no_sense_is_refused(own):
    with refused(RecipeError):
        space_of(recipe(), own, named=())


def test_what_is_not_named_is_searched_with_what_is_beside_the_settings():
    facts = searched(options={"model": "gru4rec"}).facts()
    assert facts == {
        "target.name": "one-hot,uniform,pop+", "loss.name": "mixed,decoupled",
        "model.dim": "32,64,128", "model.dropout": "0..0.6",
        "training.lr": "0.0001..0.01:log", "training.weight_decay": "0,1e-07,1e-06,1e-05,0.0001",
        "target.uniform.alpha": "0.02..0.95", "loss.decoupled.balance": "0.05..0.95",
        "target.pop+.alpha": "0.02..0.95", "target.pop+.temperature": "0.5..4:log",
    }  # fmt: skip


def test_what_is_typed_stays_and_what_a_recipe_says_is_where_it_begins():
    file = {"target": {"name": "pop+", "alpha": 0.99}, "training": {"lr": 0.05, "epochs": 3}}
    space = searched(file, {"loss": "mixed", "temperature": 3.0})
    facts = space.facts()
    assert not {"target.temperature", "target.name", "loss.name"} & set(facts)
    assert facts["target.alpha"] == "0.02..0.99"
    assert facts["training.lr"] == "0.0001..0.05:log"
    near = space.near({})
    assert (near["target.alpha"], near["training.lr"]) == (0.99, 0.05)
    same = space.recipe(near)
    assert (same.target, same.loss, same.training) == (
        space.base.target, space.base.loss, space.base.training
    )  # fmt: skip


def test_a_space_of_ones_own_is_over_all_of_it():
    file = {"tune": {"trials": 7, "pruner": "none", "space": {"lr": "1e-3..1e-2", "dropout": 0.3}}}
    with pytest.raises(RecipeError):
        searched(file)  # dropout is no option
    file["tune"]["space"] = {"lr": "1e-3..1e-2", "model.dropout": 0.3}
    given = Given({"data": {"source": "shop"}, **file}, {"lr": 0.5, "model.dim": 8})
    search = search_of(given, None, {"training.lr": [0.1, 0.2], "target": "pop+"})
    assert (search.trials, search.pruner) == (7, "none")
    assert search_of(given, 9).trials == 9
    with refused(RecipeError):
        search_of(given, 0)
    facts = search.space.facts()
    assert facts["training.lr"] == "0.1,0.2"
    assert facts["model.dropout"] == "0.3"
    assert "model.dim" not in facts
    assert search.space.near({})["training.lr"] == 0.2  # the nearest to 0.5
    assert search.space.recipe(search.space.near({})).tune is None


def test_a_counted_model_is_refused():
    with refused(RecipeError):
        searched(options={"model": "item-knn"})


def test_no_range_that_the_recipe_refuses_is_searched_unasked():
    options = {"candidates": "sampled", "number": 5, "training.optimizer": "sparse-adam"}
    facts = searched(options=options).facts()
    assert "training.weight_decay" not in facts
    assert "training.lr" in facts
    with refused(RecipeError):
        searched(options=options, space={"weight_decay": "0,1e-3"})


def test_a_pairwise_loss_has_the_label_alone():
    facts = searched(options={"loss": "bpr"}).facts()
    assert not [name for name in facts if name.startswith(("target", "loss"))]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_chosen_fits(seed):
    space, draw = searched(), np.random.default_rng(seed)

    def pick(name, tried):
        if isinstance(tried, Choices):
            return tried.values[draw.integers(len(tried.values))]
        return float(draw.uniform(tried.low, tried.high))

    settings = space.settings(pick)
    made = space.recipe(settings)
    for place, value in settings.items():
        section, _, field = place.partition(".")
        own = getattr(made, section)
        assert (own.settings[field] if section == "model" else getattr(own, field)) == value
    assert ("loss.name" in settings) == (made.target.name != "one-hot")
    assert {n: v for n, (v, _) in space.parameters(settings).items()} == {
        space.key(p, made.target.name, made.loss.name) if not p.endswith(".name") else p: v
        for p, v in settings.items()
    }


# --- where it begins ---


def log(labels):
    """A split whose training labels, by position, are those: one user for each list."""
    rows = [(user, item) for user, items in enumerate(labels) for item in (*items, 8, 9)]
    table = pl.DataFrame(rows, schema=["user", "item"], orient="row")
    return leave_last_out(Interactions.read(table), cold="keep")


def test_alpha_begins_at_the_mean_of_one_over_the_count_and_one():
    assert alpha_of_counts([0, 0, 1, 4]) == pytest.approx((1 + 1 + 1 / 2 + 1 / 5) / 4)
    assert alpha_of_counts(np.full(9, 10**6)) < 1e-5


def test_label_counts_are_those_of_the_training_windows():
    train = log([[1, 2, 3], [1, 2, 2]]).train

    def counted(asked):
        counts = label_counts(asked, train).tolist()
        return {raw: n for raw, n in zip(train.items.raw, counts, strict=True) if n}

    assert counted(recipe()) == {2: 3, 3: 1}
    assert counted(recipe(windows="last")) == {2: 1, 3: 1}


@pytest.mark.parametrize("exponent", [0.5, 1.5, 3.0])
def test_temperature_makes_popularity_fall_as_one_over_the_rank_at_most(exponent):
    counts = 1e9 / np.arange(1, 200) ** exponent
    temperature = temperature_of_skew(np.random.default_rng(0).permutation(counts))
    assert temperature == pytest.approx(max(1.0, exponent))
    assert temperature_of_skew(np.array([0, 3, 0])) == 1.0


def test_the_first_trials_are_the_recipe_and_what_the_data_say():
    split = log([[1, 2, 3], [1, 2, 2]])
    first = starts(searched(), split)
    mass = 0.5833  # of 1, 2 and 3, labels 0, 3 and 1 times: (1 + 1 / 4 + 1 / 2) / 3
    assert [start.settings["target.name"] for start in first] == ["one-hot", "uniform", "pop+"]
    assert [start.origin for start in first] == ["as given", "from the data", "from the data"]
    assert first[1].settings["target.alpha"] == mass
    assert first[2].settings["target.alpha"] == pytest.approx(min(0.95, 2 * mass))  # half counts
    both = starts(searched(options={"target": "uniform", "loss": "mixed"}), split)
    assert [start.settings["target.alpha"] for start in both] == [0.1, mass]
    once = starts(searched(options={"target": "uniform", "loss": "mixed", "alpha": 0.3}), split)
    assert len(once) == 1  # alpha was typed, so that the data have nothing to say


def test_items_that_the_training_part_does_not_contain_say_nothing_of_alpha():
    """Else the first trials would be other ones on a log that has other items to find in test."""
    space, alphas = searched(options={"target": "uniform", "loss": "mixed"}), []
    for test in (9, 77):  # an item of the training part, and one of the test part alone
        users = [[1, 2, 3, 9], [1, 2, 2, 8], [9, 8, 1, test]]
        rows = [(user, item) for user, items in enumerate(users) for item in items]
        table = pl.DataFrame(rows, schema=["user", "item"], orient="row")
        split = leave_last_out(Interactions.read(table), cold="keep")
        alphas.append([start.settings["target.alpha"] for start in starts(space, split)])
    assert alphas[0] == alphas[1]
