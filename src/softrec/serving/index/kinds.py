r"""Indices of FAISS and USearch for inner products with a bias.

**The bias.** With items (w, b) and users (u, 1), one number wider, the inner product is the score:
(u, 1) . (w, b) = u . w + b. Several vectors of a user are several questions, whose answers are put
together, because the best items of all are among the best of each.

**Distances.** Clusters (IVF) and graphs (HNSW, USearch) are made of what is near, and a long vector
has large inner products with everything. With items x = (w, b), the largest length M, and one
number more, (x, \sqrt{M^2 - |x|^2}), all items have the length M, and

$$|(u, 1, 0) - (x, \sqrt{M^2 - |x|^2})|^2 = |u|^2 + 1 + M^2 - 2 (u . w + b)$$

so that the nearest items are those with the highest scores (Bachrach et al., RecSys 2014). With
the vectors of trained models a graph finds several times as much as with inner products
(docs/serving.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from softrec.extras import has, optional, require
from softrec.serving.exact import ItemScores

if TYPE_CHECKING:
    import faiss
else:
    faiss = optional("faiss", "an index of FAISS")

POINTS = 39
"""Items per cell of IVF, at least; with fewer, FAISS says, a clustering is poor."""


class Index(ABC):
    """An index of all items. A search can be called by several threads.

    Attributes:
        kind: its name.
        file: the name of its file in an export.
        package: what it needs.
        efforts: of a search, from fast to thorough; what is counted depends on the kind.
        effort: of the searches of this index.
    """

    kind: ClassVar[str]
    file: ClassVar[str]
    package: ClassVar[str]
    efforts: ClassVar[tuple[int, ...]]

    def __init__(self, found: Any, effort: int | None = None) -> None:
        self.found = found
        self.set_effort(self.efforts[1] if effort is None else effort)

    @classmethod
    @abstractmethod
    def build(cls, items: ItemScores) -> Index:
        """Return an index of the items."""

    @abstractmethod
    def search(self, users: np.ndarray, k: int) -> np.ndarray:
        """Return about the k best items of each vector (F, D), (F, k) int64; -1 for none."""

    @abstractmethod
    def set_effort(self, effort: int) -> None:
        """Set how much is looked at in a search."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the index to a file."""

    @classmethod
    @abstractmethod
    def read(cls, path: Path, effort: int) -> Index:
        """Return the index of a file."""

    @abstractmethod
    def settings(self) -> dict[str, int]:
        """Return with what it was built."""


def with_bias(items: ItemScores) -> np.ndarray:
    """Return item vectors (N, D + 1) with the bias as one more number; 0 if there is none."""
    bias = np.zeros(len(items), np.float32) if items.bias is None else items.bias
    return np.ascontiguousarray(np.hstack([items.vectors, bias[:, None]]), dtype=np.float32)


