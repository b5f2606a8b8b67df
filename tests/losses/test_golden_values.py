"""Numbers worked out once, apart from this code: 4 items, z = (1, -0.5, 2, 0.3), third is label."""

import pytest
import torch

from softrec.losses.reference import plain
from softrec.losses.softmax import (
    SoftmaxProblem,
    SoftTarget,
    binary_part,
    decoupled,
    hard,
    mixed,
    rest_part,
)
from softrec.losses.streaming import streamed
from softrec.targets.dense import DenseTarget
from softrec.targets.smoothing import PopularityTarget, UniformTarget, popularity
from softrec.targets.teacher import TeacherTarget
from softrec.testing import oracles
from softrec.testing.losses import over_all
from softrec.types import ItemVectors

Z = torch.tensor([[1.0, -0.5, 2.0, 0.3]], dtype=torch.float64)
LABEL = torch.tensor([2])
COUNTS = torch.tensor([50.0, 5.0, 10.0, 35.0])
TEACHER = torch.tensor([[0.2, 0.1, 1.5, -1.0]], dtype=torch.float64)
SHARED = torch.tensor([[0.1, 0.2, 0.6, 0.1]], dtype=torch.float64)
DIGITS = {"rtol": 0, "atol": 6e-11}  # ten decimals
SINGLE = {"rtol": 0, "atol": 3e-8}  # `popularity` is stored in float32

PASSES = pytest.mark.parametrize("softmax", [plain, streamed])


def close(actual, *expected, **tolerance):
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual.detach().double().flatten(), wanted, **tolerance)


def run(softmax, parts, target, weight):
    """The value, and the gradient in the logits: the one user is (1,), the items are the logits."""
    users = torch.ones(1, 1, dtype=torch.float64)
    vectors = Z.T.clone().requires_grad_()
    value = over_all(softmax)(parts, users, ItemVectors(vectors, None), LABEL, target, weight)
    value.total.backward()
    return value.total, vectors.grad


@PASSES
def test_base(softmax):
    close(run(softmax, hard(), None, 0.0)[0], 0.4902032144, **DIGITS)


@PASSES
def test_label_smoothing(softmax):
    # UniformTarget answers prob_of in float32, which the mixed loss does not ask for
    close(run(softmax, mixed(), UniformTarget(4), 0.1)[0], 0.6202032144, **DIGITS)


@PASSES
@pytest.mark.parametrize(
    ("temperature", "value", "divergence"),
    [(1.0, 0.7342032144, 0.3051529922), (2.0, 0.7373390742, 0.2995610222)],
)
def test_popularity(softmax, temperature, value, divergence):
    """alpha = 0.4 of POP+, whose target is (s + e_y) / 2: a weight of 0.2."""
    target = PopularityTarget(popularity(COUNTS, temperature=temperature))
    total, gradient = run(softmax, mixed(), target, 0.2)
    close(total, value, **SINGLE)
    half = (oracles.dense(target, 1, 4) + torch.eye(4)[LABEL]) / 2
    close(total - 0.4 * oracles.entropy(half), divergence, **SINGLE)
    if temperature == 1.0:
        slopes = (0.1253268612, 0.0402772186, -0.2074980877, 0.0418940078)
        close(gradient, *slopes, **SINGLE)


@PASSES
def test_distillation(softmax):
    teacher = DenseTarget((TEACHER / 2).softmax(1))
    close(run(softmax, mixed(), teacher, 0.2)[0], 0.6854686834, **DIGITS)


def test_decoupled_parts():
    close(oracles.fitted(LABEL, SHARED, 0.3)[0, 2], 0.88, **DIGITS)
    close(oracles.binary_kl(Z, LABEL, SHARED, 0.3), 0.1782191612, **DIGITS)
    close(oracles.rest_kl(Z, LABEL, SHARED, 0.3), 0.4274380784, **DIGITS)
    close(oracles.decoupled_kl(Z, LABEL, SHARED, 0.3, 0.7), 0.2529848364, **DIGITS)
    close(oracles.traditional(Z, LABEL, SHARED, 0.3), 0.3945332218, **DIGITS)
    q_y, s_y = torch.tensor([0.88, 0.6], dtype=torch.float64)
    constant = oracles.bernoulli_entropy(q_y) - 0.3 * oracles.bernoulli_entropy(s_y)
    close(constant, 0.1650214912, **DIGITS)
    close(1 / (1 + 0.3 * (1 - s_y)), 0.8928571429, **DIGITS)


@PASSES
def test_decoupled(softmax):
    """The library leaves the entropies out; with that of the rest it is the published code's."""
    total, gradient = run(softmax, decoupled(0.7), DenseTarget(SHARED), 0.3)
    rest, _ = oracles.renormalised(SHARED, Z, LABEL)
    with_bernoulli_cross_entropy = total - 0.3 * oracles.entropy(rest)
    close(with_bernoulli_cross_entropy, 0.5098323303, **DIGITS)
    q_y = torch.tensor(0.88, dtype=torch.float64)
    divergence = with_bernoulli_cross_entropy - 0.7 * oracles.bernoulli_entropy(q_y)
    close(divergence, 0.2529848364, **DIGITS)
    close(gradient, 0.2083309763, -0.0867803139, -0.1872486614, 0.0656979989, **DIGITS)


@PASSES
def test_traditional_from_the_two_parts(softmax):
    """L_trad = L_b + lambda1 (1 - q_y) L_n + F, with the library's parts."""
    parts = {"binary": (binary_part, 1.0), "rest": (rest_part, 0.3 * 0.4)}
    total, _ = run(softmax, parts, DenseTarget(SHARED), 0.3)
    rest, _ = oracles.renormalised(SHARED, Z, LABEL)
    q_y = torch.tensor(0.88, dtype=torch.float64)
    divergences = total - oracles.bernoulli_entropy(q_y) - 0.12 * oracles.entropy(rest)
    close(divergences + 0.1650214912, 0.3945332218, rtol=0, atol=2e-10)


@pytest.mark.parametrize("shared", [streamed, plain], ids=["streamed", "plain"])
def test_a_teacher_read_in_blocks(shared):
    users = torch.ones(1, 1, dtype=torch.float64)
    teacher = TeacherTarget(users, ItemVectors(TEACHER.T.contiguous()), 2.0)
    soft = SoftTarget(teacher, LABEL)
    problem = SoftmaxProblem(users, ItemVectors(Z.T.contiguous()), LABEL)
    close(shared(problem, mixed(), soft, 0.2).total, 0.6854686834, **DIGITS)


@pytest.mark.parametrize("shared", [streamed, plain], ids=["streamed", "plain"])
@pytest.mark.parametrize(("expected", "value"), [(2 / 3, 0.6020425912), (1.0, 0.4386180684)])
def test_sampled(shared, expected, value):
    """Two draws from the three other items, with replacement: items 1 and 4."""
    chosen = torch.tensor([0, 3])
    problem = SoftmaxProblem(
        torch.ones(1, 1, dtype=torch.float64),
        ItemVectors(Z.T[chosen].contiguous()),
        torch.tensor([-1]),
        ItemVectors(Z.T[LABEL].contiguous()),
        counts=torch.ones(2, dtype=torch.float64),
        correction=-torch.full((2,), expected, dtype=torch.float64).log(),
    )
    close(shared(problem, hard()).total, value, **DIGITS)
