"""Label propagation with dense tables of a cluster: round by round, or by one linear solve."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from softrec.targets.build.propagation.diffusion import effective_rounds, row_blocks

SAME = 1e-6  # if a^T is at most this, the fixed point is used for T rounds; T = 20 for a = 1/2
SMALL = 512  # clusters with at most this many examples always compute all rounds


def transition(vectors: np.ndarray, tau: float) -> Tensor:
    """Return w (n, n) float32: rows sum to 1, the diagonal is 0; for a single example w is 1.

    Squared distances are computed from products, |x|^2 + |y|^2 - 2 x.y, in float64 and after
    subtracting the mean. So small distances between vectors far from 0 are accurate, and the cost
    is small compared with the propagation.
    """
    n = len(vectors)
    if n == 1:
        return torch.ones(1, 1)
    x = torch.from_numpy(vectors).double()
    x -= x.mean(0)
    lengths = (x * x).sum(1)
    w = torch.empty(n, n)
    for rows in row_blocks(n, n):
        block = torch.addmm(lengths, x[rows], x.T, alpha=-2)
        distance = block.add_(lengths[rows, None]).clamp_(min=0).sqrt_()
        distance.diagonal(rows.start).fill_(torch.inf)
        distance -= distance.amin(1, keepdim=True)  # before rounding: the nearest examples decide
        part = distance.div_(-tau).float().exp_()
        torch.div(part, part.sum(1, keepdim=True), out=w[rows])
    return w


def spread_labels(
    w: Tensor, columns: np.ndarray, n_labels: int, damping: float, rounds: int | None
) -> Tensor:
    """Return q (n, L) after `rounds`, or the fixed point; w is overwritten.

    Args:
        w: (n, n) float32, rows sum to 1.
        columns: (n,) the label of each example, in 0 .. L-1.
        n_labels: L.
        damping: a, in (0, 1).
        rounds: None for the fixed point, which is also used for many rounds in a large cluster.
    """
    first = torch.zeros(len(w), n_labels)
    first[torch.arange(len(w)), torch.from_numpy(columns)] = 1 - damping
    if rounds is None or (damping**rounds <= SAME and len(w) > SMALL):
        w.mul_(-damping).diagonal().add_(1)
        if int((w > -torch.finfo(w.dtype).tiny).sum()) > len(w):
            # Very different weights give subnormal numbers, with which a solve is much slower.
            w, first = w.double(), first.double()
        return torch.linalg.solve(w, first).clamp_(min=0).float()
    q = first / (1 - damping)
    for _ in range(effective_rounds(rounds, damping)):
        q = torch.addmm(first, w, q, alpha=damping)
    return q


def cut_rows(
    q: Tensor, columns: np.ndarray, keep: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return columns and probabilities of the largest of each row, and the label's probability."""
    n, n_labels = q.shape
    width = min(keep, n_labels)
    kept, probs = torch.empty(n, width, dtype=torch.int64), torch.empty(n, width)
    for rows in row_blocks(n, n_labels):
        torch.topk(q[rows].contiguous(), width, out=(probs[rows], kept[rows]))
    label_prob = q[torch.arange(n), torch.from_numpy(columns)]
    return kept.numpy(), probs.numpy(), label_prob.numpy()
