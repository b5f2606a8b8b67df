"""The soft labels of all examples, cluster by cluster."""

from __future__ import annotations

import numpy as np
from rich.progress import track

from softrec.errors import DataError
from softrec.targets.build.propagation.cluster import propagate_cluster
from softrec.targets.build.propagation.diffusion import Diffusion, row_blocks
from softrec.targets.build.propagation.kmeans import assign_clusters, members_of
from softrec.targets.build.propagation.labels import PropagatedLabels


def propagate(
    vectors: np.ndarray,
    labels: np.ndarray,
    *,
    clusters: int = 16,
    tau: float = 2.0,
    damping: float = 0.5,
    rounds: int | None = 20,
    keep: int = 300,
    neighbours: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> PropagatedLabels:
    """Return the label of each example, mixed with the labels of similar examples.

    Formula: q^{t+1} = a w q^t + (1 - a) q^0 inside each cluster of k-means, with w the softmax of
    -|x_u - x_v|_2 / tau without the diagonal. The `keep` largest entries of each row are kept and
    rescaled to sum to 1. In clusters with more than `SMALL` examples, the fixed point is used in
    place of `rounds` if a^rounds <= `SAME`: no entry differs by more than a^rounds, and the entries
    of a row together by at most 2 a^rounds. Rounding in float32 adds at most 1e-6.

    With `neighbours`, and in clusters whose tables would need more than `limits.cluster`, each
    example uses only its nearest neighbours (64 if `neighbours` is None), and rows are cut to
    `keep` entries after every round without rescaling. Each entry is then at most what it would be
    without these cuts, and `mass_kept` is the probability that is left. It does not include what w
    loses by the restriction to neighbours. In clusters with more than `limits.exact_search`
    examples the neighbours are approximate.

    Args:
        vectors: (E, D) floats, the base model's vectors of the contexts. A memory map is read
            cluster by cluster, after k-means has read all of it.
        labels: (E,) integers, the label of each example.
        clusters: of k-means with the Euclidean distance; at most E.
        tau: temperature, in units of the distance between vectors.
        damping: the paper's a, in [0, 1); 0 leaves the labels unchanged.
        rounds: T, or None for the fixed point.
        keep: labels kept for each example.
        neighbours: m, or None for all examples of the cluster.
        seed: of k-means.
        progress: whether to show a bar of the clusters.

    Raises:
        ValueError: if an argument is out of range, or shapes or kinds do not fit.
        DataError: if a vector has NaN or infinite numbers.

    Example:
        >>> vectors = np.array([[0.0], [0.1], [9.0]], dtype=np.float32)
        >>> propagate(vectors, np.array([4, 5, 6]), clusters=2).items.tolist()
        [[4, 5], [5, 4], [6, 6]]

    Source: Zhang et al., "Learning Recommender Systems with Soft Target: A Decoupled
    Perspective", DASFAA 2024; with the details of its code (a = 1/2, T = 20, 16 clusters, tau
    0.25 to 2). The code leaves out the example itself by setting its distance to 60; here it is
    left out exactly.
    """
    diffusion = Diffusion(tau, damping, rounds, keep, neighbours)
    _check(vectors, labels, clusters, diffusion)
    vectors = np.asarray(vectors, dtype=np.float32)
    of_row = assign_clusters(vectors, clusters, seed)
    members = members_of(of_row)
    width = min(keep, max(len(np.unique(labels[rows])) for rows in members))
    items = np.empty((len(labels), width), dtype=np.int32)
    probs = np.zeros((len(labels), width), dtype=np.float32)
    label_prob, mass, n_sparse = 0.0, 0.0, 0
    for rows in track(members, "Propagating labels", disable=not progress):
        found = propagate_cluster(vectors[rows], labels[rows], diffusion)
        kept = found.probs.sum(1, dtype=np.float64)
        mass += float(kept.sum())
        label_prob += float(found.label_prob.sum(dtype=np.float64))
        n_sparse += found.sparse
        here = slice(0, found.items.shape[1])
        for some in row_blocks(len(rows), width):
            at, own = rows[some], labels[rows[some], None]
            items[at] = own
            items[at, here] = np.where(found.probs[some] > 0, found.items[some], own)
            probs[at, here] = found.probs[some] / kept[some, None]
    return PropagatedLabels(
        items, probs, label_prob / len(labels), mass / len(labels), len(members), n_sparse
    )


def _check(vectors: np.ndarray, labels: np.ndarray, clusters: int, diffusion: Diffusion) -> None:
    if vectors.ndim != 2 or labels.shape != vectors.shape[:1] or not vectors.size:
        raise ValueError(
            "vectors must have the shape (E, D) and labels (E,) with E, D >= 1; got "
            f"{vectors.shape} and {labels.shape}"
        )
    if not np.issubdtype(vectors.dtype, np.floating):
        raise ValueError(f"vectors must be floats, got {vectors.dtype}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, the numbers of items, got {labels.dtype}")
    if labels.min() < 0 or labels.max() >= 2**31:
        raise ValueError(
            f"labels must be the numbers of items, 0 .. 2^31 - 1; got {labels.min()} to "
            f"{labels.max()}"
        )
    if clusters < 1:
        raise ValueError(f"clusters must be at least 1, got {clusters}")
    diffusion.check()
    for rows in row_blocks(*vectors.shape):
        finite = np.isfinite(vectors[rows]).all(1)
        if not finite.all():
            row = rows.start + int(np.argmin(finite))
            raise DataError(
                f"vector {row} is not finite; check whether the training of the base model diverged"
            )
