r"""Dynamic routing: assigns the items of a history to a few interest capsules.

Every item j sends a message m_kj to every capsule k, and has a logit b_kj for each. One iteration:

$$w_{kj} = \frac{\exp b_{kj}}{\sum_{k'} \exp b_{k'j}}, \quad
  u_k = \mathrm{squash}\Big(\sum_{j} w_{kj} m_{kj}\Big), \quad
  b_{kj} \leftarrow b_{kj} + u_k \cdot m_{kj}$$

In each iteration the weight of an item moves to the capsule that agrees with it, as in soft
k-means. The sum is over real items only. The logits are not updated in the last iteration, because
they are not used again.

Source: Sabour et al., "Dynamic Routing Between Capsules", NeurIPS 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor

from softrec.models.histories import exporting, recent
from softrec.types import Batch


def squash(vectors: Tensor) -> Tensor:
    r"""Return vectors (..., D) of the same direction with a length below 1.

    $$\mathrm{squash}(z) = \frac{|z|^2}{1 + |z|^2} \frac{z}{|z|} = z \, \frac{|z|}{1 + |z|^2}$$

    The form on the right has no division by 0: at z = 0 value and gradient are exactly 0, without
    an epsilon.

    Example:
        >>> squash(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.5769, 0.7692],
                [0.0000, 0.0000]])
    """
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors * (length / (1 + length.square()))


def route(
    messages: Tensor, real: Tensor, logits: Tensor, iterations: int, *, detach: bool = True
) -> Tensor:
    """Return the capsules after some iterations of routing, (P, K, D).

    A history without real items has capsules of 0.

    Args:
        messages: (P, K, L, D), or (P, L, D) if an item sends the same message to all capsules.
        real: (P, L) bool, False at padding.
        logits: (P, K, L) initial logits, or a shape that broadcasts to it. With -inf an item sends
            nothing to a capsule; each item needs at least one capsule with a finite logit.
        iterations: of the routing, at least 1.
        detach: no gradient through the messages except in the last iteration, as in the public code
            of ComiRec (both for its DR and its MIND) and of TiMiRec. The weights are then constants
            for the gradient. False: a gradient through all iterations.

    Raises:
        ValueError: if `iterations` is below 1.

    Example:
        >>> messages = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
        >>> real = torch.ones(1, 2, dtype=torch.bool)
        >>> logits = torch.tensor([[[0.1, 0.0], [0.0, 0.1]]])
        >>> for iterations in (1, 5):
        ...     print(route(messages, real, logits, iterations)[0])
        tensor([[0.4947, 0.4477],
                [0.4477, 0.4947]])
        tensor([[0.7075, 0.1803],
                [0.1803, 0.7075]])
    """
    if iterations < 1:
        raise ValueError(f"iterations must be 1 or more, got {iterations}")
    hidden = ~real[:, None]
    fixed = messages.detach() if detach else messages
    for _ in range(iterations - 1):
        capsules = squash(_weighted_sum(_coupling(logits, hidden), fixed))
        logits = logits + _agreement(capsules, fixed)
    return squash(_weighted_sum(_coupling(logits, hidden), messages))


def read_items(batch: Batch, padding: int, length: int) -> Tensor:
    """Return the items that are read for each prediction, (P, L'), the most recent one last.

    L' is the longest length without padding, so that short histories cost little; in an export it
    is `length`.

    Raises:
        ValueError: if a history has more than `length` items.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> read_items(padded([[4, 5], [6]], 9, extra=1), 9, 7).tolist()
        [[4, 5], [9, 6]]
    """
    items = recent(batch, padding, length)
    if exporting():
        return items
    longest = int((items != padding).sum(1).max())
    return items[:, length - max(longest, 1) :]


def _coupling(logits: Tensor, hidden: Tensor) -> Tensor:
    """Return the weight of each item for each capsule, (P, K, L); padding has weight 0."""
    return logits.softmax(1).masked_fill(hidden, 0)


def _weighted_sum(weights: Tensor, messages: Tensor) -> Tensor:
    """Return the sum over items of weights (P, K, L) times messages, (P, K, D)."""
    if messages.dim() == 3:
        return weights @ messages
    return (weights[:, :, None] @ messages).squeeze(2)


def _agreement(capsules: Tensor, messages: Tensor) -> Tensor:
    """Return the dot products of capsules (P, K, D) with their messages, (P, K, L)."""
    if messages.dim() == 3:
        return capsules @ messages.mT
    return (messages @ capsules[..., None]).squeeze(3)
