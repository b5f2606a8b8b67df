"""The soft labels of the examples of one cluster."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from softrec.limits import LIMITS
from softrec.targets.build.propagation.diffusion import Diffusion
from softrec.targets.build.propagation.nearest import nearest_transition, spread_rows
from softrec.targets.build.propagation.tables import cut_rows, spread_labels, transition

NEIGHBOURS = 64  # neighbours of each example in a cluster that is too large for tables


class ClusterLabels(NamedTuple):
    """The soft labels of the n examples of one cluster."""

    items: np.ndarray  # (n, k) int32, k <= keep
    probs: np.ndarray  # (n, k) float32, largest first; not rescaled after the cut
    label_prob: np.ndarray  # (n,) q_y
    sparse: bool  # whether only the nearest neighbours were used


def propagate_cluster(
    vectors: np.ndarray, labels: np.ndarray, diffusion: Diffusion
) -> ClusterLabels:
    """Return the soft labels inside one cluster, not rescaled after the cut to `keep`.

    Args:
        vectors: (n, D) float32.
        labels: (n,) integers, 0 .. 2^31 - 1.
        diffusion: the settings of the propagation.

    Example:
        >>> vectors = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
        >>> soft = propagate_cluster(vectors, np.array([7, 7, 9]), Diffusion(tau=0.5))
        >>> soft.label_prob.round(4).tolist()  # doctest: +NUMBER
        [0.9746, 0.9578, 0.5201]
    """
    names, columns = np.unique(labels.astype(np.int32), return_inverse=True)
    n, n_labels = len(labels), len(names)
    still = diffusion.damping == 0 or diffusion.rounds == 0 or n_labels == 1
    if still:  # if all labels are equal, so is every average
        return ClusterLabels(names[columns, None], np.ones((n, 1), "f4"), np.ones(n, "f4"), False)
    sparse = diffusion.neighbours is not None or 8 * n * (n + n_labels) > LIMITS.cluster
    if sparse:
        m = min(diffusion.neighbours or NEIGHBOURS, n - 1)
        near, weights = nearest_transition(vectors, diffusion.tau, m)
        kept, probs, label_prob = spread_rows(near, weights, columns, n_labels, diffusion)
    else:
        w = transition(vectors, diffusion.tau)
        q = spread_labels(w, columns, n_labels, diffusion.damping, diffusion.rounds)
        kept, probs, label_prob = cut_rows(q, columns, diffusion.keep)
    return ClusterLabels(names[kept], probs, label_prob, sparse)
