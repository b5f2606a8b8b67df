from math import log2

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from messages import refused
from softrec.data.interactions import Sequences
from softrec.data.splits import Cases
from softrec.errors import DataError, RecipeError
from softrec.evaluation.metrics import NOT_RANKED
from softrec.evaluation.protocol import batches_of, rank_cases, score_cases, seen_of
from softrec.types import Batch, Encoder, ItemVectors, Vectors


class Fixed(Encoder):
    """Scores by heart: the score of item i for user u is table[u, i]."""

    def __init__(self, table: list[list[float]]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table))
        self.n_items = self.table.shape[1]
        self.asked: list[Batch] = []
        self.modes: set[bool] = set()

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        self.asked.append(batch)
        self.modes.add(self.training)
        return Vectors(self.table[batch.user], items or self.items())

    def items(self) -> ItemVectors:
        return ItemVectors(torch.eye(self.n_items))


def cases_of(*rows: tuple[int, list[int], list[int]]) -> Cases:
    users, histories, relevant = zip(*rows, strict=True)
    return Cases(np.array(users), Sequences.of(histories), Sequences.of(relevant))


TABLE = [
    [9.0, 8.0, 7.0, 6.0, 5.0],
    [1.0, 5.0, 5.0, 2.0, 0.0],
    [3.0, 3.0, 3.0, 3.0, 3.0],
]
# user, history, relevant -> rank with the history left out
SINGLE = cases_of(
    (0, [0, 1], [3]),  # 2 stands above 3
    (1, [3], [2]),  # 1 ties with 2
    (2, [0], [1]),  # 2, 3 and 4 tie with 1
    (0, [4, 4], [0]),
)
SEVERAL = cases_of(
    (0, [0], [4, 2]),  # ranks 4 and 2 among 1 2 3 4
    (1, [0, 3], [1]),  # ranks 2, for 2 ties
    (0, [4], [3, 1, 0]),  # ranks 4, 2 and 1
)


# --- one relevant item ---


def test_metrics_of_one_relevant_item_equal_those_by_hand():
    metrics = ["ndcg@2", "recall@2", "mrr@10", "hit_rate@1"]
    table = score_cases(Fixed(TABLE), SINGLE, metrics, length=5)
    assert table.columns == ["rank", *metrics]
    assert table["rank"].to_list() == [2, 2, 4, 1]
    assert table["recall@2"].to_list() == [1, 1, 0, 1]
    assert table["hit_rate@1"].to_list() == [0, 0, 0, 1]
    assert table["mrr@10"].to_list() == [1 / 2, 1 / 2, 1 / 4, 1]
    np.testing.assert_allclose(table["ndcg@2"], [1 / log2(3), 1 / log2(3), 0, 1], rtol=1e-15)


def test_without_a_mask_the_history_competes():
    table = score_cases(Fixed(TABLE), SINGLE, ["mrr@5"], length=5, mask_seen=False)
    assert table["rank"].to_list() == [4, 2, 5, 1]


def test_an_item_that_comes_again_competes_with_the_history_or_is_not_asked():
    """Never with new items alone: among those, 3 would have rank 2."""
    encoder = Fixed(TABLE)
    again = cases_of((0, [0, 1, 3, 3], [3]), (1, [2], [3, 2]))
    with refused(DataError):
        rank_cases(encoder, again, length=5, k=5)
    assert encoder.asked == []
    assert rank_cases(encoder, again, length=5, k=5, mask_seen=False).rank.tolist() == [4, 3, 2]
    new = rank_cases(encoder, again.new_only(), length=5, k=5)
    assert [new.rank.tolist(), new.relevant.tolist()] == [[2], [1]]


def test_the_whole_history_is_masked_though_the_model_reads_its_end():
    encoder = Fixed(TABLE)
    long = cases_of((0, [0, 1, 2], [3]))
    assert score_cases(encoder, long, ["mrr@5"], length=1)["rank"].to_list() == [1]
    assert encoder.asked[0].history.tolist() == [[2]]


# --- several relevant items ---


def test_metrics_of_several_relevant_items_equal_those_by_hand():
    metrics = ["recall@2", "precision@2", "ndcg@2", "mrr@2", "recall@4"]
    table = score_cases(Fixed(TABLE), SEVERAL, metrics, length=5)
    assert table.columns == metrics
    assert table["recall@2"].to_list() == [1 / 2, 1, 2 / 3]
    assert table["precision@2"].to_list() == [1 / 2, 1 / 2, 1]
    assert table["mrr@2"].to_list() == [1 / 2, 1 / 2, 1]
    assert table["recall@4"].to_list() == [1, 1, 1]
    ideal = 1 + 1 / log2(3)
    np.testing.assert_allclose(table["ndcg@2"], [1 / log2(3) / ideal, 1 / log2(3), 1], rtol=1e-15)


