"""The data that targets and candidates are fitted on: the training part, and the trained model.

`experiments/` implements these protocols. Code that builds a source uses them, and so does not
depend on recipes, caches and run folders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from torch import Tensor

from softrec.data.batches import Examples
from softrec.data.padding import Padding
from softrec.data.splits import Split
from softrec.scoring import Scoring
from softrec.types import Batch, Encoder, ItemVectors, Offset


class Teacher(Protocol):
    """A trained model with the same items, from the same data."""

    @property
    def folder(self) -> Path:
        """Return the folder of its run, for messages."""
        ...

    @property
    def model(self) -> str:
        """Return the name of its model."""
        ...

    @property
    def fingerprint(self) -> str:
        """Return a short hash of its weights."""
        ...

    @property
    def counted(self) -> bool:
        """Return whether it is a counted model, which has no vectors."""
        ...

    @property
    def scoring(self) -> Scoring:
        """Return the kind of score that it was trained with."""
        ...

    def best(self, k: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best items of all training contexts, and their probabilities.

        Only of counted models.

        Args:
            k: how many items.
            temperature: of the softmax.

        Returns:
            (C, k) items and (C, k) probabilities.
        """
        ...

    def items(self) -> ItemVectors:
        """Return its item vectors, float32 and without gradient."""
        ...

    def vectors(self) -> np.ndarray:
        """Return its vectors of all training contexts, (C, D) float32, as a memory map."""
        ...


class TrainingData(Protocol):
    """The training part, and the model that will be trained on it.

    `split.train` has the events, `data` the training examples made from them.
    """

    @property
    def split(self) -> Split:
        """Return the parts of the log."""
        ...

    @property
    def data(self) -> Examples:
        """Return the training examples."""
        ...

    @property
    def n_items(self) -> int:
        """Return the size N of the catalogue."""
        ...

    @property
    def item_counts(self) -> Tensor:
        """Return how often each item occurs in the training part, (N,) float64."""
        ...

    @property
    def label_counts(self) -> Tensor:
        """Return how often each item is a label of an epoch, (N,) float64."""
        ...

    @property
    def events(self) -> Tensor:
        """Return the events of the training part as (user, item), (2, E) int64."""
        ...

    @property
    def model(self) -> str:
        """Return the name of the model that is trained."""
        ...

    @property
    def encoder(self) -> Encoder:
        """Return the model that is trained."""
        ...

    @property
    def scoring(self) -> Scoring:
        """Return the kind of score that the model is trained with."""
        ...

    @property
    def padding_side(self) -> Padding:
        """Return the side on which histories are padded."""
        ...

    @property
    def shown(self) -> bool:
        """Return whether progress is shown."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """Return everything that training contexts and their labels depend on, as plain data."""
        ...

    def bar(self, what: str) -> AbstractContextManager[Callable[[int], None]]:
        """Show a progress bar over the training contexts."""
        ...

    def artifact(self, kind: str, facts: Mapping[str, Any], make: Callable[[Path], object]) -> Path:
        """Return the folder that `make` writes: from the cache, by facts and data, or made now."""
        ...

    def item_table(self, path: str | None = None) -> pl.DataFrame | None:
        """Return a table of the items with a row for each of the N items, null where it has none.

        Args:
            path: of a table with a column of ids; by default that of the recipe, data.items.

        Returns:
            The table, whose first column is `id`; None if the recipe has none.

        Raises:
            DataError: if it cannot be read, or has no id of the log.
        """
        ...

    def together(
        self, model: Mapping[str, Any], *, last: int, items: int, folds: int
    ) -> Callable[[Batch], Offset]:
        """Return a function from a batch to what a counted model gives its histories, (P, N).

        Args:
            model: the settings of a counted model with a table of items, among them its name.
            last: how many of the last items of a history are read.
            items: how many scores of a prediction there are at most: the largest.
            folds: of the users, who read the counts of the other folds; 0: all read all counts.
        """
        ...

    def teacher(self, run: Any) -> Teacher:
        """Return a finished run, after checking that it has the same items from the same data."""
        ...
