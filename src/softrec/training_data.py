"""What targets and candidates are fitted on: the training part of a log, and what is trained on it.

`experiments/` hands it over; whoever builds a source asks it and needs to know nothing of recipes,
caches and run folders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from softrec.data.batches import Examples, Padding
from softrec.data.splits import Split
from softrec.scoring import Scoring
from softrec.types import Encoder, ItemVectors


class Teacher(Protocol):
    """A trained model that knows the same items from the same data."""

    @property
    def folder(self) -> Path:
        """Return where its run lies, for messages."""
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
        """Return whether it is counted, not trained, and has no vectors."""
        ...

    @property
    def scoring(self) -> Scoring:
        """Return the scores it was trained with."""
        ...

    def best(self, k: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """Return, of a counted one, the k best items of all contexts and their probabilities."""
        ...

    def items(self) -> ItemVectors:
        """Return its item vectors, float32 and without gradient."""
        ...

    def vectors(self) -> np.ndarray:
        """Return its vectors of all training contexts, (C, D) float32, a memory map."""
        ...


class TrainingData(Protocol):
    """The training part, and the model that is about to be trained on it.

    `split.train` holds the events, `data` the examples made of them.
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
        """Return the scores it is trained with."""
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
        """Return what the training contexts and their labels depend on."""
        ...

    def bar(self, what: str) -> AbstractContextManager[Callable[[int], None]]:
        """Show a progress bar over the training contexts."""
        ...

    def artifact(self, kind: str, facts: Mapping[str, Any], make: Callable[[Path], object]) -> Path:
        """Return the folder that `make` writes, made now or found again by facts and data."""
        ...

    def teacher(self, run: Any) -> Teacher:
        """Return a finished run, after a check that it knows the same items from the same data."""
        ...