def of_one_length(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (N, D + 1) of the same length, by one more number."""
    squares = np.square(vectors, dtype=np.float64).sum(1)
    last = np.sqrt(np.maximum(squares.max() - squares, 0)).astype(np.float32)
    return np.hstack([vectors, last[:, None]])


def asked_with(users: np.ndarray, *, width: int) -> np.ndarray:
    """Return user vectors (F, width), with 1 for the bias and 0 for the number after it."""
    asked = np.zeros((len(users), width), dtype=np.float32)
    asked[:, : users.shape[1]] = users
    asked[:, users.shape[1]] = 1
    return asked


class _Faiss(Index):
    package = "faiss"

    def search(self, users: np.ndarray, k: int) -> np.ndarray:
        """Return about the k best items of each vector."""
        return self.found.search(asked_with(users, width=self.found.d), k)[1]

    def save(self, path: Path) -> None:
        """Write the index to a file."""
        faiss.write_index(self.found, str(path))

    @classmethod
    def read(cls, path: Path, effort: int) -> Index:
        """Return the index of a file."""
        return cls(faiss.read_index(str(path)), effort)


class HNSW(_Faiss):
    """A graph of near items (Malkov and Yashunin, 2018), by FAISS; effort: items looked at."""

    kind, file = "hnsw", "index.faiss"
    efforts = (64, 256, 1024)
    links, built_with = 32, 100

    @classmethod
    def build(cls, items: ItemScores) -> HNSW:
        """Return an index of the items."""
        vectors = of_one_length(with_bias(items))
        found = faiss.IndexHNSWFlat(vectors.shape[1], cls.links)
        found.hnsw.efConstruction = cls.built_with
        found.add(vectors)
        return cls(found)

    def set_effort(self, effort: int) -> None:
        """Set how many items a search looks at."""
        self.found.hnsw.efSearch = self.effort = effort

    def settings(self) -> dict[str, int]:
        """Return links of an item, and items looked at for each."""
        return {"links": self.links, "built_with": self.found.hnsw.efConstruction}


class IVF(_Faiss):
    """Cells of a clustering, by FAISS; effort: how many cells are searched."""

    kind, file = "ivf", "index.faiss"
    efforts = (8, 32, 128)

    @classmethod
    def build(cls, items: ItemScores) -> IVF:
        """Return an index of the items."""
        vectors = of_one_length(with_bias(items))
        n_items, width = vectors.shape
        cells = max(1, min(int(4 * sqrt(n_items)), n_items // POINTS))
        found = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, cells)
        found.cp.min_points_per_centroid = 1  # else FAISS prints a warning for a tiny catalogue
        found.cp.max_points_per_centroid = POINTS + 25
        found.train(vectors)
        found.add(vectors)
        return cls(found)

    def set_effort(self, effort: int) -> None:
        """Set how many cells a search looks at."""
        self.effort = effort
        self.found.nprobe = min(effort, self.found.nlist)

    def settings(self) -> dict[str, int]:
        """Return the number of cells."""
        return {"cells": self.found.nlist}


class USearch(Index):
    """A graph of near items in one portable file, by USearch; effort: items looked at."""

    kind, file, package = "usearch", "index.usearch", "usearch"
    efforts = (64, 256, 1024)
    links, built_with = 32, 100
    alone = 50_000  # items, up to which one thread builds it: with more an item may lose its links

    @classmethod
    def build(cls, items: ItemScores) -> USearch:
        """Return an index of the items."""
        vectors = of_one_length(with_bias(items))
        found = _usearch().Index(
            ndim=vectors.shape[1], metric="l2sq", dtype="f32", connectivity=cls.links,
            expansion_add=cls.built_with,
        )  # fmt: skip
        threads = 1 if len(vectors) <= cls.alone else 0
        found.add(np.arange(len(vectors)), vectors, threads=threads)
        return cls(found)

    def search(self, users: np.ndarray, k: int) -> np.ndarray:
        """Return about the k best items of each vector."""
        found = self.found.search(asked_with(users, width=self.found.ndim), k)
        keys = np.asarray(found.keys).reshape(len(users), -1)
        items = np.full((len(users), k), -1, dtype=np.int64)
        counts = np.broadcast_to(getattr(found, "counts", keys.shape[1]), len(users))
        there = np.arange(keys.shape[1]) < counts[:, None]
        items[:, : keys.shape[1]] = np.where(there, keys.astype(np.int64), -1)
        return items

    def set_effort(self, effort: int) -> None:
        """Set how many items a search looks at."""
        self.found.expansion_search = self.effort = effort

    def save(self, path: Path) -> None:
        """Write the index to a file."""
        self.found.save(str(path))

    @classmethod
    def read(cls, path: Path, effort: int) -> USearch:
        """Return the index of a file."""
        return cls(_usearch().Index.restore(str(path)), effort)

    def settings(self) -> dict[str, int]:
        """Return links of an item, and items looked at for each."""
        return {"links": self.found.connectivity, "built_with": self.found.expansion_add}


def _usearch() -> Any:
    """Return USearch, imported after ONNX Runtime.

    In the other order the import of ONNX Runtime ends the process (USearch 2.26 and ONNX Runtime
    1.32 on Linux), and a service may need it later.
    """
    if has("onnxruntime"):
        require("onnxruntime", "an export")
    return require("usearch.index", "an index of USearch")


KINDS: dict[str, type[Index]] = {one.kind: one for one in (HNSW, IVF, USearch)}
