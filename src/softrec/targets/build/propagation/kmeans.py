"""The clusters of examples inside which labels are propagated."""

from __future__ import annotations

import numpy as np

from softrec.extras import require

KMEANS_ROUNDS = 100


def assign_clusters(vectors: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Return the cluster of each of the E vectors, by k-means on all of them.

    The initial centres are random vectors. Lloyd's algorithm mostly needs fewer than
    `KMEANS_ROUNDS` rounds, and rounds after the last change have no effect. A centre that loses all
    its vectors takes half of a large cluster (FAISS); the code of the paper leaves it empty.
    """
    clusters = min(clusters, len(vectors))
    if clusters == 1:
        return np.zeros(len(vectors), dtype=np.int64)
    means = require("faiss", "k-means").Kmeans(
        vectors.shape[1],
        clusters,
        niter=KMEANS_ROUNDS,
        seed=seed,
        min_points_per_centroid=1,  # no warning about small data
        max_points_per_centroid=2**31 - 1,  # no sampling of large data
    )
    means.train(vectors)
    _, nearest = means.assign(vectors)
    return nearest


def members_of(of_row: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each non-empty cluster, in the order of the examples."""
    order = np.argsort(of_row, kind="stable")
    sizes = np.bincount(of_row[order])
    return [rows for rows in np.split(order, np.cumsum(sizes)[:-1]) if len(rows)]
