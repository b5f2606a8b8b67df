"""Interest distillation and the Jensen-Shannon divergence: golden values and what must hold."""

from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from messages import refused
from softrec.losses.distillation import interest_distillation

STUDENT = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
TEACHER = torch.tensor([[0.9, 0.1]], dtype=torch.float64)
DIGITS = {"rtol": 0, "atol": 6e-11}  # ten decimals
FORMS = pytest.mark.parametrize("form", ["kl", "ce"])


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def random_logits(seed, rows=5, interests=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, rows, interests, generator=generator, dtype=torch.float64).unbind()


def softmax(logits, temperature=1.0):
    weights = [exp(z / temperature) for z in logits]
    return [weight / sum(weights) for weight in weights]


def kl(p, q):
    return sum(a * log(a / b) for a, b in zip(p, q, strict=True))


# --- golden values ---


def test_golden_values():
    cross_entropy = interest_distillation(STUDENT, TEACHER, 0.5, form="ce")
    torch.testing.assert_close(cross_entropy / 0.5**2, numbers(0.4812433024), **DIGITS)
    divergence = interest_distillation(STUDENT, TEACHER, 0.5)
    torch.testing.assert_close(divergence / 0.5**2, numbers(0.0285719777), **DIGITS)
    torch.testing.assert_close(divergence, numbers(0.0071429944), **DIGITS)


@FORMS
def test_golden_gradient(form):
    student = STUDENT.clone().requires_grad_()
    interest_distillation(student, TEACHER, 0.5, form=form).sum().backward()
    torch.testing.assert_close(student.grad[0], numbers(-0.0504799033, 0.0504799033), **DIGITS)


# --- definitions ---


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 5.0])
def test_definition(temperature):
    student, teacher = random_logits(1)
    pairs = [
        (softmax(teach, temperature), softmax(learn, temperature))
        for learn, teach in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    divergence = [temperature**2 * kl(p, q) for p, q in pairs]
    cross_entropy = [
        -(temperature**2) * sum(a * log(b) for a, b in zip(p, q, strict=True)) for p, q in pairs
    ]
    for form, expected in (("kl", divergence), ("ce", cross_entropy)):
        actual = interest_distillation(student, teacher, temperature, form=form)
        torch.testing.assert_close(actual, numbers(*expected))


# --- gradients ---


@FORMS
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 5.0])
def test_gradient_in_the_student(form, detach, temperature):
    """T (q - p), with and without the gradient into the teacher."""
    student, teacher = random_logits(3)
    p, q = (numbers(*(softmax(z, temperature) for z in x.tolist())) for x in (teacher, student))
    student.requires_grad_()
    interest_distillation(student, teacher, temperature, form=form, detach=detach).sum().backward()
    torch.testing.assert_close(student.grad, temperature * (q - p))


@FORMS
def test_no_gradient_in_the_teacher(form):
    student, teacher = (logits.requires_grad_() for logits in random_logits(4))
    value = interest_distillation(student, teacher, 0.5, form=form).sum()
    assert torch.autograd.grad(value, [student, teacher], allow_unused=True)[1] is None


@pytest.mark.parametrize("temperature", [0.5, 1.0, 5.0])
def test_gradient_in_the_teacher(temperature):
    """CE: T p_k (sum_j p_j log q_j - log q_k). KL: T p_k (log p_k/q_k - KL)."""
    student, teacher = random_logits(5)
    p, q = (numbers(*(softmax(z, temperature) for z in x.tolist())) for x in (teacher, student))
    mean = (p * q.log()).sum(1, keepdim=True)
    divergence = (p * (p / q).log()).sum(1, keepdim=True)
    expected = {
        "ce": temperature * p * (mean - q.log()),
        "kl": temperature * p * ((p / q).log() - divergence),
    }
    assert (expected["ce"] - expected["kl"]).abs().max() > 1e-3
    for form, gradient in expected.items():
        leaf = teacher.clone().requires_grad_()
        interest_distillation(student, leaf, temperature, form=form, detach=False).sum().backward()
        torch.testing.assert_close(leaf.grad, gradient)


@FORMS
def test_finite_differences(form):
    leaves = [logits.requires_grad_() for logits in random_logits(6)]
    assert torch.autograd.gradcheck(
        lambda student, teacher: interest_distillation(
            student, teacher, 0.7, form=form, detach=False
        ),
        leaves,
    )


# --- identities ---


def test_high_temperatures_compare_centred_logits():
    student, teacher = random_logits(7)
    difference = (student - student.mean(1, True)) - (teacher - teacher.mean(1, True))
    expected = difference.square().sum(1) / (2 * student.shape[1])
    far = interest_distillation(student, teacher, 1e3)
    torch.testing.assert_close(far, expected, rtol=1e-2, atol=0)
    near = interest_distillation(student, teacher, 1e2)
    assert ((far - expected).abs() < (near - expected).abs()).all()


@pytest.mark.parametrize("detach", [True, False])
def test_one_interest_has_nothing_to_learn(detach):
    student, teacher = (logits.requires_grad_() for logits in random_logits(8, interests=1))
    value = interest_distillation(student, teacher, 0.1, detach=detach)
    value.sum().backward()
    assert (value == 0).all()
    assert (student.grad == 0).all()


@settings(max_examples=60)
@given(st.integers(0, 2**31), st.integers(1, 8), st.sampled_from([0.0, 1.0, 30.0, 1e4]))
def test_bounds(seed, interests, scale):
    a, b = (scale * logits for logits in random_logits(seed, interests=interests))
    assert (interest_distillation(a, b, 0.5) >= -1e-12).all()
    assert (interest_distillation(a, a, 0.5) == 0).all()
    assert torch.isfinite(interest_distillation(a + 37, b - 5, 0.5)).all()
    torch.testing.assert_close(
        interest_distillation(a + 37, b - 5, 0.5),
        interest_distillation(a, b, 0.5),
        atol=1e-8,
        rtol=1e-8,
    )


def test_impossible_arguments():
    with refused(ValueError):
        interest_distillation(STUDENT, TEACHER, 0.0)
    with refused(ValueError):
        interest_distillation(STUDENT, TEACHER, 1.0, form="js")
