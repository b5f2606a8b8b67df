"""The popularity distribution: golden numbers, temperature and the readings of its scale."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.targets.smoothing import popularity

COUNTS = torch.tensor([50, 5, 10, 35])


def test_at_temperature_one_it_is_the_popularity():
    torch.testing.assert_close(popularity(COUNTS), torch.tensor([0.5, 0.05, 0.1, 0.35]))


def test_at_temperature_two_it_goes_with_the_square_root():
    roots = COUNTS.double().sqrt()
    expected = (roots / roots.sum()).float()
    torch.testing.assert_close(popularity(COUNTS, temperature=2), expected)


@pytest.mark.parametrize("scale", ["log", "count", "relative"])
def test_infinite_temperature_is_uniform(scale):
    flat = popularity(COUNTS, temperature=1e9, scale=scale)
    torch.testing.assert_close(flat, torch.full((4,), 0.25))


@pytest.mark.parametrize("scale", ["log", "count"])
def test_zero_temperature_is_the_most_popular(scale):
    peak = popularity(COUNTS, temperature=1e-3, scale=scale)
    torch.testing.assert_close(peak, torch.tensor([1.0, 0.0, 0.0, 0.0]))


def test_shares_of_the_clicks_leave_nothing_to_the_unseen():
    counts = torch.tensor([6, 0, 3, 1])
    torch.testing.assert_close(
        popularity(counts, scale="frequency"), torch.tensor([0.6, 0.0, 0.3, 0.1])
    )
    assert popularity(counts)[1] > 0


def test_the_literal_readings():
    count = COUNTS.double().softmax(0).float()
    torch.testing.assert_close(popularity(COUNTS, scale="count"), count)
    relative = (COUNTS / 100).double().softmax(0).float()
    torch.testing.assert_close(popularity(COUNTS, scale="relative"), relative)
    assert count[0] > 0.999999  # all on one item
    assert relative.max() < 1.6 * relative.min()  # nearly uniform


def test_items_never_seen_count_as_seen_once():
    probs = popularity(torch.tensor([3, 0, 1]))
    torch.testing.assert_close(probs, torch.tensor([0.6, 0.2, 0.2]))
    torch.testing.assert_close(popularity(torch.zeros(4)), torch.full((4,), 0.25))


def test_options_that_do_not_exist():
    with refused(ValueError):
        popularity(COUNTS, temperature=0)
    with refused(ValueError):
        popularity(COUNTS, scale="linear")  # pyright: ignore[reportArgumentType]


@given(
    st.lists(st.integers(0, 10**6), min_size=2, max_size=50),
    st.floats(0.3, 100),
    st.sampled_from(["log", "count"]),
)
def test_a_distribution_in_the_order_of_the_counts(counts, temperature, scale):
    numbers = torch.tensor(counts)
    probs = popularity(numbers, temperature=temperature, scale=scale)
    assert probs.dtype == torch.float32
    assert (probs >= 0).all()
    torch.testing.assert_close(probs.sum(), torch.tensor(1.0), rtol=1e-5, atol=0)
    assert (probs[numbers.argsort()].diff() >= -1e-9).all()
