"""The nearest training contexts of every training context: the neighbour lists of CSN.

A context is a history for which training makes a prediction, without the label. It is represented
by the mean of its items' vectors, and contexts are compared by the cosine. Both steps work on
blocks of contexts, so that little is in memory besides the (E, D) vectors, which may be a memory
map.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from softrec.blocks import blocks
from softrec.errors import DataError
from softrec.extras import require
from softrec.limits import LIMITS

PER_LIST = 40  # rows per list that k-means is trained on; FAISS wants at least 39


def context_means(
    items: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    vectors: np.ndarray,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Return the mean vector of each history, (E, D) float32; 0 for an empty history.

    Formula: row e is the mean of vectors[i] over i in items[start[e]:stop[e]], computed as the
    difference of two cumulative sums in float64. Histories may overlap, and common parts are added
    only once. It needs (block + longest history) x D numbers at a time.

    Args:
        items: the sequences one after the other, (total,) item numbers.
        start: the start of each history in `items`, (E,).
        stop: its end, without the label, (E,); see `softrec.data.batches.Examples`.
        vectors: the item vectors, (N, D).
        out: an array for the means, (E, D), for instance a memory map; None makes an array.

    Raises:
        ValueError: if shapes or numbers do not fit together.

    Example:
        >>> histories = np.array([0, 0]), np.array([1, 2])
        >>> context_means(np.array([1, 0, 2]), *histories, np.eye(3)).tolist()
        [[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]

    Source: Cheng et al., "Learning Recommender Systems with Implicit Feedback via Soft Target
    Enhancement", SIGIR 2021, section 3.2.2.
    """
    shape = len(start), vectors.shape[1]
    means = np.empty(shape, dtype=np.float32) if out is None else out
    if means.shape != shape:
        raise ValueError(f"out must have the shape {shape}, got {means.shape}")
    _check_histories(items, start, stop, len(vectors))
    for chosen in _near_each_other(start):
        first, last = start[chosen[0]], stop[chosen].max()
        sums = np.zeros((last - first + 1, shape[1]))
        np.cumsum(vectors[items[first:last]], axis=0, dtype=np.float64, out=sums[1:])
        total = sums[stop[chosen] - first] - sums[start[chosen] - first]
        means[chosen] = total / np.maximum(stop[chosen] - start[chosen], 1)[:, None]
    return means


def nearest(
    vectors: np.ndarray,
    k: int = 10,
    *,
    owner: np.ndarray | None = None,
    approximate: bool | None = None,
    probes: int = 32,
    seed: int = 0,
    progress: bool = False,
) -> np.ndarray:
    """Return the k rows with the largest cosine to each row, (E, k) int32.

    A row is not its own neighbour. With `owner`, no row of the same owner is a neighbour: two
    histories of one user overlap, and the longer one may contain the label of the shorter one.

    Each list starts with the nearest row and always has k entries:

    - If there are fewer rows of other owners, or the search finds fewer, they are repeated. If
      there are none, a row is its own neighbour.
    - A zero row has no direction. It is a neighbour of no other row, and its only neighbour is
      itself. With such a target, a context is trained on its own prediction, which changes only the
      length of the gradient.
    - Equal rows are neighbours of each other. If there are more than k + 1 equal rows, FAISS
      decides which ones are listed.

    The approximate search stores half-precision copies of the rows in an inverted file with about
    4 sqrt(E) lists and searches the `probes` nearest lists. Only the exact search needs a second
    copy of `vectors` in single precision.

    Args:
        vectors: (E, D), of any length, in memory or memory-mapped.
        k: the number of neighbours of a row.
        owner: (E,) integers, the owner of each row, such as the user; None if there are no owners.
        approximate: whether to search approximately; by default from 100,000 rows on.
        probes: how many lists are searched; with more lists, more of the true neighbours are found,
            and the search takes longer.
        seed: of the sample of rows from which the lists are learned.
        progress: whether to show a progress bar.

    Raises:
        ValueError: if a row is not finite, or an argument is out of range.

    Example:
        >>> vectors = np.array([[1.0, 0.0], [3.0, 1.0], [0.0, 1.0]])
        >>> nearest(vectors, 1).tolist()
        [[1], [0], [1]]
        >>> nearest(vectors, 1, owner=np.array([7, 7, 8])).tolist()
        [[2], [2], [1]]

    Source: Johnson, Douze & Jegou, "Billion-scale similarity search with GPUs", IEEE Transactions
    on Big Data 2021 (FAISS), as in Cheng et al., SIGIR 2021, section 3.2.2.
    """
    _check_search(vectors, k, probes, owner)
    owner = np.arange(len(vectors)) if owner is None else owner
    lists = np.repeat(np.arange(len(vectors), dtype=np.int32)[:, None], k, axis=1)
    known = _with_direction(vectors)
    if len(known) < 2:
        return lists
    if approximate is None:
        approximate = len(known) > LIMITS.exact_search
    if approximate:
        index = _inverted_file(vectors, known, probes, seed)
    else:
        index = _faiss().IndexFlatIP(vectors.shape[1])
    for rows in _blocks(known):
        index.add(_unit(vectors[rows]))
    owner = owner[known]
    _, inverse, size = np.unique(owner, return_inverse=True, return_counts=True)
    enough = np.minimum(
        k + size[inverse], len(known)
    )  # so many hits contain k rows of other owners
    own = np.arange(len(known))
    parts = list(zip(_blocks(known), _blocks(own), strict=True))
    for rows, numbers in track(parts, description="neighbours", disable=not progress):
        lists[rows] = known[_searched(index, _unit(vectors[rows]), numbers, owner, enough, k)]
    return lists


