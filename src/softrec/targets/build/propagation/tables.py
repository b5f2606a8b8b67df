"""Labels spread by tables over a whole cluster: round by round, or by one linear solve."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from softrec.targets.build.propagation.diffusion import effective_rounds, row_blocks

SAME = 1e-6  # a^T from which on the fixed point stands in for T rounds; T = 20 for a = 1/2
SMALL = 512  # up to this many examples the rounds that were asked for are computed as they are


def transition(vectors: np.ndarray, tau: float) -> Tensor:
    """Return w (n, n) float32: rows sum to 1, the diagonal is 0; a single example copies itself.

    Squared distances come from products, |x|^2 + |y|^2 - 2 x.y. In float64 and around the mean
    this costs little beside what follows and does not lose small distances between far vectors.
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
        distance -= distance.amin(1, keepdim=True)  # before rounding: the nearest decide
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
        rounds: None for the fixed point, which also stands in for many rounds of a large cluster.
    """
    first = torch.zeros(len(w), n_labels)
    first[torch.arange(len(w)), torch.from_numpy(columns)] = 1 - damping
    if rounds is None or (damping**rounds <= SAME and len(w) > SMALL):
        w.mul_(-damping).diagonal().add_(1)
        if int((w > -torch.finfo(w.dtype).tiny).sum()) > len(w):
            # Weights so unlike make subnormal numbers, which make a solve many times as long.
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
