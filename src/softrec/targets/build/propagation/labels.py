"""Propagated labels, and the folder in which they are stored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softrec.errors import DataError
from softrec.targets.build.contexts import PROBABILITIES, probabilities_in


@dataclass(frozen=True)
class PropagatedLabels:
    """The soft labels of E examples, k of them each, largest first.

    Example:
        >>> from softrec.targets.build.propagation import propagate
        >>> vectors = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
        >>> soft = propagate(vectors, np.array([7, 7, 9]), clusters=1, tau=0.5)
        >>> soft.items.tolist()
        [[7, 9], [7, 9], [9, 7]]
        >>> soft.probs.round(4).tolist()  # doctest: +NUMBER
        [[0.9746, 0.0254], [0.9578, 0.0422], [0.5201, 0.4799]]
    """

    items: np.ndarray  # (E, k) int32; rows with fewer labels are filled up with their own label
    probs: np.ndarray  # (E, k) float32; rows sum to 1, and places that were filled up have 0
    mean_label_prob: float  # mean of q_y before the cut to k; a lower bound with neighbours
    mass_kept: (
        float  # mean probability of the k labels before rescaling; a lower bound with neighbours
    )
    clusters: int  # the number of non-empty clusters
    sparse_clusters: int  # the number of clusters in which only the nearest neighbours were used

    @property
    def about(self) -> dict[str, Any]:
        """Return the numbers about the labels, for run.json."""
        return {name: getattr(self, name) for name in _PLAIN}

    def save(self, path: Path) -> None:
        """Write the files that `load` reads to the folder `path`, which is made if missing."""
        path.mkdir(parents=True, exist_ok=True)
        np.save(path / _ITEMS, self.items)
        np.save(path / PROBABILITIES, self.probs)
        (path / _FACTS).write_text(json.dumps(self.about, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> PropagatedLabels:
        """Return what `save` wrote; its arrays are memory maps.

        Raises:
            DataError: if `path` is missing or broken.
        """
        try:
            facts = json.loads((path / _FACTS).read_text(encoding="utf-8"))
            items = np.load(path / _ITEMS, mmap_mode="r")
            probs = np.load(probabilities_in(path), mmap_mode="r")
            plain: dict[str, Any] = {name: facts[name] for name in _PLAIN}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} cannot be read as propagated labels ({error}); compute them again"
            ) from error
        if items.shape != probs.shape:
            raise DataError(
                f"{path} is damaged: items have the shape {items.shape}, probabilities "
                f"{probs.shape}; compute the labels again"
            )
        return cls(items, probs, **plain)


_ITEMS, _FACTS = "items.npy", "propagation.json"
_PLAIN = ("mean_label_prob", "mass_kept", "clusters", "sparse_clusters")
