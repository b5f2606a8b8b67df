"""The split of a refit: held-out events go into the training part, and what is asked stays."""

import numpy as np
import polars as pl
import pytest

from softrec.data import splits
from softrec.data.interactions import Interactions
from softrec.data.refit import for_refit
from softrec.data.sessions import by_session_time
from softrec.experiments.described import describe

rng = np.random.default_rng(0)
FRAME = pl.DataFrame({
    "user": np.repeat(np.arange(40), 9), "item": rng.integers(0, 25, 360),
    "time": np.concatenate([np.sort(rng.permutation(5000)[:9]) for _ in range(40)]),
    "weight": rng.random(360),
})  # fmt: skip
LOG = Interactions.read(FRAME)
KINDS = {
    "leave-last-out": lambda: splits.leave_last_out(LOG),
    "time": lambda: splits.by_time(LOG, valid=0.2, test=0.2),
    "user-ratio": lambda: splits.by_user_ratio(LOG),
    "session-time": lambda: by_session_time(LOG, valid=0.2, test=0.2),
}
pytestmark = pytest.mark.filterwarnings("ignore::softrec.data.aside.LeakageWarning")


def events(*logs):
    """All events of some logs, sorted."""
    names = ["user", "item", "time", "weight"]
    return sorted(row for log in logs for row in log.frame.select(names).iter_rows())


def same_cases(split, other):
    one, two = split.cases("test"), other.cases("test")
    pairs = (one.history, two.history), (one.relevant, two.relevant)
    return (
        one.user.tolist() == two.user.tolist()
        and all(a.items.tolist() == b.items.tolist() for a, b in pairs)
        and all(a.offsets.tolist() == b.offsets.tolist() for a, b in pairs)
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_validation_is_trained_on_and_the_test_stays(kind):
    split = KINDS[kind]()
    larger = for_refit(split, "valid")
    users = set(split.valid.frame["user"])
    context = [] if split.context is None else [
        split.context.where(split.context.frame["user"].is_in(users).to_numpy())
    ]  # fmt: skip
    assert events(larger.train) == events(split.train, split.valid, *context)
    assert not len(larger.valid)
    assert larger.judged is split
    assert describe(larger) != describe(split)
    assert same_cases(split, larger)
    if kind == "session-time":
        assert len(context[0])
        tested = set(split.test.frame["user"])
        assert not tested & set(larger.train.frame["user"])
        assert set(larger.context.frame["user"]) == tested


@pytest.mark.parametrize("kind", KINDS)
def test_all_is_the_whole_log(kind):
    split = KINDS[kind]()
    larger = for_refit(split, "all")
    assert events(larger.train) == events(split.whole())
    assert events(larger.whole()) == events(split.whole())
    assert larger.train.sequences.lengths.sum() == len(split.whole())


def test_a_user_without_a_validation_event_stays():
    split = splits.by_time(LOG, valid=0.05, test=0.2)
    larger = for_refit(split, "valid")
    others = np.flatnonzero(split.valid.user_counts == 0)
    assert len(others)
    for user in others:
        assert larger.train.sequences[user].tolist() == split.train.sequences[user].tolist()


def test_false_positives_stay_and_come_to_no_other_event():
    split = splits.leave_last_out(LOG).contaminated(0.4)
    larger = for_refit(split, "valid")
    assert events(larger.train) == events(split.train, split.valid)
    assert events(larger.clean) == events(split.clean, split.valid)
    assert larger.false_positives == 0.4
    assert same_cases(split, larger)


def test_of_a_shuffled_order_the_last_item_is_that_of_validation():
    split = splits.leave_last_out(LOG).shuffled(3)
    larger = for_refit(split, "valid")
    plain = for_refit(splits.leave_last_out(LOG), "valid")
    moved = 0
    for user in range(LOG.n_users):
        mine, known = larger.train.sequences[user], plain.train.sequences[user]
        assert mine[-1] == known[-1]
        assert sorted(mine) == sorted(known)
        moved += mine.tolist() != known.tolist()
    assert moved > LOG.n_users / 2
