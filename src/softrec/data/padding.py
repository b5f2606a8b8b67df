"""Padded tables of histories, in NumPy alone, so that what is exported pads without torch."""

from __future__ import annotations

from typing import Literal

import numpy as np

Padding = Literal["left", "right"]


def places_of(start: np.ndarray, stop: np.ndarray, side: Padding) -> tuple[np.ndarray, np.ndarray]:
    """Return the place that each cell of the padded table reads, and whether it is no padding."""
    columns = np.arange(max(int((stop - start).max(initial=0)), 1))
    first = start[:, None] if side == "right" else (stop - len(columns))[:, None]
    places = first + columns
    return places, (places >= start[:, None]) & (places < stop[:, None])


def filled(values: np.ndarray, places: np.ndarray, real: np.ndarray, empty: int) -> np.ndarray:
    """Return the values at `places`, and `empty` where `real` is false."""
    if not len(values):
        return np.full(places.shape, empty, dtype=np.int64)
    found = np.where(real, values.take(places, mode="clip"), empty)
    return found.astype(np.int64, copy=False)  # those of a file have 32 bits
