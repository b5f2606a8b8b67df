"""`softmax_loss`: a loss over the full catalogue, for any training loop."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from softrec.losses.softmax import Loss, SoftmaxProblem, SoftTarget, SoftWeight, hard, mixed
from softrec.losses.streaming import streamed
from softrec.types import GivenWeights, ItemVectors, Target

NAMED = {"mixed": mixed, "hard": hard}


def softmax_loss(
    users: Tensor,
    items: Tensor,
    label: Tensor,
    *,
    bias: Tensor | None = None,
    target: Target | None = None,
    weight: SoftWeight = 0.0,
    loss: Literal["mixed", "hard"] | Loss = "mixed",
    example_weights: Tensor | None = None,
    rows: int | None = None,
) -> Tensor:
    """Return the mean loss of user vectors and their labels over the full catalogue, ().

    Formula: "mixed" is the cross-entropy with (1 - a) e_y + a s, in nats, where a is the weight and
    s the target; "hard" is the cross-entropy with the label alone. The logits are
    `users @ items.T + bias`; only a few rows of them are in memory at a time. The gradient is
    computed together with the value, so `backward` can run once. `softrec.losses.streamed` returns
    one value per example.

    Args:
        users: (..., D), any leading shape: the output of a model for each label.
        items: (N, D).
        label: (...) int64, in 0 .. N-1. Leave out padding: `users[real], label[real]`.
        bias: (N,), or None.
        target: a soft target for the labels, flattened to (P,); None for the label alone.
        weight: of the soft target, in [0, 1]; a number, or one for each label, (...).
        loss: "mixed" or "hard"; named softmax losses such as `decoupled(0.5)`; or a pairwise loss
            such as `bpr`.
        example_weights: (...), the weight of each label's loss in the mean; None: all 1.
        rows: how many rows of logits are in memory at a time; by default chosen by N.

    Raises:
        ValueError: if shapes do not fit, a label is not an item, the weight is outside [0, 1], or
            the loss needs a target and there is none.

    Example:
        >>> users, items = torch.zeros(2, 3, 8, requires_grad=True), torch.ones(5, 8)
        >>> value = softmax_loss(users, items, torch.tensor([[0, 1, 2], [3, 4, 0]]))
        >>> value.backward()
        >>> value.item(), users.grad.shape  # log 5  # doctest: +NUMBER
        (1.6094379425048828, torch.Size([2, 3, 8]))
    """
    if isinstance(loss, str):
        if loss not in NAMED:
            raise ValueError(f"the loss must be {' or '.join(NAMED)}, or a loss; got {loss!r}")
        loss = NAMED[loss]()
    if users.dim() < 2 or users.shape[:-1] != label.shape:
        raise ValueError(
            f"expected one label for each user vector, of shape {tuple(users.shape[:-1])}; got "
            f"{tuple(label.shape)}"
        )
    if label.dtype != torch.int64:
        raise ValueError(f"expected labels of int64, got {label.dtype}")
    if items.dim() != 2 or items.shape[1] != users.shape[-1]:
        raise ValueError(
            f"expected items of shape (N, {users.shape[-1]}), as wide as the user vectors; got "
            f"{tuple(items.shape)}"
        )
    if isinstance(weight, Tensor):
        if weight.shape != label.shape:
            raise ValueError(
                f"expected one weight of the soft target for each label, of shape "
                f"{tuple(label.shape)}; got {tuple(weight.shape)}"
            )
        weight = weight.flatten()
    if example_weights is not None and example_weights.shape != label.shape:
        raise ValueError(
            f"expected one weight for each label, of shape {tuple(label.shape)}; got "
            f"{tuple(example_weights.shape)}"
        )
    flat = label.flatten()
    soft = None if target is None else SoftTarget(target, flat)
    weigh = None if example_weights is None else GivenWeights(example_weights.flatten())
    problem = SoftmaxProblem(users.flatten(0, -2), ItemVectors(items, bias), flat, weigh=weigh)
    return streamed(problem, loss, soft, weight, rows=rows).total
