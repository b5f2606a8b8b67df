"""Plain implementations with tables of users x items, with which softrec is compared."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.types import ItemVectors


def logits(users: Tensor, items: ItemVectors) -> Tensor:
    """Return the whole table of logits, (B, N)."""
    products = users @ items.vectors.T
    return products if items.bias is None else products + items.bias


def cross_entropy(users: Tensor, vectors: Tensor, label: Tensor) -> Tensor:
    """Return the mean cross-entropy with the labels from a table of logits."""
    return F.cross_entropy(users @ vectors.T, label)


def table(items: Tensor, shares: Tensor, n_items: int) -> Tensor:
    """Return a sparse target as a table, (B, N)."""
    dense = torch.zeros(len(items), n_items)
    return dense.scatter_add_(1, items, shares)


def mixed(
    users: Tensor, vectors: Tensor, label: Tensor, items: Tensor, shares: Tensor, weight: float
) -> Tensor:
    """Return KL(q || p) with q = (1 - weight) label + weight target, averaged over the batch."""
    log_probs = (users @ vectors.T).log_softmax(1)
    goal = weight * table(items, shares, len(vectors))
    goal[torch.arange(len(label)), label] += 1 - weight
    return F.kl_div(log_probs, goal, reduction="batchmean")


def decoupled(
    users: Tensor,
    vectors: Tensor,
    label: Tensor,
    items: Tensor,
    shares: Tensor,
    weight: float,
    balance: float,
) -> Tensor:
    """Return the decoupled loss as in DesoRec's public code.

    It computes a softmax over all classes, makes a mask from a one-hot table, copies both tables
    without the label, renormalises them, and adds 1e-12 inside logarithms of numbers that may be 0.
    """
    target = table(items, shares, len(vectors))
    probs = (users @ vectors.T).softmax(1)
    one_hot = torch.zeros(probs.shape)
    one_hot[torch.arange(len(label)), label] = 1
    own = one_hot.bool()
    label_prob, soft_label = probs[own], target[own]
    rest = F.normalize(probs[~own].view(len(label), -1), p=1, dim=1)
    soft_rest = F.normalize(target[~own].view(len(label), -1), p=1, dim=1)
    goal = weight * soft_label + 1 - weight
    binary = -(goal * label_prob.log() + (1 - goal) * (1 - label_prob + 1e-12).log()).mean()
    shape = F.kl_div((rest + 1e-12).log(), soft_rest, reduction="batchmean")
    return balance * binary + (1 - balance) * shape


def ranks(scores: Tensor, label: Tensor, seen: Sequence[Sequence[int]]) -> Tensor:
    """Return the rank of each label: seen items are masked user by user, then rows are sorted."""
    for row, items in enumerate(seen):
        scores[row, list(items)] = -torch.inf
    order = scores.argsort(dim=1, descending=True)
    ranks = (order == label[:, None]).int().argmax(1) + 1
    left_out = scores.gather(1, label[:, None]).squeeze(1) == -torch.inf
    return ranks.masked_fill(left_out, scores.shape[1])
