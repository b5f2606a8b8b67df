"""Known users come with the times of their log, given histories without any."""

import numpy as np
import pytest
import torch

from softrec.data.interactions import Interactions, Sequences
from softrec.serving.recommender import Recommender
from softrec.types import Batch, Encoder, ItemVectors, Vectors

N_ITEMS = 9
LISTS = [[0, 1, 2, 3], [4], [5, 6]]


class Listening(Encoder):
    """Keeps what it is asked; all items are equal."""

    n_items = N_ITEMS

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Batch] = []

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        self.asked.append(batch)
        return Vectors(torch.ones(len(batch.user), 1), items or self.items())

    def items(self) -> ItemVectors:
        return ItemVectors(torch.ones(N_ITEMS, 1))


def log_of(times: bool) -> Interactions:
    sequences = Sequences.of(LISTS)
    return Interactions.from_sequences(
        sequences,
        times=1000 + sequences.items if times else None,
        items=Interactions.from_sequences(Sequences.of([range(N_ITEMS)])).items,
    )


@pytest.mark.parametrize("at_once", [1, 2, 1024])
def test_known_users_come_with_their_times(limit, at_once):
    limit(encoded=at_once)
    encoder = Listening()
    Recommender(encoder, log_of(True), length=3).recommend([2, 0, 1, 2], 2)
    read = {2: [5, 6], 0: [1, 2, 3], 1: [4]}
    users = [user for batch in encoder.asked for user in batch.user.tolist()]
    assert users == [2, 0, 1, 2]
    for batch in encoder.asked:
        assert batch.time is not None
        real = batch.history != N_ITEMS
        assert torch.equal(batch.time, torch.where(real, 1000 + batch.history, 0))
        rows = zip(batch.user.tolist(), batch.history, batch.time, strict=True)
        for user, history, time in rows:
            assert history[history != N_ITEMS].tolist() == read[user]
            assert time[time != 0].tolist() == [1000 + item for item in read[user]]


@pytest.mark.parametrize("at_once", [1, 1024])
@pytest.mark.parametrize("users", [None, [0, 1]])
def test_given_histories_have_no_times(limit, users, at_once):
    limit(encoded=at_once)
    encoder = Listening()
    found = Recommender(encoder, log_of(True), length=3).recommend(
        users, 2, histories={7: [5, 6, 7, 8]}
    )
    assert all(batch.time is None for batch in encoder.asked)
    assert encoder.asked[-1].history[-1].tolist() == [6, 7, 8]
    assert encoder.asked[-1].user[-1] == -1
    assert found["user"].unique(maintain_order=True).to_list() == [*(users or []), 7]


def test_a_log_without_times_gives_none():
    encoder = Listening()
    Recommender(encoder, log_of(False), length=3).recommend([0], 2)
    assert encoder.asked[0].time is None
    np.testing.assert_array_equal(encoder.asked[0].history, [[1, 2, 3]])
