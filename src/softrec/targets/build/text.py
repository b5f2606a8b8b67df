"""Items with a similar text, such as the title, as the soft target of a label."""

from __future__ import annotations

import hashlib
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from pydantic import field_validator
from torch import Tensor, nn

from softrec.blocks import blocks
from softrec.errors import DataError, RecipeError, one_line
from softrec.extras import require
from softrec.limits import LIMITS
from softrec.products import owners, strongest
from softrec.settings import Alpha, Count, Seed, Temperature, Text, setting
from softrec.targets.build.neighbours import nearest
from softrec.targets.settings import ALPHAS, FLATTER, TEMPERATURES, WEIGHT, TargetSettings
from softrec.targets.sparse import SparseTarget
from softrec.training_data import TrainingData
from softrec.types import Batch

if TYPE_CHECKING:
    from scipy import sparse

NAME = "text-neighbours"
VECTOR = "vector"


class LabelNeighbours(nn.Module):
    r"""The items nearest to the label, the same for all contexts with this label.

    $$s_i = \frac{c_{yi}^{1/T}}{\sum_{j \in K(y)} c_{yj}^{1/T}}$$

    for the items K(y) that are nearest to the label y, whose cosines c are above 0. Without any it
    is the label itself, s = e_y.

    Args:
        items: (N, k) the items nearest to each item, without the item itself.
        cosines: (N, k); of a place that is not used 0.
        temperature: T > 0; larger is flatter.

    Example:
        >>> items, cosines = np.array([[1, 2], [0, 0], [0, 0]]), np.zeros((3, 2))
        >>> cosines[:2] = [[0.6, 0.2], [0.6, 0.0]]
        >>> nothing = torch.zeros(2, dtype=torch.int64)
        >>> batch = Batch(nothing[:, None], torch.tensor([0, 2]), nothing, nothing)
        >>> LabelNeighbours(items, cosines)(batch).prob_of(torch.tensor([1, 2]))
        tensor([0.7500, 1.0000])
    """

    items: Tensor  # (N, k) int32
    probs: Tensor  # (N, k)

    def __init__(self, items: np.ndarray, cosines: np.ndarray, temperature: float = 1.0) -> None:
        super().__init__()
        near = np.maximum(cosines.astype(np.float64), 0)
        # Divided by the largest first: small numbers to a high power would be 0.
        largest = near.max(1, keepdims=True)
        powers = (near / np.where(largest > 0, largest, 1)) ** (1 / temperature)
        total = powers.sum(1, keepdims=True)
        probs, listed = powers / np.where(total > 0, total, 1), items.astype(np.int32)
        alone = np.flatnonzero(total[:, 0] == 0)
        probs[alone, 0], listed[alone, 0] = 1, alone
        self.register_buffer("items", torch.from_numpy(listed), persistent=False)
        self.register_buffer("probs", torch.from_numpy(probs).float(), persistent=False)

    def forward(self, batch: Batch) -> SparseTarget:
        """Return the neighbours of each label of `batch`."""
        return SparseTarget(self.items[batch.label].long(), self.probs[batch.label])


