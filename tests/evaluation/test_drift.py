"""Drift of popularity, repeats, catalogue and histories, beside what chance does."""

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import jensenshannon

from softrec.data.interactions import Interactions
from softrec.data.vocabulary import Vocabulary
from softrec.evaluation.drift import drift, jensen_shannon, total_variation


def test_distances_are_those_of_scipy():
    rng = np.random.default_rng(0)
    for _ in range(20):
        p, q = rng.integers(0, 5, size=(2, 9)) + np.eye(2, 9, dtype=int)
        own, other = p / p.sum(), q / q.sum()
        assert jensen_shannon(p, q) == pytest.approx(jensenshannon(own, other, base=2) ** 2)
        assert total_variation(p, q) == pytest.approx(np.maximum(own - other, 0).sum())
    assert total_variation(p, 3 * p) == jensen_shannon(p, 3 * p) == 0
    assert total_variation(np.array([1, 0]), np.array([0, 1])) == 1


def made(seed, *, shift=0.0, new_items=0, users=200, repeats=0.0):
    """Users with a taste of their own, so that their events are alike, and new events of half."""
    rng = np.random.default_rng(seed)
    n, rows = 30, []
    base = 1 / np.arange(1, n + 1)
    late = (1 - shift) * base + shift * base[::-1]
    for user in range(users):
        taste = rng.gamma(0.3, size=n)
        for new, weights, number in ((False, base, 20), (True, late, 6 * (user % 2))):
            chance = weights * taste
            own = rng.choice(n, number, p=chance / chance.sum())
            if new:
                own = np.where(rng.random(number) < repeats, rows[-1][1] if rows else 0, own)
                own[:1] = n if new_items and user < new_items else own[:1]
            rows += [(user, int(item), new) for item in own]
    frame = pl.DataFrame(
        rows, schema={"user": pl.UInt32, "item": pl.UInt32, "new": pl.Boolean}, orient="row"
    )
    ids = (Vocabulary(pl.Series("raw", range(size))) for size in (users, n + 1))
    return Interactions(frame, *ids)


def test_without_drift_few_logs_look_unusual():
    """5 % of them should; users of one taste would give far more with single events."""
    found = [drift(made(seed)) for seed in range(40)]
    for measure in ("total_variation", "jensen_shannon"):
        unusual = [one["popularity"][measure]["unusual"] for one in found]
        assert sum(unusual) <= 6  # binomial, 40 and 5 %: above 6 in 0.3 % of the cases


def test_a_shift_of_popularity_is_seen():
    for measure in ("total_variation", "jensen_shannon"):
        own = drift(made(0, shift=0.5))["popularity"][measure]
        assert own["unusual"]
        assert own["value"] > own["high"] > own["expected"] > own["low"] > 0


def test_repeats_are_counted_against_the_whole_history():
    log = made(1)
    users, items, new = (log.ordered[name].to_list() for name in ("user", "item", "new"))
    seen, flags = set(), []
    for user, item, fresh in zip(users, items, new, strict=True):
        flags.append((fresh, (user, item) in seen))
        seen.add((user, item))
    wanted = np.mean([repeated for fresh, repeated in flags if fresh])
    assert drift(log)["repeats"]["value"] == pytest.approx(wanted)


def test_catalogue_and_histories():
    log = made(2, new_items=8)
    found = drift(log)
    counts = np.bincount(log.frame.filter(pl.col("new"))["item"], minlength=31)
    known = np.bincount(log.frame.filter(~pl.col("new"))["item"], minlength=31)
    assert found["catalogue"]["events_of_new_items"] == pytest.approx(4 / 600)  # odd users under 8
    assert found["catalogue"]["events_of_new_users"] == 0
    assert found["catalogue"]["items_without_new_events"] == np.mean(counts[known > 0] == 0)
    assert found["histories"] == {"known_events_of_a_user": 20, "new_events_of_a_user": 6}


def test_stretches_are_of_any_place_of_a_history():
    """Users begin with one item and go on with another: their first events alone are unlike it."""
    events = [(0, False)] * 10 + [(1, False)] * 10 + [(0, True), (1, True)]
    rows = [(user, item, new) for user in range(50) for item, new in events]
    schema = {"user": pl.UInt32, "item": pl.UInt32, "new": pl.Boolean}
    ids = (Vocabulary(pl.Series("raw", range(size))) for size in (50, 2))
    found = drift(Interactions(pl.DataFrame(rows, schema=schema, orient="row"), *ids))
    own = found["popularity"]["total_variation"]
    assert own["value"] == 0
    assert own["expected"] < 0.2  # of the first two events it would be more than 0.5
    assert own["low"] < own["high"]


def test_the_same_log_gives_the_same_numbers():
    assert drift(made(3)) == drift(made(3))


def test_more_new_events_than_known_ones():
    frame = pl.DataFrame({"user": [0, 0, 0, 1], "item": [0, 1, 0, 1],
                          "new": [False, True, True, True]},
                         schema_overrides={"user": pl.UInt32, "item": pl.UInt32})  # fmt: skip
    ids = (Vocabulary(pl.Series("raw", range(2))) for _ in range(2))
    found = drift(Interactions(frame, *ids))
    assert found["catalogue"]["events_of_new_users"] == pytest.approx(1 / 3)
    assert found["repeats"]["value"] == pytest.approx(1 / 3)
