"""Teachers: the softmax of other logits and the best of it, against whole tables in float64."""

import pytest
import torch

from messages import refused
from softrec.targets.teacher import TeacherTarget, TopTarget
from softrec.testing import check_target, oracles
from softrec.types import ItemVectors, LogitTarget

N, P, D = 9, 6, 4


def numbers(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(temperature=0.7, *, bias=True, dtype=torch.float64):
    items = ItemVectors(numbers(N, D, seed=1).to(dtype), numbers(N, seed=2).to(dtype))
    return TeacherTarget(
        numbers(P, D, seed=0).to(dtype), items if bias else items._replace(bias=None), temperature
    )


def table(target):
    """Return softmax(z / T), written out, (P, N)."""
    return (oracles.logits(target.users, target.items) / target.temperature).softmax(1)


WAYS = pytest.mark.parametrize(
    ("temperature", "bias"), [(1.0, True), (0.3, True), (5.0, False), (0.7, False)]
)


@WAYS
def test_a_teacher_keeps_the_contract(temperature, bias):
    check_target(made(temperature, bias=bias), N, P)


@WAYS
def test_a_teacher_is_the_softmax_of_its_logits(temperature, bias):
    target = made(temperature, bias=bias)
    torch.testing.assert_close(oracles.dense(target, P, N), table(target))
    items = torch.randint(N, (P, 5), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(target.prob_of(items), table(target).gather(1, items))
    vectors = numbers(N, 3, seed=4)
    torch.testing.assert_close(target.mean_item(vectors), table(target) @ vectors)


def test_a_larger_temperature_is_flatter():
    entropies = [oracles.entropy(table(made(t))).mean() for t in (0.1, 1, 10)]
    own = [oracles.entropy(oracles.dense(made(t), P, N)).mean() for t in (0.1, 1, 10)]
    torch.testing.assert_close(own, entropies)
    assert own[0] < own[1] < own[2]


@WAYS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_is_filled_in(temperature, bias, dtype):
    target = made(temperature, bias=bias)
    expected = (oracles.logits(target.users, target.items) / temperature).to(dtype)
    for rows in (slice(None), slice(1, 4), slice(5, 6)):
        out = torch.full(expected[rows].shape, torch.nan, dtype=dtype)
        assert target.fill(rows, out) is out
        torch.testing.assert_close(out, expected[rows])


@WAYS
def test_logits_of_one_item_a_row_or_several(temperature, bias):
    target = made(temperature, bias=bias)
    expected = oracles.logits(target.users, target.items) / temperature
    items = torch.randint(N, (P, 4), generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(target.logits_of(items), expected.gather(1, items))
    torch.testing.assert_close(target.logits_of(items[:, 0]), expected.gather(1, items)[:, 0])


@WAYS
def test_within_some_items_a_teacher_is_normalised_again(temperature, bias):
    target = made(temperature, bias=bias)
    items = torch.tensor([0, 3, 4, 8])
    expected = table(target)[:, items]
    part = target.within(items, N)
    torch.testing.assert_close(oracles.dense(part, P, 4), expected / expected.sum(1, keepdim=True))
    check_target(part, 4, P)


def test_blocks_of_rows_change_nothing(limit):
    target = made()
    whole = target.prob_of(torch.arange(P)), target.mean_item(numbers(N, 3, seed=4))
    limit(scores=2 * N * 8)  # two rows
    found = list(target.logit_blocks())
    assert [len(block) for _, block in found] == [2] * (P // 2)
    logits = oracles.logits(target.users, target.items) / target.temperature
    for rows, block in found:
        torch.testing.assert_close(block, logits[rows])
    torch.testing.assert_close(target.prob_of(torch.arange(P)), whole[0])
    torch.testing.assert_close(target.mean_item(numbers(N, 3, seed=4)), whole[1])


def test_logits_too_large_for_exp():
    users, items = torch.tensor([[300.0], [-300.0]]), ItemVectors(torch.tensor([[1.0], [-1.0]]))
    target = TeacherTarget(users, items, 0.5)
    assert target.prob_of(torch.tensor([0, 1])).tolist() == [1, 1]
    assert target.prob_of(torch.tensor([1, 0])).tolist() == [0, 0]


@pytest.mark.parametrize("temperature", [0, -1.0])
def test_a_temperature_must_be_above_0(temperature):
    with refused(ValueError):
        made(temperature)


def test_who_is_read_by_its_logits():
    assert isinstance(made(), LogitTarget)
    assert not isinstance(top(3)[0], LogitTarget)


# --- the best of a teacher ---


def top(k):
    """Return the k best of a teacher and their table."""
    probs = table(made())
    shares, items = probs.topk(k, dim=1)
    kept = torch.zeros_like(probs).scatter(1, items, shares)
    expected = kept + (1 - shares.sum(1, keepdim=True)) / N
    return TopTarget.of(items, shares, N), expected


@pytest.mark.parametrize("k", [1, 3, N])
def test_the_best_keep_the_contract(k):
    check_target(top(k)[0], N, P)


@pytest.mark.parametrize("k", [1, 3, N])
def test_the_rest_is_spread_evenly(k):
    target, expected = top(k)
    torch.testing.assert_close(oracles.dense(target, P, N), expected)
    items = torch.randint(N, (P, 5), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(target.prob_of(items), expected.gather(1, items))
    vectors = numbers(N, 3, seed=4)
    torch.testing.assert_close(target.mean_item(vectors), expected @ vectors)


def test_all_of_the_best_are_the_teacher():
    torch.testing.assert_close(oracles.dense(top(N)[0], P, N), table(made()))


def test_within_some_items_the_best_keep_their_shares():
    target, expected = top(3)
    items = torch.tensor([0, 3, 4, 8])
    part = target.within(items, N)
    torch.testing.assert_close(oracles.dense(part, P, 4), expected[:, items])
    vectors = numbers(4, 3, seed=6)
    torch.testing.assert_close(part.mean_item(vectors), expected[:, items] @ vectors)
    rows, out = numbers(P, 3, seed=7), numbers(4, 3, seed=8)
    spread = out.clone()
    part.add_mean_gradient(rows, spread)
    torch.testing.assert_close(spread - out, expected[:, items].T @ rows)


def test_shares_that_are_rounded_above_1_leave_nothing():
    target = TopTarget.of(torch.tensor([[1, 2]]), torch.tensor([[0.6, 0.4 + 1e-6]]), 4)
    assert target.prob_of(torch.tensor([0])).tolist() == [0]