def save(neighbours: np.ndarray, path: Path | str) -> None:
    """Write neighbour lists (E, k) as a .npy file that `load` maps into memory."""
    with Path(path).open("wb") as file:
        np.save(file, neighbours.astype(np.int32, copy=False), allow_pickle=False)


def load(path: Path | str) -> np.ndarray:
    """Return neighbour lists (E, k) int32 from a file of `save`, as a memory map.

    Raises:
        DataError: if there is no such file, or if it contains something else.
    """
    remedy = "compute the neighbour lists again"
    try:
        neighbours = np.lib.format.open_memmap(path, mode="r")  # of an archive nothing stays open
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as neighbour lists ({error}); {remedy}") from error
    found = getattr(neighbours, "shape", None), getattr(neighbours, "dtype", None)
    if found[0] is None or len(found[0]) != 2 or found[1] != np.int32:
        raise DataError(
            f"{path} must contain neighbour lists, an (E, k) array of int32, but it contains an "
            f"array of shape {found[0]} and type {found[1]}; {remedy}"
        )
    return neighbours


def _check_histories(items: np.ndarray, start: np.ndarray, stop: np.ndarray, n_items: int) -> None:
    if start.shape != stop.shape:
        raise ValueError(
            f"start and stop must have the same shape, got {start.shape} and {stop.shape}"
        )
    if len(start) and not (start.min() >= 0 and stop.max() <= len(items) and (start <= stop).all()):
        raise ValueError(f"histories need 0 <= start <= stop <= {len(items)}, the number of items")
    if len(items) and not 0 <= items.min() <= items.max() < n_items:
        raise ValueError(
            f"there are vectors of items 0 to {n_items - 1}, but the histories have items "
            f"{items.min()} to {items.max()}"
        )


