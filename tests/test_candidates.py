"""Candidates: what is drawn, how often, and how often it was expected to be."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.candidates import (
    InBatch,
    MixedDraws,
    RowDraws,
    SampledSettings,
    SharedDraws,
    SharedUniform,
    log_uniform,
)
from softrec.errors import RecipeError
from softrec.interacted import Interacted
from softrec.recipe.recipe import read_recipe
from softrec.types import Batch

N = 12
COUNTS = torch.tensor([9.0, 1, 4, 2, 7, 1, 3, 5, 2, 8, 6, 12], dtype=torch.float64)
POPULAR = COUNTS / COUNTS.sum()


def asked(label, history=None, user=None):
    label = torch.tensor(label)
    rows = len(label)
    return Batch(
        torch.full((rows, 1), N) if history is None else torch.tensor(history),
        label,
        torch.arange(rows),
        torch.arange(rows) if user is None else torch.tensor(user),
    )


BATCH = asked([4, 5, 4, 0, 10, 4])


def ascending(items):
    return bool((items.diff() > 0).all())


# --- draws that rows share ---


@pytest.mark.parametrize("number", [1, 5, N])
def test_uniform_shared_draws(number):
    torch.manual_seed(0)
    found = SharedUniform(N, number)(BATCH)
    assert len(found.items) == number
    assert ascending(found.items)
    assert 0 <= found.items.min() <= found.items.max() < N
    assert (found.counts == 1).all()
    expected = torch.full((number,), -math.log(number / N))  # E = n / N
    torch.testing.assert_close(found.correction, expected)
    assert SharedUniform(N, number, corrected=False)(BATCH).correction is None


def test_uniform_shared_draws_prefer_nothing():
    torch.manual_seed(0)
    draw = SharedUniform(N, 3)
    seen = torch.stack([torch.bincount(draw(BATCH).items, minlength=N) for _ in range(4000)])
    torch.testing.assert_close(seen.double().mean(0), torch.full((N,), 3 / N).double(), atol=0.03,
                               rtol=0)  # fmt: skip


@pytest.mark.parametrize("number", [0, N + 1])
def test_more_than_there_are_cannot_be_drawn(number):
    with refused(ValueError):
        SharedUniform(N, number)


@pytest.mark.parametrize("number", [1, 7, 40])
def test_shared_draws_from_a_distribution(number):
    torch.manual_seed(1)
    found = SharedDraws(POPULAR, number)(BATCH)
    assert ascending(found.items)
    assert found.counts.sum() == number
    assert (found.counts >= 1).all()
    expected = -(number * POPULAR[found.items]).log()  # E = n Q
    torch.testing.assert_close(found.correction.double(), expected, atol=1e-6, rtol=0)
    assert SharedDraws(POPULAR, number, corrected=False)(BATCH).correction is None


def test_shared_draws_follow_the_distribution():
    torch.manual_seed(2)
    found = SharedDraws(POPULAR, 40_000)(BATCH)
    share = torch.zeros(N).index_add(0, found.items, found.counts) / 40_000
    torch.testing.assert_close(share.double(), POPULAR, atol=0.01, rtol=0)


def test_what_has_no_chance_is_never_drawn():
    torch.manual_seed(3)
    probs = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0])
    assert SharedDraws(probs, 2000)(BATCH).items.tolist() == [1, 3]


# --- draws for each row ---


def test_uniform_row_draws_never_hit_the_label():
    torch.manual_seed(4)
    found = RowDraws(N, 500)(BATCH)
    assert found.items.shape == (len(BATCH.label), 500)
    assert (found.items != BATCH.label[:, None]).all()
    assert (found.counts == 1).all()
    expected = torch.full((1, 500), -math.log(500 / (N - 1)))  # E = n / (N - 1), in each row
    torch.testing.assert_close(found.correction, expected)
    for row, label in zip(found.items, BATCH.label, strict=True):
        assert set(row.tolist()) == set(range(N)) - {int(label)}
    torch.testing.assert_close(
        torch.bincount(found.items[0], minlength=N)[:4].double() / 500,
        torch.full((4,), 1 / (N - 1)).double(),
        atol=0.05,
        rtol=0,
    )


def test_a_row_draw_of_the_label_counts_nothing():
    torch.manual_seed(5)
    found = RowDraws(N, 300, POPULAR)(BATCH)
    hit = found.items == BATCH.label[:, None]
    assert hit.any(1).all()
    assert (found.counts == (~hit).float()).all()
    expected = -(300 * POPULAR[found.items]).log()  # E = n Q
    torch.testing.assert_close(found.correction.double(), expected, atol=1e-6, rtol=0)
    assert RowDraws(N, 3, POPULAR, corrected=False)(BATCH).correction is None


@pytest.mark.parametrize(
    "source",
    [SharedUniform(N, 4), SharedDraws(POPULAR, 6), RowDraws(N, 4), RowDraws(N, 4, POPULAR)],
    ids=["uniform", "shared", "rows", "rows by chance"],
)
def test_the_same_seed_draws_the_same(source):
    drawn = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        drawn.append(source(BATCH).items.tolist())
    assert drawn[0] == drawn[1] != drawn[2]


# --- what is drawn estimates the whole catalogue ---


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [SharedUniform(N, 4), SharedDraws(POPULAR, 6), RowDraws(N, 4), RowDraws(N, 4, POPULAR)],
    ids=["uniform", "shared", "rows", "rows by chance"],
)
def test_corrected_sums_are_right_in_the_mean(source):
    """The mean over draws of sum_j c_j exp(z_j) / E_j is the sum over all but the label."""
    torch.manual_seed(6)
    z = torch.linspace(-1, 1, N, dtype=torch.float64)
    whole = z.exp().sum() - z[BATCH.label].exp()
    sums = []
    for _ in range(4000):
        found = source(BATCH)
        weight = found.counts.double() * (z[found.items] + found.correction.double()).exp()
        weight = weight.expand(len(BATCH.label), -1)
        others = found.items != BATCH.label[:, None]
        sums.append((weight * others).sum(1))
    mean, error = torch.stack(sums).mean(0), torch.stack(sums).std(0) / math.sqrt(len(sums))
    assert ((mean - whole).abs() < 4 * error).all()


# --- the other labels of the batch ---


def test_in_batch_labels_with_their_counts():
    found = InBatch()(BATCH)
    assert found.items.tolist() == [0, 4, 5, 10]
    assert found.counts.tolist() == [1, 3, 1, 1]
    assert found.correction is found.hits is found.masked is None


def test_in_batch_corrections():
    found = InBatch(POPULAR)(BATCH)
    expected = -(5 * POPULAR[[0, 4, 5, 10]]).log()  # E = (P - 1) f, of P = 6 rows
    torch.testing.assert_close(found.correction.double(), expected, atol=1e-6, rtol=0)


def test_a_batch_of_one_has_finite_corrections():
    found = InBatch(POPULAR)(asked([4]))
    assert found.items.tolist() == [4]
    assert found.correction.isfinite().all()


def test_hits_stay_where_they_are_not_masked():
    """Each row sees the other rows' copies of its label, and never its own."""
    assert InBatch(mask_hits=False)(BATCH).hits.tolist() == [2, 0, 2, 0, 0, 2]
    assert InBatch(mask_hits=True)(BATCH).hits is None


