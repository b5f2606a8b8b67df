"""What is asked of a ranking where users take the same item again, against plain loops."""

from __future__ import annotations

import warnings
from functools import partial
from math import log2

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from messages import refused
from softrec.data import splits
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import Cases, LeakageWarning, Split
from softrec.errors import DataError
from softrec.evaluation.asked import REPEATS, Asked, sentence_of
from softrec.evaluation.protocol import score_cases
from softrec.experiments.build.data import load_split
from softrec.recipe.specs.data import DataSettings
from softrec.types import Batch, Encoder, ItemVectors, Vectors

METRICS = [f"{kind}@{k}" for kind in ("recall", "hit_rate", "precision", "ndcg", "mrr")
           for k in (1, 3, 10)]  # fmt: skip


class Fixed(Encoder):
    """Scores by heart, (users, items)."""

    def __init__(self, table: np.ndarray) -> None:
        super().__init__()
        self.table = torch.from_numpy(np.asarray(table, dtype=np.float32))
        self.n_items = self.table.shape[1]

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        return Vectors(self.table[batch.user], items or self.items())

    def items(self) -> ItemVectors:
        return ItemVectors(torch.eye(self.n_items))


def split_of(train: list[list[int]], valid: list[list[int]], test: list[list[int]]) -> Split:
    """A split whose users and items are their own numbers."""
    parts = [Interactions.from_sequences(Sequences.of(rows)).frame for rows in (train, valid, test)]
    n_items = 1 + max(item for rows in (*train, *valid, *test) for item in rows)
    everybody = Interactions.from_sequences(Sequences.of([list(range(n_items))] * len(train)))
    return splits.given(
        *(Interactions(part, everybody.users, everybody.items) for part in parts), cold="keep"
    )


# --- against the definition, from the raw lists ---


def by_hand(
    table: np.ndarray, history: list[int], later: list[int], mask: bool
) -> dict[str, float] | None:
    """The metrics of one user; None where nothing is asked."""
    n_items = table.shape[0]
    relevant = [n for n in range(n_items) if n in later and not (mask and n in history)]
    rivals = [n for n in range(n_items) if not (mask and n in history)]
    if not relevant or not history:
        return None
    places = sorted(sum(table[other] >= table[item] for other in rivals) for item in relevant)
    found = {}
    for k in (1, 3, 10):
        hits = [place for place in places if place <= k]
        ideal = sum(1 / log2(place + 1) for place in range(1, min(k, len(relevant)) + 1))
        found |= {
            f"recall@{k}": len(hits) / len(relevant),
            f"hit_rate@{k}": float(len(hits) > 0),
            f"precision@{k}": len(hits) / k,
            f"ndcg@{k}": sum(1 / log2(place + 1) for place in hits) / ideal,
            f"mrr@{k}": 1 / hits[0] if hits else 0.0,
        }
    return found


rows_of_users = st.lists(st.lists(st.integers(0, 5), max_size=5), min_size=3, max_size=3)


@pytest.mark.slow
@given(rows_of_users, rows_of_users, rows_of_users, st.booleans(), st.integers(0, 10**6))
def test_metrics_of_given_parts_with_repeats(train, valid, test, mask, seed):
    assume(any(train) and any(valid) and any(test))
    split = split_of(train, valid, test)
    known = [a + b for a, b in zip(train, valid, strict=True)]
    table = np.random.default_rng(seed).integers(0, 4, (3, split.train.n_items))
    expected = {
        part: [
            found
            for user in range(3)
            if (found := by_hand(table[user], histories[user], later[user], mask)) is not None
        ]
        for part, histories, later in (("valid", train, valid), ("test", known, test))
    }
    if not (expected["valid"] and expected["test"]):
        with refused(DataError):
            Asked.of(split, mask)
        return
    asked = Asked.of(split, mask)
    for part in ("valid", "test"):
        got = score_cases(
            Fixed(table), asked.cases(part), METRICS, length=4, mask_seen=asked.mask_seen
        )
        assert len(got) == len(expected[part])
        for name in METRICS:
            values = got[name].to_numpy()
            np.testing.assert_allclose(values, [one[name] for one in expected[part]], rtol=1e-12)
            assert ((values >= 0) & (values <= 1)).all(), name


SPLITTERS = {
    "leave-last-out": partial(splits.leave_last_out, short="keep"),
    "time": partial(splits.by_time, valid=0.3, test=0.3),
    "user-ratio": partial(splits.by_user_ratio, valid=0.3, test=0.3),
}


@pytest.mark.slow
@pytest.mark.parametrize("splitter", SPLITTERS)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=2, max_size=5),
    st.sampled_from([None, True, False]),
)
def test_every_metric_of_a_log_with_repeats_lies_between_0_and_1(splitter, lists, mask):
    """And is 1 for who ranks what comes first, the relevant items of everybody apart."""
    log = Interactions.from_sequences(Sequences.of(lists))
    frame = log.frame.with_row_index("time")
    log = Interactions(frame.with_columns(time=frame["time"].cast(int)), log.users, log.items)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeakageWarning)
            split = SPLITTERS[splitter](log, cold="keep")
        asked = Asked.of(split, mask)
    except DataError:
        assume(False)
    truth = np.zeros((log.n_users, log.n_items))
    for row, user in enumerate(asked.test.user):
        truth[user, asked.test.relevant[row]] = 1 + np.arange(asked.test.relevant.lengths[row])
    for sign in (1, -1):
        table = score_cases(
            Fixed(sign * truth), asked.test, METRICS, length=4, mask_seen=asked.mask_seen
        )
        for name in METRICS:
            values = table[name].to_numpy()
            assert ((values >= 0) & (values <= 1)).all(), name
            if sign == 1 and "precision" not in name and "recall" not in name:
                assert (values == 1).all(), name


