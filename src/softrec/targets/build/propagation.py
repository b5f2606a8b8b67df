r"""DesoRec's interest sharing: labels spread among training examples that look alike.

Let x_u be the vector of example u (the user vector of a trained base model) and y_u its label.
Inside each cluster of examples

    w_uv     = softmax over v != u of (-|x_u - x_v|_2 / tau)     who resembles whom
    q^0_u    = e_{y_u}                                           one-hot labels
    q^{t+1}  = a w q^t + (1 - a) q^0                             `rounds` times

w is known by n x n numbers, q by n x L, where L counts the labels that occur in the cluster. The
fixed point (1 - a) (I - a w)^{-1} q^0 is one linear solve, for the price of a few rounds. It is
well-conditioned: (1 + a) / (1 - a) at most, which is 3 for a = 1/2. Since a w shrinks every
difference by a, no share of q^T is further from it than a^T.

Three ways, from exact to cheap:

    iteration    exact for every number of rounds; small clusters
    solve        the fixed point; also stands in for T rounds where a^T <= 1e-6
    neighbours   w cut to the m nearest, q to the `keep` largest shares after each round; memory
                 and time are linear in the number of examples
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import torch
from rich.progress import track
from scipy.sparse import csr_array
from torch import Tensor

from softrec.errors import DataError

SAME = 1e-6  # a^T from which on the fixed point stands in for T rounds; T = 20 for a = 1/2
SMALL = 512  # up to this many examples the rounds that were asked for are computed as they are
ROUNDING = 2.0**-24  # a^T from which on float32 does not see a further round
# The most that the tables of one cluster may take, about 11,500 examples; 2.5 times that where
# weights are so unlike that they ask for double precision.
DENSE_BYTES = 2**31
NEIGHBOURS = 64  # kept for each example of a cluster that is too large for tables
EXACT_SEARCH = 100_000  # the largest cluster in which every pair is compared to find neighbours
CELLS = 2**20  # numbers of a block of rows, so that blocks stay small beside the tables
KMEANS_ROUNDS = 100


@dataclass(frozen=True)
class PropagatedLabels:
    """The soft labels of E examples, k of them each, largest first.

    Example:
        >>> vectors = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
        >>> soft = propagate(vectors, np.array([7, 7, 9]), clusters=1, tau=0.5)
        >>> soft.items.tolist()
        [[7, 9], [7, 9], [9, 7]]
        >>> soft.shares.round(4).tolist()  # doctest: +NUMBER
        [[0.9746, 0.0254], [0.9578, 0.0422], [0.5201, 0.4799]]
    """

    items: np.ndarray  # (E, k) int32; rows with fewer labels are filled up with their own
    shares: np.ndarray  # (E, k) float32; rows sum to 1, the places filled up hold 0
    mean_label_prob: float  # mean of q_y before the cut to k; with neighbours a lower bound
    mass_kept: float  # mean of what the k labels held before the cut; likewise
    clusters: int  # that hold examples
    sparse_clusters: int  # of them, those in which only the nearest neighbours were used

    @property
    def about(self) -> dict[str, Any]:
        """Return the numbers beside the labels."""
        return {name: getattr(self, name) for name in _PLAIN}

    def save(self, path: Path) -> None:
        """Write the files that `load` reads into the folder `path`, which is made if need be."""
        path.mkdir(parents=True, exist_ok=True)
        np.save(path / _ITEMS, self.items)
        np.save(path / _SHARES, self.shares)
        (path / _FACTS).write_text(json.dumps(self.about, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> PropagatedLabels:
        """Return what `save` wrote; items and shares are memory maps, read as they are needed.

        Raises:
            DataError: if `path` is missing or broken.
        """
        try:
            facts = json.loads((path / _FACTS).read_text(encoding="utf-8"))
            items = np.load(path / _ITEMS, mmap_mode="r")
            shares = np.load(path / _SHARES, mmap_mode="r")
            plain: dict[str, Any] = {name: facts[name] for name in _PLAIN}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} holds no propagated labels that can be read ({error}); make them again"
            ) from error
        if items.shape != shares.shape:
            raise DataError(
                f"{path} is broken: items are {items.shape}, shares {shares.shape}; "
                "make the labels again"
            )
        return cls(items, shares, **plain)


_ITEMS, _SHARES, _FACTS = "items.npy", "shares.npy", "propagation.json"
_PLAIN = ("mean_label_prob", "mass_kept", "clusters", "sparse_clusters")


class ClusterLabels(NamedTuple):
    """The soft labels of the n examples of one cluster."""

    items: np.ndarray  # (n, k) int32, k <= keep
    shares: np.ndarray  # (n, k) float32, largest first, as they are: what was cut off is missing
    label_prob: np.ndarray  # (n,) q_y
    sparse: bool  # whether only the nearest neighbours were used


class Diffusion(NamedTuple):
    """How labels spread inside a cluster."""

    tau: float = 2.0  # the unit of the distances
    damping: float = 0.5  # a, the part of each round that comes from others
    rounds: int | None = 20  # None: until nothing changes any more
    keep: int = 300  # labels kept for each example
    neighbours: int | None = None  # None: everybody, where the tables fit into memory


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
    """Return the label of each example, mixed with the labels of examples that resemble it.

    Formula: q^{t+1} = a w q^t + (1 - a) q^0 inside each cluster of k-means, w the softmax of
    -|x_u - x_v|_2 / tau without the diagonal. The `keep` largest shares of each row are kept and
    scaled to sum to 1. In clusters of more than `SMALL` examples the fixed point stands in for
    `rounds` where a^rounds <= `SAME`: no share differs by more than a^rounds, no row by more
    than 2 a^rounds in all. Rounding in float32 adds up to 1e-6.

    With `neighbours`, and in clusters whose tables would take more than `DENSE_BYTES`, each
    example looks at its nearest neighbours only (64 unless told), and rows are cut to `keep`
    shares after every round without scaling. Each share is then at most what it would be without
    these cuts, and `mass_kept` tells how much they took. What w loses beyond the neighbours is
    not in it. In clusters of more than `EXACT_SEARCH` examples the neighbours are approximate.

    Args:
        vectors: (E, D) floats, what the base model computes from each example's context; a
            memory map is read cluster by cluster, after k-means has read all of it.
        labels: (E,) integers, the item of each example.
        clusters: of k-means with the Euclidean distance; at most E are made.
        tau: temperature, in units of the distance between vectors.
        damping: the paper's a, in [0, 1); 0 leaves the labels as they are.
        rounds: T, or None for the fixed point.
        keep: labels kept for each example.
        neighbours: m, or None for everybody in the cluster.
        seed: of k-means.
        progress: whether to show a bar of the clusters.

    Raises:
        ValueError: if an argument is out of range, or shapes or kinds do not fit.
        DataError: if a vector holds NaN or infinity.

    Example:
        >>> vectors = np.array([[0.0], [0.1], [9.0]], dtype=np.float32)
        >>> propagate(vectors, np.array([4, 5, 6]), clusters=2).items.tolist()
        [[4, 5], [5, 4], [6, 6]]

    Source: Zhang et al., "Learning Recommender Systems with Soft Target: A Decoupled
    Perspective", DASFAA 2024; with the details of its code (a = 1/2, T = 20, 16 clusters, tau
    0.25 to 2). There the example itself is left out by a distance of 60; here it is left out.
    """
    diffusion = Diffusion(tau, damping, rounds, keep, neighbours)
    _check(vectors, labels, clusters, diffusion)
    vectors = np.asarray(vectors, dtype=np.float32)
    of_row = assign_clusters(vectors, clusters, seed)
    members = _members(of_row)
    width = min(keep, max(len(np.unique(labels[rows])) for rows in members))
    items = np.empty((len(labels), width), dtype=np.int32)
    shares = np.zeros((len(labels), width), dtype=np.float32)
    label_prob, mass, n_sparse = 0.0, 0.0, 0
    for rows in track(members, "Propagating labels", disable=not progress):
        found = propagate_cluster(vectors[rows], labels[rows], diffusion)
        kept = found.shares.sum(1, dtype=np.float64)
        mass += float(kept.sum())
        label_prob += float(found.label_prob.sum(dtype=np.float64))
        n_sparse += found.sparse
        here = slice(0, found.items.shape[1])
        for some in _blocks(len(rows), width):
            at, own = rows[some], labels[rows[some], None]
            items[at] = own
            items[at, here] = np.where(found.shares[some] > 0, found.items[some], own)
            shares[at, here] = found.shares[some] / kept[some, None]
    return PropagatedLabels(
        items, shares, label_prob / len(labels), mass / len(labels), len(members), n_sparse
    )


def propagate_cluster(
    vectors: np.ndarray, labels: np.ndarray, diffusion: Diffusion
) -> ClusterLabels:
    """Return the soft labels inside one cluster, not scaled after the cut to `keep`.

    Args:
        vectors: (n, D) float32.
        labels: (n,) integers, 0 .. 2^31 - 1.
        diffusion: how labels spread.

    Example:
        >>> vectors = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
        >>> soft = propagate_cluster(vectors, np.array([7, 7, 9]), Diffusion(tau=0.5))
        >>> soft.label_prob.round(4).tolist()  # doctest: +NUMBER
        [0.9746, 0.9578, 0.5201]
    """
    names, columns = np.unique(labels.astype(np.int32), return_inverse=True)
    n, n_labels = len(labels), len(names)
    still = diffusion.damping == 0 or diffusion.rounds == 0 or n_labels == 1
    if still:  # every mean of equal labels is that label
        return ClusterLabels(names[columns, None], np.ones((n, 1), "f4"), np.ones(n, "f4"), False)
    sparse = diffusion.neighbours is not None or 8 * n * (n + n_labels) > DENSE_BYTES
    if sparse:
        m = min(diffusion.neighbours or NEIGHBOURS, n - 1)
        near, weights = nearest_transition(vectors, diffusion.tau, m)
        kept, shares, label_prob = _spread_rows(near, weights, columns, n_labels, diffusion)
    else:
        w = transition(vectors, diffusion.tau)
        q = spread_labels(w, columns, n_labels, diffusion.damping, diffusion.rounds)
        kept, shares, label_prob = _cut_rows(q, columns, diffusion.keep)
    return ClusterLabels(names[kept], shares, label_prob, sparse)


def assign_clusters(vectors: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Return the cluster of each of the E vectors, by k-means on all of them.

    Centres start at random vectors; `KMEANS_ROUNDS` rounds are more than Lloyd's algorithm mostly
    needs, and rounds after the last change do nothing. A centre that loses all its vectors takes
    half of a large cluster (FAISS), where the paper's code leaves it empty.
    """
    clusters = min(clusters, len(vectors))
    if clusters == 1:
        return np.zeros(len(vectors), dtype=np.int64)
    means = faiss.Kmeans(
        vectors.shape[1],
        clusters,
        niter=KMEANS_ROUNDS,
        seed=seed,
        min_points_per_centroid=1,  # no words about small data
        max_points_per_centroid=2**31 - 1,  # and no sample of large data
    )
    means.train(vectors)
    _, nearest = means.assign(vectors)
    return nearest


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
    for rows in _blocks(n, n):
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
    for _ in range(_rounds(rounds, damping)):
        q = torch.addmm(first, w, q, alpha=damping)
    return q