def left_out_of(batch):
    found = InBatch(mask_positives=True)(batch)
    rows, places = found.masked
    return {
        (row, int(found.items[place])) for row, place in zip(rows.tolist(), places, strict=True)
    }


def test_positives_are_the_history_and_other_labels_of_the_user():
    history = [[5, 1, N], [4, 10, 0], [N, N, N], [2, 3, N]]
    batch = asked([4, 5, 10, 0], history, user=[7, 3, 7, 3])
    assert left_out_of(batch) == {
        (0, 5), (0, 4), (0, 10),  # read 5; user 7 has the labels 4 and 10
        (1, 4), (1, 10), (1, 0), (1, 5),
        (2, 4), (2, 10),
        (3, 5), (3, 0),
    }  # fmt: skip


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, N - 1), st.integers(0, 3), st.lists(st.integers(0, N), max_size=4)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_positives_by_definition(rows):
    history = [[*past, *[N] * (4 - len(past))] for _, _, past in rows]
    batch = asked([r[0] for r in rows], history, user=[r[1] for r in rows])
    labels = {label for label, _, _ in rows}
    expected = {
        (row, item)
        for row, (_, user, past) in enumerate(rows)
        for item in {*past, *(label for label, other, _ in rows if other == user)} & labels
    }
    assert left_out_of(batch) == expected