def test_ranks_of_several_relevant_items_are_exact_down_to_k():
    ranks = rank_cases(Fixed(TABLE), SEVERAL, length=5, k=2)
    assert ranks.case.tolist() == [0, 0, 1, 2, 2, 2]
    assert ranks.rank.tolist() == [NOT_RANKED, 2, 2, NOT_RANKED, 2, 1]
    assert ranks.relevant.tolist() == [2, 1, 3]
    assert rank_cases(Fixed(TABLE), SEVERAL, length=5, k=50).rank.tolist() == [4, 2, 2, 4, 2, 1]


# --- nothing but the cases matters ---


@pytest.mark.parametrize("cases", [SINGLE, SEVERAL], ids=["one", "several"])
@pytest.mark.parametrize("at_once", [1, 2, 3, 1024])
def test_how_many_are_encoded_at_once_changes_nothing(limit, cases, at_once):
    metrics = ["ndcg@2", "recall@3"]
    expected = score_cases(Fixed(TABLE), cases, metrics, length=5)
    ranks = rank_cases(Fixed(TABLE), cases, length=5, k=3)
    limit(encoded=at_once)
    encoder = Fixed(TABLE)
    assert score_cases(encoder, cases, metrics, length=5).equals(expected)
    assert len(encoder.asked) == -(-len(cases) // at_once)
    again = rank_cases(encoder, cases, length=5, k=3)
    np.testing.assert_array_equal(again.rank, ranks.rank)
    np.testing.assert_array_equal(again.case, ranks.case)


histories = st.lists(st.integers(0, 4), min_size=1, max_size=6)
relevants = st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True)


some_cases = st.lists(st.tuples(st.integers(0, 2), histories, relevants), min_size=1, max_size=7)


@given(some_cases, st.integers(1, 6), st.booleans())
def test_ranks_equal_the_definition(rows, k, mask_seen):
    cases = cases_of(*rows)
    got = rank_cases(
        Fixed(TABLE), cases.new_only() if mask_seen else cases, length=3, k=k, mask_seen=mask_seen
    )
    asked = [
        (user, history, [item for item in relevant if not (mask_seen and item in history)])
        for user, history, relevant in rows
    ]
    asked = [case for case in asked if case[2]]
    single = all(len(relevant) == 1 for _, _, relevant in asked)
    expected = []
    for user, history, relevant in asked:
        left = set(range(5)) - set(history if mask_seen else [])
        for item in relevant:
            rank = sum(TABLE[user][other] >= TABLE[user][item] for other in left)
            expected.append(rank if single or rank <= k else NOT_RANKED)
    assert got.rank.tolist() == expected
    assert got.relevant.tolist() == [len(relevant) for _, _, relevant in asked]


@given(some_cases, st.data())
def test_seen_is_the_history(rows, data):
    cases = cases_of(*rows)
    start = data.draw(st.integers(0, len(rows) - 1))
    stop = data.draw(st.integers(start + 1, len(rows)))
    seen = seen_of(cases, slice(start, stop), torch.device("cpu"))
    for place, (_, history, _) in enumerate(rows[start:stop]):
        assert seen.items[seen.offsets[place] : seen.offsets[place + 1]].tolist() == history
    assert len(seen.offsets) == stop - start + 1


def test_no_cases_give_an_empty_table():
    cases = Cases(np.empty(0, dtype=np.int64), Sequences.of([]), Sequences.of([]))
    assert score_cases(Fixed(TABLE), cases, ["ndcg@2"], length=5).height == 0


def test_an_unknown_metric_is_refused_before_any_work():
    encoder = Fixed(TABLE)
    with refused(RecipeError):
        score_cases(encoder, SINGLE, ["auc@10"], length=5)
    assert encoder.asked == []


# --- the model is asked properly and left as it was ---


@pytest.mark.parametrize("training", [True, False])
def test_the_model_evaluates_and_is_then_as_it_was(training):
    encoder = Fixed(TABLE).train(training)
    table = score_cases(encoder, SINGLE, ["mrr@5"], length=5)
    assert isinstance(table, pl.DataFrame)
    assert encoder.modes == {False}
    assert encoder.training is training
    assert encoder.table.grad is None


def test_a_model_is_as_it_was_after_an_error():
    class Broken(Fixed):
        def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
            raise RuntimeError("broken")

    encoder = Broken(TABLE).train()
    with refused(RuntimeError):
        score_cases(encoder, SINGLE, ["mrr@5"], length=5)
    assert encoder.training


def test_batches_pad_with_the_number_of_items():
    batches = list(batches_of(SINGLE, 2, Fixed(TABLE)))
    assert [rows for rows, _ in batches] == [slice(0, 4)]
    batch = batches[0][1]
    assert batch.history.tolist() == [[0, 1], [3, 5], [0, 5], [4, 4]]
    assert batch.user.tolist() == [0, 1, 2, 0]
    assert batch.row is None
