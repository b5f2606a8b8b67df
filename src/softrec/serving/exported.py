"""The recommender of an export: ONNX Runtime and NumPy, no torch."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from safetensors.numpy import load_file

from softrec.data.cases import rows_of
from softrec.data.interactions import Interactions, Sequences
from softrec.data.padding import filled, places_of
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError
from softrec.extras import require
from softrec.files import read_facts
from softrec.serving.base import People, RecommenderBase
from softrec.serving.catalogue import Catalogue
from softrec.serving.exact import ExactRanking, ItemScores, Seen
from softrec.serving.index.ranking import IndexRanking
from softrec.serving.index.stored import read_index
from softrec.serving.manifest import (
    CATALOGUE,
    ITEMS,
    ONNX,
    PARITY,
    PRIOR,
    USERS,
    VECTORS,
    read_manifest,
)
from softrec.serving.prior import ExportedPrior, Offsets
from softrec.serving.ruled import ruled
from softrec.serving.rules import Rules
from softrec.serving.similar import Asked

NONE = np.empty(0, dtype=np.int64)


class Towers(NamedTuple):
    """What the user tower says of some users."""

    users: np.ndarray  # (B, D), or (B, K, D): then the highest score over the interests counts
    interests: np.ndarray | None = None  # (B, K, D), of models that predict them
    weights: np.ndarray | None = None  # (B, K), sums to 1


class ExportedRecommender(RecommenderBase):
    """Recommends items to users of a log and for given histories, from the folder of an export.

    It answers as the `Recommender` of the run does, up to rounding. It can be used by several
    threads at once.

    Args:
        folder: of the export.
        trust: do not check the hashes of its files.
        threads: of ONNX Runtime; by default as many as there are cores, or `OMP_NUM_THREADS`.

    Raises:
        RunError: if there is no export, or its files were changed.

    Example:
        ExportedRecommender("exports/first").recommend(histories=["tea", "jam"], k=10)
    """

    def __init__(
        self, folder: str | Path, *, trust: bool = False, threads: int | None = None
    ) -> None:
        self.folder = Path(folder)
        self.facts = read_manifest(self.folder, trust=trust)
        model = self.facts["model"]
        self.name, self.reads = model["name"], model["reads"]
        self.needs_times: bool = model["needs_times"]
        self.length: int = self.facts["length"]
        self.mask_seen: bool = self.facts["mask_seen"]
        arrays = load_file(self.folder / VECTORS)
        self.scored = ItemScores(arrays["vectors"], arrays.get("bias"))
        self.log, self._vectors = _log_of(self.folder, self.facts)
        catalogue = self.folder / CATALOGUE
        self.table = Catalogue(pl.read_parquet(catalogue)) if catalogue.exists() else None
        self._session = None if self.facts["tower"] is None else _session(self.folder, threads)
        self.index = read_index(self.folder, self.facts)
        prior = self.facts.get("prior")
        self.prior = None if prior is None else ExportedPrior.read(self.folder / PRIOR, prior)

    def vectors(self, some: People) -> Towers:
        """Return the vectors of some users."""
        if self._session is None:
            return Towers(self._vectors[some.numbers])
        found = dict(zip(self.facts["tower"]["outputs"], self._run(some), strict=True))
        if "interests" not in found:
            return Towers(found["users"])
        return Towers(found["users"], found["interests"], _softmax(found["interest_logits"]))

    def offsets(self, some: People) -> Offsets | None:
        """Return what the prior adds to the scores of some items of some users, if there is one."""
        return None if self.prior is None else self.prior(some.rows, self.length)

    def _run(self, some: People) -> list[np.ndarray]:
        """Return the outputs of the tower, each read up to the last `length` items."""
        stop = some.rows.offsets[1:]
        start = np.maximum(some.rows.offsets[:-1], stop - self.length)
        places, real = places_of(start, stop, "right")
        inputs = {"history": filled(some.rows.items, places, real, self.log.n_items)}
        if self.needs_times:
            assert some.rows.times is not None
            inputs["time"] = filled(some.rows.times, places, real, 0)
        assert self._session is not None
        return self._session.run(None, inputs)

    def _best(
        self,
        some: People,
        k: int,
        mask_seen: bool | None,
        why: bool,
        rules: Rules,
        vectors: bool = False,
    ) -> dict[str, np.ndarray]:
        towers = self.vectors(some)
        seen = Seen(some.rows.offsets, some.rows.items) if self._masks(mask_seen) else None
        ranking = self._ranking(towers.users, seen, self.offsets(some))
        best = ruled(ranking, len(some.names), k, rules, self.items)
        found = {"item": best.items, "score": best.scores}
        if vectors:
            found["vector"] = towers.users
        return found | self._attribution(towers, best.items) if why else found

    def item_vectors(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the vectors (N, D) and the bias (N,) of the items."""
        return self.scored.vectors, self.scored.bias

    def weights_facts(self) -> dict[str, Any]:
        """Return the hashes of the files."""
        return {"export": self.facts["files"]}

    def _ranking(
        self, users: np.ndarray, seen: Seen | None, offsets: Offsets | None
    ) -> ExactRanking | IndexRanking:
        if self.index is None:
            return ExactRanking(self.scored, users, seen, offsets)
        return IndexRanking(self.index, self.scored, users, seen, offsets)

    def _behind(self, some: People, k: int, mask_seen: bool | None) -> dict[str, np.ndarray]:
        towers = self.vectors(some)
        vectors, weights = self._interests(towers)
        n_users, n_interests, width = vectors.shape
        seen = None
        if self._masks(mask_seen):
            rows = rows_of(some.rows, np.repeat(np.arange(n_users), n_interests))
            seen = Seen(rows.offsets, rows.items)
        ranking = ExactRanking(self.scored, vectors.reshape(-1, width), seen)
        best, _ = ranking.best(slice(0, n_users * n_interests), k, None, NONE)
        shape = (n_users, n_interests, k)
        found = {"item": best.items.reshape(shape), "score": best.scores.reshape(shape)}
        return found if weights is None else found | {"weight": weights}

    def _similar(self, some: Asked) -> ExactRanking:
        n_rows, n_items = some.items.shape
        vectors, items = self._compared
        means = (some.weights[..., None].astype(np.float32) * vectors[some.items]).sum(1)
        seen = Seen(np.arange(n_rows + 1) * n_items, some.items.ravel())
        return ExactRanking(items, means, seen)

    @cached_property
    def _compared(self) -> tuple[np.ndarray, ItemScores]:
        """The vectors whose weighted means are compared with items, and the items."""
        kind = self.facts["model"]["similar"]
        if kind == "cosine":
            vectors = _of_length_one(self.scored.vectors)
            return vectors, ItemScores(vectors)
        if kind == "distance":
            # The vectors are (w, 1), as in `softrec.scoring`; (2 v, -|v|^2) is what is asked with.
            own = self.scored.vectors[:, :-1]
            squares = np.square(own).sum(1)
            asked = np.hstack([2 * own, -squares[:, None]])
            return asked, ItemScores(self.scored.vectors, -squares)
        raise DataError(
            f"{self.name} compares items in a way of its own, which an export does not have; ask "
            "the run itself"
        )

    def _interests(self, towers: Towers) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the interests (B, K, D), and their weights (B, K) if a score is a weighted sum."""
        if towers.interests is not None:
            return towers.interests, towers.weights
        if towers.users.ndim == 3:
            return towers.users, None
        raise DataError(
            f"{self.name} has one vector for a user and no separate interests; export a model that "
            "has them: comirec-sa, comirec-dr, mind or timirec"
        )

    def _attribution(self, towers: Towers, items: np.ndarray) -> dict[str, np.ndarray]:
        """Return which interest contributed most to each score, as `interests.attribution` does."""
        vectors, weights = self._interests(towers)
        if weights is not None:
            vectors = weights[..., None] * vectors
        parts = np.einsum("bkd,bmd->bkm", vectors, self.scored.vectors[items], optimize=True)
        found = {"interest": parts.argmax(1)}
        return found if weights is None else found | {"contribution": parts.max(1)}

    def parity(self) -> dict[str, Any]:
        """Return how far the export is from its run: see `softrec.serving.exporting.parity`."""
        return read_facts(self.folder / PARITY)

    @cached_property
    def created(self) -> str:
        """Return when the export was made, as text in ISO 8601."""
        return self.facts["created"]


def _session(folder: Path, threads: int | None) -> Any:
    """Return the user tower in ONNX Runtime, on the CPU."""
    runtime = require("onnxruntime", "an exported recommender")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = threads or int(os.environ.get("OMP_NUM_THREADS", "0"))
    path = str(folder / ONNX)
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _log_of(folder: Path, facts: dict[str, Any]) -> tuple[Interactions, np.ndarray]:
    """Return ids and histories as a log, and the vectors of users, (0, 0) if they have none."""
    items = Vocabulary(pl.read_ipc(folder / ITEMS, columns=["id"])["id"])
    path = folder / USERS
    if not path.exists():
        nobody = Vocabulary(pl.Series("raw", [], dtype=pl.String))
        return Interactions.from_sequences(Sequences.of([]), users=nobody, items=items), NO_VECTORS
    table = pl.read_parquet(path)
    lists = table["history"]
    offsets = np.concatenate([[0], np.cumsum(lists.list.len().to_numpy(), dtype=np.int64)])
    times = None
    if "times" in table.columns:
        times = _flat(table["times"]).to_numpy().astype(np.int64)
    rows = Sequences(offsets, _flat(lists).to_numpy().astype(np.int64), times)
    log = Interactions.from_sequences(rows, users=Vocabulary(table["user"]), items=items)
    return log, table["vector"].to_numpy() if "vector" in table.columns else NO_VECTORS


NO_VECTORS = np.empty((0, 0), dtype=np.float32)


def _flat(lists: pl.Series) -> pl.Series:
    """Return the values of all lists, one after the other; an empty list has none."""
    return lists.filter(lists.list.len() > 0).explode()


def _of_length_one(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