def test_positives_of_a_batch_asked_at_every_position():
    """Rows of a batch are predictions then; user and history are those of their sequence."""
    batch = Batch(
        history=torch.tensor([[1, 2], [3, N]]),
        label=torch.tensor([2, 6, 1]),
        example=torch.tensor([0, 0, 1]),
        user=torch.tensor([0, 1]),
        row=torch.tensor([0, 0, 1]),
        step=torch.tensor([0, 1, 0]),
    )
    assert left_out_of(batch) == {(0, 1), (0, 2), (0, 6), (1, 1), (1, 2), (1, 6), (2, 1)}


# --- labels and a sample together ---


def mixed(number=5, probs=None, frequency=POPULAR):
    plain = SharedUniform(N, number, corrected=False)
    drawn = plain if probs is None else SharedDraws(probs, number, corrected=False)
    return MixedDraws(drawn, frequency, probs)


def test_counts_and_rates_of_labels_and_sample_add_up():
    torch.manual_seed(8)
    found = mixed(number=N)(BATCH)  # each item once, and the labels
    assert found.items.tolist() == list(range(N))
    labels = torch.bincount(BATCH.label, minlength=N)
    assert found.counts.tolist() == (1 + labels).tolist()
    expected = -(5 * POPULAR + 1).log()  # P = 6 rows
    torch.testing.assert_close(found.correction.double(), expected, atol=1e-6, rtol=0)
    assert mixed(frequency=None)(BATCH).correction is None
    assert found.hits is found.masked is None


def test_a_sample_by_popularity_has_its_own_rates():
    torch.manual_seed(9)
    even = torch.full((N,), 1 / N, dtype=torch.float64)
    found = mixed(7, POPULAR, even)(BATCH)
    assert ascending(found.items)
    assert found.counts.sum() == 7 + len(BATCH.label)
    expected = -(5 / N + 7 * POPULAR[found.items]).log()
    torch.testing.assert_close(found.correction.double(), expected, atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("probs", [None, POPULAR.flip(0)], ids=["uniform", "distribution"])
def test_corrected_sums_of_both_are_right_in_the_mean(probs):
    """The other labels are samples of the labels' distribution; that of row 0 is given."""
    torch.manual_seed(10)
    z, source = torch.linspace(-1, 1, N, dtype=torch.float64), mixed(4, probs)
    whole, sums = z.exp().sum() - z[3].exp(), []
    for _ in range(4000):
        others = torch.multinomial(POPULAR, 5, replacement=True)
        found = source(asked([3, *others.tolist()]))
        weight = found.counts.double() * (z[found.items] + found.correction.double()).exp()
        sums.append(weight[found.items != 3].sum())
    mean, error = torch.stack(sums).mean(), torch.stack(sums).std() / math.sqrt(len(sums))
    assert abs(mean - whole) < 4 * error
    assert error < 0.02 * whole


# --- distributions ---


@pytest.mark.parametrize("n_items", [1, 2, 12, 5000])
def test_log_uniform_is_a_distribution(n_items):
    probs = log_uniform(torch.arange(n_items))
    assert probs.double().sum() == pytest.approx(1, abs=1e-5)
    assert (probs.diff() > 0).all()  # the last has the largest count


def test_log_uniform_by_definition():
    probs = log_uniform(torch.tensor([3, 9, 1, 9]))
    ranks = [2, 0, 3, 1]  # ties keep the order of the items
    expected = [math.log((r + 2) / (r + 1)) / math.log(5) for r in ranks]
    assert probs.tolist() == pytest.approx(expected)


def test_draws_of_what_a_user_did_not_take():
    pairs = torch.tensor([[0, 0, 0, 0, 2, 2, 2, 3], [5, 1, 0, 1, N - 1, 3, 4, 2]])
    everything = torch.stack([torch.full((N,), 4), torch.arange(N)])
    seen = Interacted(*torch.cat([pairs, everything], 1), n_users=5, n_items=N)
    user = torch.arange(5)
    torch.manual_seed(0)
    batch = Batch(torch.full((5, 1), N), torch.zeros(5, dtype=torch.int64), user, user)
    items, free = RowDraws(N, 4000, interacted=seen)(batch).items, seen.n_negatives(user)
    for number in range(4):
        own = pairs[1][pairs[0] == number].unique()
        left = sorted(set(range(N)) - set(own.tolist()))
        assert int(free[number]) == len(left)
        assert items[number].unique().tolist() == left
        share = items[number].bincount(minlength=N)[left] / 4000
        torch.testing.assert_close(share, torch.full_like(share, 1 / len(left)), atol=0.03, rtol=0)
    assert int(free[4]) == 0


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0, 7.0])
def test_false_negatives_are_drawn_as_many_times_as_likely(rate):
    """By the definition, one weight for each item of each user; expected counts are exact."""
    pairs = torch.tensor([[0, 0, 0, 0, 1, 2, 2, 2], [5, 1, 0, 1, N - 1, 3, 4, 2]])
    everything = torch.stack([torch.full((N,), 3), torch.arange(N)])
    seen = Interacted(*torch.cat([pairs, everything], 1), n_users=5, n_items=N)
    user, number = torch.arange(5), 20_000
    torch.manual_seed(0)
    label = torch.tensor([5, N - 1, 3, 1, 2])  # nobody draws their label
    batch = Batch(torch.full((5, 1), N), label, user, user)
    found = RowDraws(N, number, interacted=seen, false_negatives=rate)(batch)
    for place in range(5):
        own = set(pairs[1][pairs[0] == place].tolist()) if place != 3 else set(range(N))
        weight = torch.tensor([rate if i in own else 1.0 for i in range(N)])
        if not weight.sum():
            assert not found.counts[place].any()
            continue
        probs = weight / weight.sum()
        share = found.items[place].bincount(minlength=N) / number
        torch.testing.assert_close(share, probs, atol=0.015, rtol=0)
        assert not share[probs == 0].any()
        assert (found.counts[place] == (found.items[place] != label[place])).all()
        expected = (number * probs)[found.items[place]]
        torch.testing.assert_close(found.correction[place].exp() * expected, torch.ones(number))


