"""The debiased softmax: golden values, identities, the smallest sum."""

from math import exp, log

import pytest
import torch

from messages import refused
from softrec.experiments.build.data import load_split
from softrec.experiments.build.objective import build
from softrec.losses.debiased import debiased_softmax
from softrec.losses.softmax import (
    SoftmaxStats,
    TargetAnswers,
    hard_cross_entropy,
    no_answers,
    soft_cross_entropy,
)
from softrec.recipe.recipe import read_recipe

NEGATIVES = torch.tensor([0.5, 0.1, -0.2, 0.3], dtype=torch.float64)


def at(label, rest, **options):
    return SoftmaxStats(*(torch.tensor([n], dtype=torch.float64, **options) for n in (label, rest)))


def random_stats(seed=0, rows=8):
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(3, rows, generator=generator, dtype=torch.float64)
    label_prob = torch.rand(rows, generator=generator, dtype=torch.float64)
    answers = TargetAnswers(label_prob, 1 - label_prob, numbers[2])
    return SoftmaxStats(numbers[0], numbers[1] + 2), answers


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (debiased_softmax(0.05, 4, -1 / 0.15), 0.415418458314),
        (debiased_softmax(0.5, 4, -1 / 0.15), 0.000093232058),  # at the smallest sum
    ],
)
def test_golden_values(loss, expected):
    """From 50 decimal digits: cosines 0.6 and 0.5, 0.1, -0.2, 0.3, at temperature 0.15."""
    stats = at(0.6 / 0.15, (NEGATIVES / 0.15).logsumexp(0).item())
    actual = loss(stats, no_answers(stats.label_logit), 0.0)
    torch.testing.assert_close(actual.item(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_without_a_prior_it_is_cross_entropy(weight):
    stats, answers = random_stats()
    expected = soft_cross_entropy(stats, answers, weight)
    torch.testing.assert_close(debiased_softmax(0.0, 9, -50.0)(stats, answers, weight), expected)


def test_a_mixture_of_labels_and_negatives_is_told_apart():
    """If rho of the n negatives score as the label, the rest is what remains of the sum."""
    label, n, rho = 1.3, 1000, 0.2
    true = torch.linspace(-1, 0.5, 800, dtype=torch.float64)  # the negatives that are no labels
    rest = torch.cat([true, torch.full((200,), label).double()]).logsumexp(0).item()
    stats, clean = at(label, rest), at(label, true.logsumexp(0).item() + log(n / 800))
    none = no_answers(stats.label_logit)
    found, wanted = (
        debiased_softmax(rho, n, -9.0)(stats, none, 0.0),
        hard_cross_entropy(clean, none, 0.0),
    )
    torch.testing.assert_close(found, wanted)
    assert (found - hard_cross_entropy(stats, none, 0.0)).abs() > 0.1


def test_at_the_smallest_sum_only_the_label_is_raised():
    stats = at(4.0, 3.0, requires_grad=True)
    none = no_answers(stats.label_logit)
    value = debiased_softmax(0.5, 10, -2.0)(stats, none, 0.0)
    smallest = 10 * exp(-2)
    assert value.item() == pytest.approx(log(1 + smallest * exp(-4)), rel=1e-12)
    by_label, by_rest = torch.autograd.grad(value.sum(), stats)
    assert by_rest == 0
    assert by_label.item() == pytest.approx(-smallest / (smallest + exp(4)), rel=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_finite_differences(weight):
    loss = debiased_softmax(0.05, 5, -3.0)
    (label, rest), answers = random_stats(3)

    def value(label, rest, mean):
        return loss(SoftmaxStats(label, rest), answers._replace(rest_logit=mean), weight)

    leaves = [leaf.clone().requires_grad_() for leaf in (label, rest, answers.rest_logit)]
    assert torch.autograd.gradcheck(value, leaves)


@pytest.mark.parametrize("odds", [-1e4, -80.0, -16.0, log(20) - 1e-7, log(20), 0.0, 16.0, 1e4])
def test_single_precision(odds):
    """log(20) is where the labels would be all of the sum: 0.005 * 10 exp(z_y) = exp(R)."""
    loss, found = debiased_softmax(0.005, 10, -100.0), []
    for dtype in (torch.float64, torch.float32):
        stats = SoftmaxStats(
            torch.tensor([odds], dtype=dtype, requires_grad=True),
            torch.zeros(1, dtype=dtype, requires_grad=True),
        )
        value = loss(stats, no_answers(stats.label_logit), 0.0)
        slopes = torch.autograd.grad(value.sum(), stats, allow_unused=True)
        assert all(slope is None or torch.isfinite(slope).all() for slope in slopes)
        found.append(value.item())
    edge = abs(odds - log(20)) < 1e-3  # here the sum is a difference of nearly equal numbers
    assert found[1] == pytest.approx(found[0], rel=1e-5, abs=1e-5 if edge else 1e-30)


@pytest.mark.parametrize(
    "make",
    [
        lambda: debiased_softmax(1.0, 5, -1.0), lambda: debiased_softmax(-0.1, 5, -1.0),
        lambda: debiased_softmax(0.1, 0, -1.0), lambda: debiased_softmax(0.1, 5, -torch.inf),
    ],
)  # fmt: skip
def test_what_is_refused(make):
    with refused(ValueError):
        make()


@pytest.mark.parametrize(
    ("candidates", "wanted"),
    [
        ({"name": "full"}, None),
        ({"name": "shown"}, "shown"),
        ({"name": "sampled", "number": 40, "per_row": True}, None),  # corrected
        ({"name": "sampled", "number": 40, "per_row": True, "correction": False}, 40),
        ({"name": "sampled", "number": 900, "per_row": True, "correction": False}, 900),
    ],
)
def test_as_many_negatives_as_the_sum_has(candidates, wanted):
    shop = {"n_items": 300, "n_categories": 4, "n_archetypes": 4, "n_users": 20, "max_length": 10}
    recipe = read_recipe({"data": {"source": "shop", "cold_items": "keep", "shop": shop},
                          "loss": {"name": "debiased"}, "candidates": candidates})  # fmt: skip
    split = load_split(recipe.data)
    _, objective, batches = build(recipe, split)
    n_items = split.train.n_items
    if wanted == "shown":
        wanted = len(objective.candidates(next(iter(batches))).items) - 1
        assert wanted < n_items - 1
    ((part, _),) = objective.loss.values()
    assert part.keywords["negatives"] == (wanted or n_items - 1)