def _check_search(vectors: np.ndarray, k: int, probes: int, owner: np.ndarray | None) -> None:
    for name, number in (("k", k), ("probes", probes)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    if vectors.ndim != 2:
        raise ValueError(f"vectors must have the shape (E, D), got {vectors.shape}")
    if owner is not None and owner.shape != vectors.shape[:1]:
        raise ValueError(f"owner must have the shape ({len(vectors)},), got {owner.shape}")


def _near_each_other(start: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the numbers of all histories, in blocks starting within `limits.contexts` items."""
    order = np.argsort(start, kind="stable")
    begins = start[order]
    done = 0
    while done < len(order):
        reach = int(np.searchsorted(begins, begins[done] + LIMITS.contexts))
        upto = min(done + LIMITS.contexts, reach)
        yield order[done:upto]
        done = upto


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[some] for some in blocks(len(rows), LIMITS.contexts))


def _with_direction(vectors: np.ndarray) -> np.ndarray:
    """Return the numbers of the rows that are not zero."""
    kept = [np.empty(0, dtype=np.int64)]
    for rows in _blocks(np.arange(len(vectors))):
        block = vectors[rows[0] : rows[-1] + 1]
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            raise ValueError(f"row {rows[~finite][0]} of the vectors is not finite")
        kept.append(rows[block.any(axis=1)])
    return np.concatenate(kept)


def _unit(block: np.ndarray) -> np.ndarray:
    """Return the rows with length 1; divided by their largest number first, to avoid overflow."""
    scaled = block / np.abs(block).max(axis=1, keepdims=True)
    return (scaled / np.linalg.norm(scaled, axis=1, keepdims=True)).astype(np.float32)


def _faiss() -> Any:
    return require("faiss", "the search for neighbours")


def _inverted_file(vectors: np.ndarray, known: np.ndarray, probes: int, seed: int) -> Any:
    """Return an empty index whose lists are learned from a sample of the rows."""
    faiss, dim = _faiss(), vectors.shape[1]
    n_lists = max(min(round(4 * len(known) ** 0.5), len(known) // PER_LIST), 1)
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim),
        dim,
        n_lists,
        faiss.ScalarQuantizer.QT_fp16,
        faiss.METRIC_INNER_PRODUCT,
        False,  # store the rows themselves, not their difference from the centre of the list
    )
    index.cp.seed = seed
    index.nprobe = min(probes, n_lists)
    size = min(n_lists * PER_LIST, len(known))
    drawn = np.random.default_rng(seed).choice(known, size, replace=False, shuffle=False)
    sample = np.empty((size, dim), dtype=np.float32)
    for places, rows in zip(_blocks(np.arange(size)), _blocks(np.sort(drawn)), strict=True):
        sample[places] = _unit(vectors[rows])
    index.train(sample)
    return index


def _searched(
    index: Any, rows: np.ndarray, own: np.ndarray, owner: np.ndarray, enough: np.ndarray, k: int
) -> np.ndarray:
    """Return k hits of other owners for each of `rows`, (b, k); `own` are the rows' numbers.

    Only for the few rows that are near many rows of their own owner are more hits requested.
    """
    lists = np.empty((len(own), k), dtype=np.int64)
    open_ = np.arange(len(own))
    asked = k + 1
    while len(open_):
        upto = min(asked, int(enough[own[open_]].max()))
        unfinished = [np.empty(0, dtype=np.int64)]
        for some in np.array_split(open_, -(-len(open_) * upto // LIMITS.hits)):
            _, hits = index.search(rows[some], upto)
            other = (hits >= 0) & (owner[hits] != owner[own[some], None])
            short = (other.sum(1) < k) & (hits[:, -1] >= 0) & (enough[own[some]] > upto)
            unfinished.append(some[short])
            lists[some] = first_hits(hits, other, own[some], k)
        open_, asked = np.concatenate(unfinished), 2 * asked
    return lists


def first_hits(hits: np.ndarray, other: np.ndarray, own: np.ndarray, k: int) -> np.ndarray:
    """Return the first k hits of each row that are of other owners, (b, k).

    If there are fewer, they are repeated in turn; if there are none, it is the row itself.

    Args:
        hits: (b, m) the numbers of the rows found, the nearest first; -1 for none.
        other: (b, m) whether a hit is a row of another owner; False for none.
        own: (b,) the numbers of the rows themselves.
        k: the number of neighbours of a row.

    Example:
        >>> hits = np.array([[4, 7, 9], [1, 5, -1], [2, -1, -1]])
        >>> own = np.array([4, 1, 2])
        >>> first_hits(hits, (hits >= 0) & (hits != own[:, None]), own, 2).tolist()
        [[7, 9], [5, 5], [2, 2]]
    """
    order = np.argsort(~other, axis=1, kind="stable")
    found = other.sum(axis=1, keepdims=True)
    turns = np.arange(k) % np.maximum(found, 1)
    taken = np.take_along_axis(hits, np.take_along_axis(order, turns, axis=1), axis=1)
    return np.where(found > 0, taken, own[:, None])
