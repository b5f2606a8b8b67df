"""The definitions of the losses, over whole tables in float64, without any simplification.

Shapes are those of `softrec.types`: logits z (P, N), label (P,), soft target s (P, N). A target is
a table here; `dense` makes it from a `Target`. The functions are slow, and differentiable in z.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from softrec.types import ItemVectors, Target

Oracle = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""(z, label, s, weight) -> one value per example: a `SoftmaxLoss` on whole tables."""


def dense(target: Target, rows: int, n_items: int) -> Tensor:
    """Return the table (P, N) of a target in float64, from `prob_of` of one item after another.

    Example:
        >>> from softrec.targets.smoothing import UniformTarget
        >>> dense(UniformTarget(4), rows=1, n_items=4)
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]], dtype=torch.float64)
    """
    columns = [target.prob_of(torch.full((rows,), item)) for item in range(n_items)]
    return torch.stack(columns, 1).detach().double()


def logits(users: Tensor, items: ItemVectors) -> Tensor:
    """Return the table of logits, (P, N) float64."""
    table = users.double() @ items.vectors.double().T
    return table if items.bias is None else table + items.bias.double()


def fitted(label: Tensor, s: Tensor, weight: float) -> Tensor:
    """Return q = (1 - weight) e_y + weight s, (P, N): the distribution a mixed loss fits."""
    one_hot = torch.nn.functional.one_hot(label, s.shape[1]).to(s)
    return (1 - weight) * one_hot + weight * s


def cross_entropy(q: Tensor, log_p: Tensor) -> Tensor:
    """Return -sum_i q_i log p_i, with 0 log 0 = 0, (P,)."""
    return -torch.where(q > 0, q * log_p, torch.zeros_like(q)).sum(1)


def entropy(q: Tensor) -> Tensor:
    """Return -sum_i q_i log q_i, with 0 log 0 = 0, (P,)."""
    return -torch.xlogy(q, q).sum(1)


def kl(q: Tensor, log_p: Tensor) -> Tensor:
    """Return KL(q || p), (P,)."""
    return cross_entropy(q, log_p) - entropy(q)


def hard(z: Tensor, label: Tensor, s: Tensor, weight: float) -> Tensor:
    """Return the cross-entropy with the label alone, (P,)."""
    return -z.log_softmax(1).gather(1, label[:, None])[:, 0]


def soft(z: Tensor, label: Tensor, s: Tensor, weight: float) -> Tensor:
    """Return the cross-entropy with the mixed distribution, (P,)."""
    return cross_entropy(fitted(label, s, weight), z.log_softmax(1))


def others(table: Tensor, label: Tensor) -> Tensor:
    """Return the table without the label's column of each row, (P, N - 1)."""
    keep = torch.ones_like(table, dtype=torch.bool).scatter(1, label[:, None], False)
    return table[keep].view(len(table), -1)


def two_way(q: Tensor, log_p: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return (q_y, sum of the others) and its log for p, both (P, 2): "the label or not"."""
    column = label[:, None]
    sums = [q.gather(1, column), others(q, label).sum(1, keepdim=True)]
    logs = [log_p.gather(1, column), others(log_p, label).logsumexp(1, keepdim=True)]
    return torch.cat(sums, 1), torch.cat(logs, 1)


def renormalised(s: Tensor, z: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return s and log p over all items except the label, renormalised to sum to 1, (P, N - 1).

    For a one-hot target s is 0 everywhere.
    """
    rest = others(s, label)
    mass = rest.sum(1, keepdim=True)
    renormalised = torch.where(mass > 0, rest / mass.clamp(min=torch.finfo(s.dtype).tiny), rest)
    return renormalised, others(z, label).log_softmax(1)


def binary(z: Tensor, label: Tensor, s: Tensor, weight: float) -> Tensor:
    """Return the cross-entropy of "the label or not", (P,)."""
    return cross_entropy(*two_way(fitted(label, s, weight), z.log_softmax(1), label))


def rest(z: Tensor, label: Tensor, s: Tensor, weight: float) -> Tensor:
    """Return the cross-entropy over the other items, both sides renormalised, (P,)."""
    return cross_entropy(*renormalised(s, z, label))


def binary_kl(z: Tensor, label: Tensor, s: Tensor, weight: float) -> Tensor:
    """Return KL(q_b || p_b) of DesoRec, (P,); `weight` is its lambda1."""
    return kl(*two_way(fitted(label, s, weight), z.log_softmax(1), label))


def rest_kl(z: Tensor, label: Tensor, s: Tensor, weight: float) -> Tensor:
    """Return KL(q^ || p^) of DesoRec, (P,)."""
    return kl(*renormalised(s, z, label))


def traditional(z: Tensor, label: Tensor, s: Tensor, weight: float) -> Tensor:
    """Return lambda1 KL(s || p) + (1 - lambda1) H(e_y, p), which DesoRec decouples, (P,)."""
    log_p = z.log_softmax(1)
    return weight * kl(s, log_p) + (1 - weight) * hard(z, label, s, weight)


def decoupled_kl(
    z: Tensor, label: Tensor, s: Tensor, weight: float, balance: float | Tensor
) -> Tensor:
    """Return lambda2 KL(q_b || p_b) + (1 - lambda2) KL(q^ || p^), (P,); `balance` is lambda2.

    Source: Zhang et al., "Learning Recommender Systems with Soft Target: A Decoupled
    Perspective", DASFAA 2024.
    """
    binary_part = binary_kl(z, label, s, weight)
    return balance * binary_part + (1 - balance) * rest_kl(z, label, s, weight)


def bernoulli_entropy(prob: Tensor) -> Tensor:
    """Return H_b(x) = -x log x - (1 - x) log(1 - x), same shape."""
    return -torch.xlogy(prob, prob) - torch.xlogy(1 - prob, 1 - prob)