def _rounds(rounds: int | None, damping: float) -> int:
    """Return how many rounds change anything."""
    enough = math.ceil(math.log(ROUNDING) / math.log(damping))
    return enough if rounds is None else min(rounds, enough)


def _cut_rows(
    q: Tensor, columns: np.ndarray, keep: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the columns and shares of the largest of each row, and the label's own share."""
    n, n_labels = q.shape
    width = min(keep, n_labels)
    kept, shares = torch.empty(n, width, dtype=torch.int64), torch.empty(n, width)
    for rows in _blocks(n, n_labels):
        torch.topk(q[rows].contiguous(), width, out=(shares[rows], kept[rows]))
    label_prob = q[torch.arange(n), torch.from_numpy(columns)]
    return kept.numpy(), shares.numpy(), label_prob.numpy()


def nearest_transition(
    vectors: np.ndarray, tau: float, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the m nearest others of each example, (n, m) int32, and their weights, rows sum to 1.

    Exact up to `EXACT_SEARCH` examples. Beyond, an inverted file with about 4 sqrt(n) lists, 16 of
    which are searched. Distances are computed anew from differences, for products lose the small.
    """
    n, dim = vectors.shape
    if n > EXACT_SEARCH:
        lists = int(4 * n**0.5)
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dim), dim, lists)
        index.cp.min_points_per_centroid = 1
        index.train(vectors[:: max(1, n // (64 * lists))])  # pyright: ignore[reportCallIssue]
        index.nprobe = 16
    else:
        index = faiss.IndexFlatL2(dim)
    index.add(vectors)  # pyright: ignore[reportCallIssue]
    near = np.empty((n, neighbours), dtype=np.int32)
    weights = np.empty((n, neighbours), dtype=np.float32)
    for rows in _blocks(n, neighbours * dim):
        x = vectors[rows]
        _, found = index.search(x, neighbours + 1)  # pyright: ignore[reportCallIssue]
        selves = np.arange(rows.start, rows.stop)[:, None]
        # The example itself goes last and off; where its doubles crowd it out, the last one goes.
        order = np.argsort(found == selves, axis=1, kind="stable")[:, :neighbours]
        others = np.take_along_axis(found, order, axis=1)
        distance = np.linalg.norm(vectors[others] - x[:, None], axis=2).astype(np.float64)
        distance[others < 0] = np.inf  # the lists searched held too few
        alone = np.isinf(distance).all(1)
        others[alone, 0], distance[alone, 0] = selves[alone, 0], 0
        near[rows] = np.where(others < 0, selves, others)
        distance -= distance.min(1, keepdims=True)
        part = np.exp(distance / -tau)
        weights[rows] = part / part.sum(1, keepdims=True)
    return near, weights


def _spread_rows(
    near: np.ndarray, weights: np.ndarray, columns: np.ndarray, n_labels: int, diffusion: Diffusion
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the columns and shares of the largest of each row, and the label's own share.

    One round is one product of sparse matrices, [a w | (1 - a) E] [q; I], where E holds the
    labels: the restart is a further neighbour that is sure of its label.
    """
    n, m = near.shape
    a = diffusion.damping
    step = csr_array(
        (
            np.concatenate([a * weights, np.full((n, 1), 1 - a)], 1, dtype=np.float32).ravel(),
            np.concatenate([near, n + columns[:, None]], 1, dtype=np.int32).ravel(),
            np.arange(0, n * (m + 1) + 1, m + 1),
        ),
        shape=(n, n + n_labels),
    )
    state = _Rows(n, 1, n_labels)
    state.kept[:, 0], state.shares[:, 0] = columns, 1
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for _ in range(_rounds(diffusion.rounds, a)):
            reach = min(n_labels, m * state.width + 1)
            fresh = _Rows(n, min(diffusion.keep, reach), n_labels)
            table = state.table()

            def work(rows: slice, table: csr_array = table, fresh: _Rows = fresh) -> None:
                fresh.fill(rows, step[rows] @ table)

            list(threads.map(work, _blocks(n, reach)))
            state = fresh
    label_prob = np.empty(n, dtype=np.float32)
    for rows in _blocks(n, state.width):
        own = state.kept[rows] == columns[rows, None]
        label_prob[rows] = (state.shares[rows] * own).sum(1)
    return state.kept, state.shares, label_prob


class _Rows:
    """k columns and shares for each of n rows, above the identity, laid out as one CSR matrix."""

    def __init__(self, n: int, width: int, n_labels: int) -> None:
        self.width, self.n_labels = width, n_labels
        cells = n * width
        self._indices = np.empty(cells + n_labels, dtype=np.int32)
        self._data = np.empty(cells + n_labels, dtype=np.float32)
        self._indices[cells:], self._data[cells:] = np.arange(n_labels), 1
        self.kept = self._indices[:cells].reshape(n, width)
        self.shares = self._data[:cells].reshape(n, width)

    def table(self) -> csr_array:
        n = len(self.kept)
        cells = n * self.width
        starts = [np.arange(0, cells, self.width), np.arange(cells, cells + self.n_labels + 1)]
        return csr_array(
            (self._data, self._indices, np.concatenate(starts)),
            shape=(n + self.n_labels, self.n_labels),
        )

    def fill(self, rows: slice, product: csr_array) -> None:
        """Store the largest shares of some rows, largest first."""
        counts = np.diff(product.indptr)
        widest = int(counts.max())
        there = np.arange(widest) < counts[:, None]
        shares = np.zeros(there.shape, dtype=np.float32)
        kept = np.zeros(there.shape, dtype=np.int32)
        shares[there], kept[there] = product.data, product.indices
        width = min(self.width, widest)
        best, places = torch.topk(torch.from_numpy(shares), width)
        self.shares[rows, :width] = best.numpy()
        self.kept[rows, :width] = np.take_along_axis(kept, places.numpy(), axis=1)
        self.shares[rows, width:], self.kept[rows, width:] = 0, 0


def _blocks(n: int, width: int) -> Iterator[slice]:
    """Yield slices of n rows that hold about `CELLS` numbers, where a row holds `width`."""
    size = max(1, CELLS // width)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _members(of_row: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each cluster that has any, in the order of the examples."""
    order = np.argsort(of_row, kind="stable")
    sizes = np.bincount(of_row[order])
    return [rows for rows in np.split(order, np.cumsum(sizes)[:-1]) if len(rows)]


def _check(vectors: np.ndarray, labels: np.ndarray, clusters: int, diffusion: Diffusion) -> None:
    if vectors.ndim != 2 or labels.shape != vectors.shape[:1] or not vectors.size:
        raise ValueError(
            "vectors must be (E, D) and labels (E,) with E, D >= 1; "
            f"got {vectors.shape} and {labels.shape}"
        )
    if not np.issubdtype(vectors.dtype, np.floating):
        raise ValueError(f"vectors must be floats, not {vectors.dtype}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, the numbers of items, not {labels.dtype}")
    if labels.min() < 0 or labels.max() >= 2**31:
        raise ValueError("labels must be the numbers of items, 0 .. 2^31 - 1; "
                         f"they go from {labels.min()} to {labels.max()}")  # fmt: skip
    if clusters < 1:
        raise ValueError(f"clusters must be at least 1, not {clusters}")
    if not 0 < diffusion.tau < math.inf:
        raise ValueError(f"tau must be positive and finite, not {diffusion.tau}")
    if not 0 <= diffusion.damping < 1:
        raise ValueError(f"damping must be in [0, 1), not {diffusion.damping}")
    if diffusion.rounds is not None and diffusion.rounds < 0:
        raise ValueError(f"rounds must be at least 0, or None, not {diffusion.rounds}")
    if diffusion.keep < 1:
        raise ValueError(f"keep must be at least 1, not {diffusion.keep}")
    if diffusion.neighbours is not None and diffusion.neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, or None, not {diffusion.neighbours}")
    for rows in _blocks(*vectors.shape):
        finite = np.isfinite(vectors[rows]).all(1)
        if not finite.all():
            row = rows.start + int(np.argmin(finite))
            raise DataError(
                f"vector {row} is not finite; did the training of the base model diverge?"
            )
