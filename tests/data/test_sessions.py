"""Whole sequences by time: against plain loops, kept in a run folder, refused where it must be."""

from collections import defaultdict

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import softrec
from messages import refused, warned
from softrec.data.interactions import Interactions
from softrec.data.sessions import FewUsersWarning, by_session_time, warn_of_few_users
from softrec.data.splits import Split, by_time, leave_last_out
from softrec.errors import DataError
from softrec.recipe.recipe import read_recipe

PARTS = ("train", "valid", "test", "context")


def log_of(rows):
    return Interactions.read(pl.DataFrame(rows, schema=["user", "item", "time"], orient="row"))


def raw(log):
    """The events of a log as sorted raw triples."""
    table = log.ordered
    return sorted(zip(log.users.ids(table["user"].to_numpy()), log.items.ids(
        table["item"].to_numpy()), table["time"].to_list(), strict=True))  # fmt: skip


def plain(rows, valid, test, moment, cold):
    """The same in loops."""
    own = defaultdict(list)
    for row in rows:
        own[row[0]].append(row)
    for events in own.values():
        events.sort(key=lambda event: event[2])  # stable
    when = {user: events[-1 if moment == "last" else 0][2] for user, events in own.items()}
    cuts = np.quantile(list(when.values()), [1 - valid - test, 1 - test], method="higher")
    found = {part: [] for part in PARTS}
    role = {u: "test" if t >= cuts[1] else "valid" if t >= cuts[0] else "train"
            for u, t in when.items()}  # fmt: skip
    known = {e[1] for user, events in own.items() if role[user] == "train" for e in events}
    for user, events in own.items():
        if role[user] == "train":
            found["train"] += events
            continue
        left = [e for e in events if e[1] in known or cold == "keep"]
        if len(left) > 1:
            found["context"] += left[:-1]
            found[role[user]] += left[-1:]
    return {part: sorted(events) for part, events in found.items()}


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6), st.integers(0, 60)), min_size=8,
             max_size=60),
    st.sampled_from([0.1, 0.3]), st.sampled_from([0.1, 0.4]), st.sampled_from(["last", "first"]),
    st.sampled_from(["keep", "drop"]),
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::softrec.data.splits.LeakageWarning")
def test_parts_are_those_of_plain_loops(rows, valid, test, moment, cold):
    expected = plain(rows, valid, test, moment, cold)
    try:
        split = by_session_time(log_of(rows), valid=valid, test=test, moment=moment, cold=cold)
    except DataError:
        assert not all(expected[part] for part in PARTS[:3])
        return
    assert {part: raw(log) for part, log in split.parts.items()} == expected
    for part in ("valid", "test"):
        cases = split.cases(part)
        assert len(cases) == len(expected[part])
        assert cases.single
        for row, user in enumerate(cases.user):
            name = split.train.users.ids(np.array([user]))[0]
            items = [e[1] for e in expected["context"] if e[0] == name]
            assert sorted(split.train.items.ids(cases.history[row])) == sorted(items)
    if moment == "last":
        labels = expected["valid"] + expected["test"]
        assert max(e[2] for e in expected["train"]) < min(e[2] for e in labels)
        assert split.leak() is None


ROWS = [(f"s{n:02}", f"i{(n * 3 + k * k) % 7}", 100 * n + k) for n in range(30) for k in range(4)]
MODEL = {"model": {"name": "gru4rec", "dim": 4}, "training": {"epochs": 1, "accelerator": "cpu"}}


def test_few_test_users_are_told_with_the_way_out():
    with warned(FewUsersWarning):
        warn_of_few_users(by_time(log_of(ROWS), valid=0.1, test=0.45))
    many = [(f"u{n}", f"i{k % 7}", 100 * k + n) for n in range(9) for k in range(12)]
    warn_of_few_users(by_time(log_of(many)))


def test_times_are_needed():
    log = Interactions.read(pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"]}))
    with refused(DataError):
        by_session_time(log)


def test_sequences_of_one_event_are_counted():
    split = by_session_time(log_of([*ROWS, ("one", "i1", 9_999)]))
    assert split.aside.single_users == 1
    assert "1 sequence of validation and test" in split.aside.sentence()
    assert "single_users" not in by_session_time(log_of(ROWS)).aside.facts()


def test_a_run_keeps_the_histories_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    table = pl.DataFrame(ROWS, schema=["user", "item", "time"], orient="row")
    table.write_csv(tmp_path / "log.csv")
    own = {"split": "session-time", "epochs": 1, "progress": False, "metrics": ["ndcg@5"],
           "monitor": "ndcg@5"}  # fmt: skip
    run = softrec.fit(str(tmp_path / "log.csv"), model="gru4rec", out=tmp_path / "run", **own)
    wanted, kept = by_session_time(Interactions.read(table)), run.split()
    assert {part: raw(log) for part, log in kept.parts.items()} == {
        part: raw(log) for part, log in wanted.parts.items()
    }
    assert raw(run.log) == sorted(ROWS)
    assert run.evaluate("test")["ndcg@5"] == pytest.approx(run.test["ndcg@5"])
    assert run.recommender().recommend(["s29"], 2)["user"].to_list() == ["s29", "s29"]
    assert run.facts["evaluation"]["test"]["cases"] == 3
    with refused(DataError):
        softrec.fit(str(tmp_path / "log.csv"), model="mf", out=tmp_path / "mf", **own)


def test_a_cold_start_is_told_and_kept():
    rows = [(f"u{n}", f"i{k}", 100 * k) for n in range(4) for k in range(9)]
    split = leave_last_out(log_of(rows), cold="keep")
    cold = split.cold_start(3)
    assert cold.protocol()["first_items"] == 3
    assert "the first 3 training items are known" in cold.notes()[0]
    again = Split(cold.train, cold.valid, cold.test, cold.name, **cold.protocol())
    assert again.cases("test").history.items.tolist() == cold.cases("test").history.items.tolist()
    assert split.protocol() == {}


def test_a_cold_start_is_refused_where_those_who_are_asked_about_have_no_training_items():
    split = by_session_time(log_of(ROWS))
    with refused(DataError):
        split.cold_start(2)


def test_short_users_are_for_splits_of_each_user(tmp_path):
    recipe = {**MODEL, "data": {"source": "shop", "split": "session-time", "short_users": "drop"}}
    from softrec.errors import RecipeError
    from softrec.experiments.build.data import load_split

    with refused(RecipeError):
        load_split(read_recipe(recipe).data)