# --- who decides ---


def repeating(share: float, n_users: int = 400) -> Split:
    """Every user takes two items, then new ones; that share of the test items comes again."""
    again = round(share * n_users)
    test = [[0] if user < again else [4] for user in range(n_users)]
    return split_of([[0, 1]] * n_users, [[3]] * n_users, test)


@pytest.mark.parametrize(
    ("share", "masked"), [(0.0, True), (REPEATS, True), (REPEATS + 1 / 400, False), (0.5, False)]
)
def test_the_log_decides_by_how_much_comes_again(share, masked):
    asked = Asked.of(repeating(share))
    assert (asked.mask_seen, asked.by_log) == (masked, True)


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_recipe_comes_first(mask, share):
    asked = Asked.of(repeating(share), mask)
    assert (asked.mask_seen, asked.by_log) == (mask, False)
    assert len(asked.test) == (200 if mask and share else 400)
    assert len(asked.valid) == 400


def test_what_is_left_out_is_counted_and_said():
    """In validation ann has one new item of two; in the test bob has none and is left out."""
    split = split_of([[0, 1], [2], [1]], [[1, 3], [0], [0]], [[4], [2, 0, 2], [4]])
    facts = Asked.of(split, True).facts()
    assert facts["valid"] == {"cases": 3, "cases_left_out": 0, "relevant": 4, "repeated": 1}
    assert facts["test"] == {"cases": 2, "cases_left_out": 1, "relevant": 4, "repeated": 2}
    assert sentence_of(facts) == (
        "new items are ranked, and seen items are left out, including relevant ones: 1 of 4 "
        "validation items and 2 of 4 test items, with 0 and 1 users who have no other relevant item"
    )
    facts = Asked.of(split).facts()
    assert facts["test"] == {"cases": 3, "cases_left_out": 0, "relevant": 4, "repeated": 2}
    assert sentence_of(facts) == (
        "all items are ranked, including seen items, because 1 of 4 validation items and 2 of 4 "
        "test items are in the history (evaluation.mask_seen=true ranks new items only)"
    )
    new = sentence_of(Asked.of(repeating(0)).facts())
    assert new == "new items are ranked, and seen items are left out"


def test_the_log_is_no_reason_for_what_a_recipe_says():
    told = sentence_of(Asked.of(repeating(0), False).facts())
    assert told.startswith("all items are ranked, including seen items; 0 of ")
    assert "because" not in told
    among = sentence_of(Asked.of(repeating(0), False).facts(20))
    assert "; seen items are ranked, too; 0 of " in among


def test_nothing_new_is_nothing_to_judge():
    split = split_of([[0, 1], [2]], [[1], [2]], [[3], [0]])
    with refused(DataError):
        Asked.of(split, True)


def test_listing_the_history_is_not_worth_more_than_it_is():
    """Half the users take their last item again, half the other; rank 1 was the label's alone."""
    n_users = 100
    train = [[0, 1]] * n_users
    test = [[1] if user % 2 else [0] for user in range(n_users)]
    split = split_of(train, [[2]] * n_users, test)
    recency = np.tile(np.array([1.0, 2.0, 3.0]), (n_users, 1))
    asked = Asked.of(split)
    table = score_cases(
        Fixed(recency), asked.test, ["hit_rate@1", "hit_rate@2"], length=5,
        mask_seen=asked.mask_seen,
    )  # fmt: skip
    assert table["hit_rate@1"].to_numpy().mean() == 0.0  # item 2 stands first
    assert table["hit_rate@2"].to_numpy().mean() == 0.5


# --- real logs with repeats ---


class Told(Encoder):
    """Is told what comes: a user points where the relevant items lie, so that these rank high."""

    def __init__(self, cases: Cases, n_items: int) -> None:
        super().__init__()
        self.cases, self.n_items = cases, n_items
        self.vectors = torch.randn(n_items, 64, generator=torch.Generator().manual_seed(0))

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        rows = np.searchsorted(self.cases.user, batch.user.numpy())
        asked = [torch.from_numpy(self.cases.relevant[row]) for row in rows]
        users = torch.stack([self.vectors[relevant].sum(0) for relevant in asked])
        return Vectors(users, items or self.items())

    def items(self) -> ItemVectors:
        return ItemVectors(self.vectors)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("lastfm-1k-sample", {"split": "user-ratio", "test_fraction": 0.5, "cold_items": "keep"}),
        ("epinions", {}),
    ],
)
def test_metrics_of_real_logs_with_repeats(real_data, name, spec):
    split = load_split(DataSettings(source=name, **spec), real_data)
    assert split.test.frame.select("user", "item").is_duplicated().any()
    for mask, asked in ((False, Asked.of(split)), (True, Asked.of(split, True))):
        assert asked.mask_seen == mask
        few = np.arange(len(asked.test))[:: 1 + len(asked.test) // 300]
        parts = (splits.rows_of(part, few) for part in (asked.test.history, asked.test.relevant))
        cases = Cases(asked.test.user[few], *parts)
        encoder = Told(cases, split.train.n_items)
        table = score_cases(encoder, cases, METRICS, length=5, mask_seen=mask)
        for metric in METRICS:
            assert table[metric].is_between(0, 1).all(), metric
        assert table["ndcg@10"].to_numpy().mean() > 0.5  # so high that items counted twice show