def test_a_row_for_whose_user_nothing_is_left_counts_nothing():
    pairs = torch.stack([torch.zeros(N, dtype=torch.int64), torch.arange(N)])
    seen = Interacted(*torch.cat([pairs, torch.tensor([[1], [3]])], 1), n_users=2, n_items=N)
    label = torch.tensor([2, 3])
    batch = Batch(torch.full((2, 1), N), label, torch.arange(2), torch.arange(2))
    found = RowDraws(N, 6, interacted=seen)(batch)
    assert found.counts.tolist() == [[0.0] * 6, [1.0] * 6]
    torch.testing.assert_close(found.correction[1], torch.full((6,), -math.log(6 / (N - 1))))
    with refused(ValueError):
        RowDraws(N, 6, POPULAR, interacted=seen)


@pytest.mark.parametrize("source", ["shared", "for each row"])
def test_draws_at_the_very_borders_of_the_running_sum(source, monkeypatch):
    """A number on the border of two items falls to the next, never to one without a chance."""
    probs = torch.tensor([0.0, 0.5, 0.0, 0.5])
    drawn = torch.tensor([0.0, 0.5, 0.25, 0.75], dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda shape, **_: drawn.expand(shape))
    rows = torch.tensor([0, 2])
    batch = Batch(rows[:, None], rows, rows, rows)
    if source == "shared":
        chosen = SharedDraws(probs, 4)(batch)
        assert chosen.items.tolist() == [1, 3]
        assert chosen.counts.tolist() == [2, 2]
    else:
        assert RowDraws(4, 4, probs)(batch).items.tolist() == [[1, 3, 1, 3]] * 2


@pytest.mark.parametrize(
    "fields",
    [
        {"per_row": False},
        {"sampler": "popularity"},
        {"mask_positives": True},
        {"correction": True},
        {"false_negatives": -1},
    ],
    ids=lambda fields: ", ".join(fields),
)
def test_false_negatives_that_are_refused(fields):
    drawn = {"name": "sampled", "number": 5, "per_row": True, "false_negatives": 2.0} | fields
    with refused(RecipeError):
        read_recipe({"data": {"source": "a.csv"}, "candidates": drawn})


def test_false_negatives_are_never_corrected_away():
    noisy = SampledSettings(number=5, per_row=True, false_negatives=2.0)
    assert not noisy.corrects(softmax=True)
    assert SampledSettings(number=5, per_row=True).corrects(softmax=True)
