r"""Distillation of a distribution over K interests: which interest the label belongs to.

The teacher knows the label, the student only the history. Both give K logits. With
temperature T, p = softmax(teacher / T) and q = softmax(student / T).
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor


def interest_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    *,
    form: Literal["kl", "ce"] = "kl",
    detach: bool = True,
) -> Tensor:
    """Return T^2 times the divergence of the student's interests q from the teacher's p.

    Formula: kl: T^2 sum_k p_k (log p_k - log q_k); ce: -T^2 sum_k p_k log q_k; (P,) in nats. T^2 is
    **included**: with it the gradient in the student, T (q - p), has the same size for all T, and
    for large T the value tends to sum_k (centred student - centred teacher)^2 / 2K.

    The two forms differ by T^2 times the entropy of p. With `detach` this is a constant, and their
    gradients are equal. Without it, the teacher has a gradient, too, and the two losses differ.

    Args:
        student_logits: (P, K), at temperature 1.
        teacher_logits: (P, K), at temperature 1; in TiMiRec the cosines of interests and item.
        temperature: T, positive.
        form: "kl", as in the authors' code, or "ce", as in their equation 8.
        detach: whether the teacher has no gradient; False is the ablation "w/o stopgrad".

    Raises:
        ValueError: if the temperature is not positive or the form is unknown.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[0.3, -0.2]]), torch.tensor([[0.9, 0.1]])
        >>> interest_distillation(student, teacher, temperature=0.5)
        tensor([0.0071])

    Source: Wang et al., "Target Interest Distillation for Multi-Interest Recommendation", CIKM
    2022, eq. 6-9 and 11.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if form not in ("kl", "ce"):
        raise ValueError(f"form must be 'kl' or 'ce', got {form!r}")
    _check_shapes(student_logits, teacher_logits)
    if detach:
        teacher_logits = teacher_logits.detach()
    log_p = (teacher_logits / temperature).log_softmax(-1)
    log_q = (student_logits / temperature).log_softmax(-1)
    difference = log_p - log_q if form == "kl" else -log_q
    return temperature**2 * (log_p.exp() * difference).sum(-1)


def _check_shapes(one: Tensor, other: Tensor) -> None:
    if one.shape != other.shape:
        raise ValueError(
            f"expected two distributions of one shape, got {tuple(one.shape)} and "
            f"{tuple(other.shape)}"
        )
