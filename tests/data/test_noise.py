"""False positives: how many, where, which items; and that nothing is asked differently."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softrec.data.interactions import Interactions, Sequences
from softrec.data.noise import contaminated
from softrec.data.splits import Split, by_time, leave_last_out

N, USERS, LENGTH = 60, 300, 20


def chain(users=USERS, length=LENGTH, times=False):
    """Each user goes from one item to the next, modulo N, from a random first one."""
    first = np.random.default_rng(0).integers(N, size=users)
    lists = (first[:, None] + np.arange(length)) % N
    sequences = Sequences.of(lists.tolist())
    order = np.tile(np.arange(length), users) * 10
    return Interactions.from_sequences(sequences, times=order if times else None)


def table(log):
    return log.sequences.items.reshape(USERS, -1)


@given(
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
    lists=st.lists(st.lists(st.integers(0, 8), max_size=9), min_size=1, max_size=6),
    how=st.sampled_from(["replace", "add"]),
)
def test_each_user_has_the_share_rounded_up_or_down_of_items_that_are_not_theirs(
    share, seed, lists, how
):
    lists = [*lists, [9]]  # so that there are 10 items
    log = Interactions.from_sequences(Sequences.of(lists))
    found = contaminated(log, share, how, seed).sequences
    for user, own in enumerate(lists):
        made = found[user].tolist()
        false = [item for item in made if item not in own]
        assert np.floor(len(own) * share) <= len(false) <= np.ceil(len(own) * share)
        if how == "replace":
            assert len(made) == len(own)
            assert sum(a != b for a, b in zip(made, own, strict=True)) == len(false)
        else:
            assert [item for item in made if item in own] == own
            assert not made or made[0] in own  # it follows an event of the user


def test_rounding_favours_no_direction():
    log = chain(length=3)
    changed = (table(contaminated(log, 0.5)) != table(log)).sum(1)  # 1.5 a user
    assert set(changed) == {1, 2}
    assert abs(changed.mean() - 1.5) < 4 * 0.5 / np.sqrt(USERS)


def test_pairs_that_stay_are_as_many_as_combinatorics_say():
    """4 of 20 events are false: of neighbours both are true with probability 16 15 / (20 19)."""
    after = np.diff(table(contaminated(chain(), 0.2))) % N == 1
    expected = 16 * 15 / (20 * 19)
    assert abs(after.mean() - expected) < 0.02
    added = table(contaminated(chain(), 0.2, "add"))
    assert (np.diff(added) % N == 1).sum() / USERS == pytest.approx(LENGTH - 1 - 4, abs=0.5)


def test_false_items_are_uniform_over_those_that_a_user_does_not_have():
    log = Interactions.from_sequences(Sequences.of([*[[0, 1, 2, 3]] * 3000, list(range(N))]))
    items = contaminated(log, 1.0).sequences.items[: 4 * 3000]
    share = np.bincount(items, minlength=N) / len(items)
    assert (share[:4] == 0).all()
    np.testing.assert_allclose(share[4:], 1 / (N - 4), atol=4 * np.sqrt(1 / (N - 4) / len(items)))


def test_who_has_all_items_stays():
    log = Interactions.from_sequences(Sequences.of([[0, 1, 2], [2, 1]]))
    assert contaminated(log, 1.0).sequences.items.tolist() == [0, 1, 2, 0, 0]


@pytest.mark.parametrize("how", ["replace", "add"])
def test_less_noise_is_part_of_more_noise(how):
    """So that a curve over the shares is about the same noise, and more of it."""
    log = chain()
    found = [contaminated(log, share, how) for share in (0.1, 0.25, 0.6)]
    false = [
        {(u, i) for u, i in each.frame.select("user", "item").rows() if i not in log.sequences[u]}
        for each in found
    ]
    assert false[0] < false[1] < false[2]


def test_seeds_make_other_noise_and_the_same_seed_the_same():
    log = chain()
    first, again, other = (contaminated(log, 0.3, seed=seed) for seed in (0, 0, 1))
    assert first.frame.equals(again.frame)
    assert not first.frame.equals(other.frame)


def test_rows_of_any_order_get_the_same_noise_with_their_times_and_weights():
    log = chain(times=True)
    log = replace(log, frame=log.frame.with_columns(weight=pl.int_range(len(log))))
    mixed = replace(log, frame=log.frame.sample(fraction=1, shuffle=True, seed=1))
    for how in ("replace", "add"):
        one, other = contaminated(log, 0.3, how), contaminated(mixed, 0.3, how)
        assert one.frame.equals(other.frame)
    kept = contaminated(mixed, 0.3).frame
    assert kept.drop("item").equals(log.frame.drop("item"))
    added = contaminated(mixed, 0.3, "add").ordered
    assert (added["time"].diff().fill_null(0) >= 0).sum() >= len(added) - USERS
    assert set(added["weight"]) == set(log.frame["weight"])


# --- in a split ---


@pytest.fixture(params=["leave-last-out", "time", "cold start", "shuffled"])
def split(request):
    if request.param == "time":
        return by_time(chain(times=True))
    found = leave_last_out(chain())
    if request.param == "cold start":
        return found.cold_start(7)
    return found.shuffled() if request.param == "shuffled" else found


def asked(split):
    return [
        (c.user.tolist(), c.history.items.tolist(), c.relevant.items.tolist())
        for c in (split.cases(part) for part in ("valid", "test"))
    ]


@pytest.mark.parametrize("how", ["replace", "add"])
def test_the_same_is_asked_after_the_same(split, how):
    noisy = split.contaminated(0.4, how)
    assert not noisy.train.frame.equals(split.train.frame)
    assert asked(noisy) == asked(split)
    assert noisy.known().items.tolist() == split.known().items.tolist()
    assert noisy.clean.frame.equals(split.train.frame)
    assert noisy.leak() == split.leak()


def test_noise_comes_and_goes(split):
    noisy = split.contaminated(0.4)
    assert noisy.contaminated(0.2).train.frame.equals(split.contaminated(0.2).train.frame)
    assert noisy.contaminated(0.0).train.frame.equals(split.train.frame)
    assert noisy.contaminated(0.0).protocol() == split.protocol()
    assert noisy.contaminated(0.4) is noisy
    assert noisy.protocol() == {**split.protocol(), "false_positives": 0.4, "seed": 0}
    bare = Split(split.train, split.valid, split.test, split.name)
    again = bare.under(noisy.protocol())
    assert again.train.frame.equals(noisy.train.frame)
    assert asked(again) == asked(split)
