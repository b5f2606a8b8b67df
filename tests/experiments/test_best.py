"""`--preset best`: the kind of a log is measured, and its recipe is what is trained."""

import numpy as np
import polars as pl
import pytest

import softrec
from messages import refused
from softrec.data import splits
from softrec.data.interactions import Interactions
from softrec.errors import RecipeError
from softrec.experiments.best import kind_of, nearness
from softrec.experiments.inputs import read_input
from softrec.recipe import shipped
from softrec.recipe.options import recipe_of
from softrec.recipe.reading import read_yaml

pytestmark = pytest.mark.filterwarnings("ignore::softrec.data.splits.LeakageWarning")
DAY = 86_400


def walks(users=300, items=60, length=8, between=None, seed=0):
    """Users who walk along a circle of items; the next item is a neighbour of the last one."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(1, 3, size=(users, length)).cumsum(1)
    found = {"user": np.repeat(np.arange(users), length),
             "item": ((rng.integers(items, size=(users, 1)) + steps) % items).ravel()}  # fmt: skip
    if between is not None:
        found["time"] = np.tile(np.arange(length) * between, users) + found["user"] * 60
    return pl.DataFrame(found)


def tastes(users=300, items=60, length=8, seed=0):
    """Users who take items of one half of the catalogue in any order."""
    rng = np.random.default_rng(seed)
    halves = np.argsort(rng.random((users, items // 2)), axis=1)[:, :length]
    own = halves + rng.integers(2, size=(users, 1)) * (items // 2)
    return pl.DataFrame({"user": np.repeat(np.arange(users), length), "item": own.ravel()})


def last_out(frame):
    return splits.leave_last_out(Interactions.read(frame))


@pytest.mark.parametrize(("log", "kind"), [
    (walks(), "sessions"),
    (walks(between=60), "sessions"),
    (walks(between=DAY), "sequences"),
    (walks(length=14, between=60), "sequences"),
    (walks(users=100, items=300, length=14), "sparse-sequences"),
    (tastes(), "sets"),
    (tastes(length=14), "sets"),
])  # fmt: skip
def test_the_kind_of_a_log(log, kind):
    found = kind_of(last_out(log))
    assert found.name == kind, found.reason
    assert kind in shipped.best()


@pytest.mark.parametrize("between", [60, DAY])
def test_the_kind_does_not_depend_on_how_times_are_written(between):
    seconds = walks(between=between).with_columns(pl.col("time") + 1_700_000_000)
    time, kind = pl.col("time"), kind_of(last_out(seconds))
    date = pl.from_epoch(time, "s")
    for written in (
        time * 1_000, time * 1_000_000, time * 1_000_000_000, time + 0.5, date,
        date.dt.replace_time_zone("Asia/Tokyo"), date.dt.to_string("iso"),
    ):  # fmt: skip
        assert kind_of(last_out(seconds.with_columns(time=written))) == kind
    assert kind.name == ("sessions" if between == 60 else "sequences")


def test_times_of_an_unknown_unit_are_told():
    assert "taken for seconds" in kind_of(last_out(walks(between=60))).reason


def test_a_split_by_time_has_an_order_whatever_the_items_say():
    rng = np.random.default_rng(0)
    frame = tastes(length=14).with_columns(time=pl.Series(rng.integers(10**6, size=300 * 14)))
    assert kind_of(splits.by_time(Interactions.read(frame))).name == "sequences"
    assert kind_of(last_out(frame)).name == "sets"


def test_too_few_cases_are_judged_by_whether_there_are_times():
    few = walks(users=6, items=9)
    assert kind_of(last_out(few)).name == "sets"
    assert kind_of(last_out(walks(users=6, items=9, between=60))).name == "sessions"


def test_how_much_nearer_the_last_item_is():
    """By sets of users, one case after the other."""
    split = last_out(walks(users=40, items=25, length=6))
    users = {item: set() for item in range(split.train.n_items)}
    for user in range(split.train.n_users):
        for item in split.train.sequences[user]:
            users[item].add(user)
    expected = []
    cases = split.cases("valid")
    for row in range(len(cases)):
        (label,), history = cases.relevant[row], cases.history[row]
        if label in history:
            continue
        cosines = [len(users[label] & users[i]) / np.sqrt(len(users[label]) * len(users[i]))
                   for i in history]  # fmt: skip
        if sum(cosines):
            expected.append(cosines[-1] / np.mean(cosines))
    assert len(expected) > 10
    np.testing.assert_allclose(nearness(split), expected)


def test_each_recipe_can_be_read_and_says_what_it_is_for():
    assert shipped.best().keys() == {"sessions", "sequences", "sparse-sequences", "sets"}
    for name, path in shipped.best().items():
        recipe = recipe_of({**read_yaml(path), "data": {"source": "shop"}}, {}, str(path))
        assert recipe.model.name == ("mf" if name == "sets" else "sasrec")
        assert shipped.purpose(path)
        assert shipped.find(f"best/{name}") == path
        assert shipped.find(name) is None  # it names no log


TINY = {"epochs": 1, "model.dim": 8, "batch_size": 64}


@pytest.mark.parametrize(("log", "kind"), [(walks(between=60), "sessions"), (tastes(), "sets")])
def test_a_run_has_the_recipe_of_its_kind(tmp_path, capsys, log, kind):
    run = softrec.fit(log, out=tmp_path / "run", preset="best", **TINY)
    told = capsys.readouterr().err.splitlines()
    assert sum(text.startswith(f"preset best: {kind} (recipes/best/") for text in told) == 1
    fields = read_yaml(shipped.best()[kind])
    own = {"data": {"source": run.recipe.data.source}}
    assert run.recipe.model == recipe_of({**fields, **own}, TINY).model
    assert run.recipe.training.epochs == 1  # an option overrides
    assert run.recipe.training.windows == fields["training"]["windows"]
    again = softrec.fit(log, out=tmp_path / "run2", preset="best", **TINY)
    assert again.test == run.test


def test_options_override_the_recipe():
    log = walks(between=60)
    recipe = read_input(
        log, {"preset": "best", "model": "gru4rec", "prior.strength": 3.0} | TINY
    ).recipe
    assert recipe.model.name == "gru4rec"
    assert recipe.prior.strength == 3.0


def test_a_recipe_is_not_a_log():
    with refused(RecipeError):
        read_input("diginetica-gru4rec-base", {"preset": "best"})


def test_a_comparison_has_the_recipe_too(tmp_path):
    found = softrec.compare(tastes(), out=tmp_path / "c", preset="best", targets="one-hot,uniform",
                            seeds=1, baselines=False, **TINY)  # fmt: skip
    assert found.results.model["name"] == "mf"


@pytest.mark.parametrize(
    ("items", "temperature", "sampled"), [(60, 0.44, False), (1_400, 0.248, True)]
)
def test_temperatures_and_candidates_are_those_of_the_number_of_items(items, temperature, sampled):
    recipe = read_input(tastes(users=600, items=items), {"preset": "best"}).recipe
    tried = recipe.trials.settings
    assert tried[0]["loss.score_temperature"] == pytest.approx(temperature, abs=3e-3)
    searched = recipe.model_copy(update={"trials": None})  # as in a search
    assert searched.loss.score_temperature == tried[0]["loss.score_temperature"]
    lowest = min(one["loss.score_temperature"] for one in tried)
    assert lowest == pytest.approx(0.55 * temperature, abs=3e-3)
    assert recipe.candidates.name == ("sampled" if sampled else "full")


def test_a_temperature_of_ones_own_is_not_tried_against_others():
    own = read_input(tastes(), {"preset": "best", "score_temperature": 0.3}).recipe
    assert (own.loss.score_temperature, own.trials) == (0.3, None)


def test_what_was_held_out_for_validation_is_trained_on_at_the_end():
    for log in (walks(between=60), tastes()):
        assert read_input(log, {"preset": "best"}).recipe.training.refit == "valid"
    cold = {"preset": "best", "split": "user-ratio", "data.first_items": 2}
    assert read_input(walks(between=60), cold).recipe.training.refit == "none"


def test_trials_of_a_recipe_that_tries_nothing_are_refused():
    with refused(RecipeError):
        read_input(walks(between=60), {"preset": "best", "trials.epochs": 2})
    assert read_input(tastes(), {"preset": "best", "trials.epochs": 2}).recipe.trials.epochs == 2