def nearest_texts(
    texts: list[str], k: int, *, max_df: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k items with the most similar words to each item, and their cosines, (N, k).

    Formula: the cosine of TF-IDF vectors, in which a word has the number of its occurrences in the
    text times 1 + log((1 + N) / (1 + n)), where n texts have it. The product of the vectors is
    computed in blocks of rows.

    Args:
        texts: of the items; an empty one has no neighbours.
        k: how many items; places that are left over have the cosine 0.
        max_df: words in a larger fraction of the texts are left out.

    Raises:
        SoftrecError: if scikit-learn is not installed.
        ValueError: if no word is left.

    Example:
        >>> items, cosines = nearest_texts(["red tea", "green tea", "a pan", ""], 1)
        >>> items[:2, 0].tolist(), (cosines[:, 0] > 0).tolist()
        ([1, 0], [True, True, False, False])

    Source: Salton & Buckley, "Term-weighting approaches in automatic text retrieval", 1988, as in
    `sklearn.feature_extraction.text.TfidfVectorizer`.
    """
    made = require("sklearn.feature_extraction.text", f"the target {NAME}")
    words: Any = made.TfidfVectorizer(dtype=np.float32, max_df=max_df)
    vectors: sparse.csr_matrix = words.fit_transform(texts)
    near = strongest(vectors, vectors.T.tocsr(), k, lambda rows, block: block.data)
    row = owners(near)
    place = np.arange(near.nnz) - near.indptr[row]
    items, cosines = np.zeros((len(texts), k), np.int32), np.zeros((len(texts), k), np.float32)
    items[row, place], cosines[row, place] = near.indices, near.data
    return items, cosines


def nearest_vectors(vectors: np.ndarray, k: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the k items with the largest cosine to each item, and their cosines, (N, k).

    Args:
        vectors: (N, D) of the items; an item without a vector has a row of zeros.
        k: how many items; places that are left over have the cosine 0.
        seed: of an approximate search, see `nearest`.

    Raises:
        SoftrecError: if faiss is not installed.
        ValueError: if a vector is not finite.

    Example:
        >>> vectors = np.array([[1.0, 0.0], [3.0, 1.0], [0.0, 0.0]])
        >>> items, cosines = nearest_vectors(vectors, 1)
        >>> items[:2, 0].tolist(), cosines[:, 0].tolist()
        ([1, 0], [0.9486..., 0.9486..., 0.0])
    """
    items = nearest(vectors, k, seed=seed)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)
    cosines = np.empty(items.shape, np.float32)
    for rows in blocks(len(items), LIMITS.gathered // (k * vectors.shape[1])):
        cosines[rows] = np.einsum("nd,nkd->nk", unit[rows], unit[items[rows]])
    # A list that is too short repeats its items, or is the item itself.
    order = items.argsort(1, kind="stable")
    again = np.zeros(items.shape, bool)
    ordered = np.take_along_axis(items, order, 1)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    cosines[again | (items == np.arange(len(items))[:, None])] = 0
    return items, cosines


class TextNeighboursSettings(TargetSettings, name=NAME):
    """The items whose text, such as the title, is most similar to that of the label."""

    alpha: Alpha = setting(0.2, WEIGHT, common=True, search=ALPHAS)
    k: Count = setting(20, "neighbours of each item, at most: those with the largest cosine")
    temperature: Temperature = setting(1.0, FLATTER, common=True, search=TEMPERATURES)
    columns: tuple[Text, ...] = setting(
        ("title",), "columns of data.items with the text", min_length=1, max_length=100
    )
    max_df: float = setting(0.5, "words in a larger fraction of the texts are left out", gt=0, le=1)
    vectors: Text | None = setting(
        None,
        "a table (Parquet) with the columns id and vector, such as sentence vectors of the items; "
        "by default the vectors are the TF-IDF of the words",
    )
    seed: Seed = setting(0, "seed of an approximate search, with vectors of many items")

    @field_validator("columns", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @property
    def in_parts(self) -> bool:
        """Return True."""
        return True

    @property
    def packages(self) -> tuple[str, ...]:
        """Return scikit-learn, which reads words, or faiss, which finds neighbours of vectors."""
        return ("sklearn",) if self.vectors is None else ("faiss",)

    @property
    def files(self) -> tuple[str, ...]:
        """Return the table of vectors."""
        return () if self.vectors is None else (self.vectors,)

    def build(self, training: TrainingData) -> LabelNeighbours:
        """Return the neighbours of all items, computed now or from the cache.

        Raises:
            RecipeError: if there is no text.
            DataError: if the table of vectors cannot be used.
        """
        k = max(1, min(self.k, training.n_items - 1))
        facts: dict[str, Any] = {"k": k}
        if self.vectors is None:
            texts = self._texts(training.item_table())
            content, search = "\0".join(texts).encode(), partial(_with_words, texts, k, self.max_df)
            facts |= {"max_df": self.max_df, "scikit-learn": version("scikit-learn")}
        else:
            vectors = _vectors(training.item_table(self.vectors), self.vectors)
            content, search = (
                vectors.tobytes(),
                partial(nearest_vectors, vectors, k, seed=self.seed),
            )
            facts |= {"width": vectors.shape[1], "seed": self.seed}

        def make(folder: Path) -> None:
            for name, part in zip(("items", "cosines"), search(), strict=True):
                np.save(folder / f"{name}.npy", part, allow_pickle=False)

        facts["content"] = hashlib.sha256(content).hexdigest()
        folder = training.artifact(NAME, facts, make)
        items, cosines = (np.load(folder / f"{name}.npy") for name in ("items", "cosines"))
        return LabelNeighbours(items, cosines, self.temperature)

    def _texts(self, table: pl.DataFrame | None) -> list[str]:
        """Return the text of each item."""
        if table is None:
            raise RecipeError(
                f"the target {NAME} reads the titles of the items, but there is no table of them; "
                "give one with --items FILE (data.items): a row for each item, with the columns id "
                "and title; or vectors of the items (target.vectors)"
            )
        lacking = [name for name in self.columns if name not in table.columns]
        if lacking:
            raise RecipeError(
                f"target.columns: the table of the items has no column {lacking[0]!r}; it has "
                f"{one_line(', '.join(table.columns), 150)}"
            )
        parts = [pl.col(name).cast(pl.String).fill_null("") for name in self.columns]
        return table.select(pl.concat_str(parts, separator=" ").alias("text"))["text"].to_list()


def _with_words(texts: list[str], k: int, max_df: float) -> tuple[np.ndarray, np.ndarray]:
    try:
        return nearest_texts(texts, k, max_df=max_df)
    except ValueError as error:  # of scikit-learn: the vocabulary is empty
        raise RecipeError(
            f"the text of the items has no word that the target {NAME} could compare; choose other "
            "columns (target.columns), or a larger target.max_df"
        ) from error


def _vectors(table: pl.DataFrame | None, path: str) -> np.ndarray:
    """Return the vectors of the items, (N, D) float32; zeros of items that the table lacks."""
    if table is None or VECTOR not in table.columns:
        has = "" if table is None else f"; it has {one_line(', '.join(table.columns), 150)}"
        raise DataError(f"{path} has no column {VECTOR!r} with the vectors of the items{has}")
    try:
        lists = table[VECTOR].cast(pl.List(pl.Float32))
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{path}: the column {VECTOR!r} must have lists of numbers, but it has "
            f"{table[VECTOR].dtype}"
        ) from error
    known, widths = lists.is_not_null().to_numpy(), lists.list.len().drop_nulls().unique().sort()
    if len(widths) != 1 or widths[0] < 1:
        raise DataError(
            f"{path}: the vectors must all have the same length, of at least 1, but lengths are "
            f"{one_line(', '.join(map(str, widths)), 100)}"
        )
    vectors = np.zeros((len(table), int(widths[0])), np.float32)
    vectors[known] = lists.drop_nulls().explode().to_numpy().reshape(-1, vectors.shape[1])
    if not np.isfinite(vectors).all():
        raise DataError(f"{path}: a vector has an entry that is null, NaN or infinite")
    return vectors
