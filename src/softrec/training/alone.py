"""One training at a time in a process, because all threads share torch's random numbers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from softrec.errors import TrainingError

_TRAINING = (
    threading.RLock()
)  # reentrant, because a stage is trained inside the run that depends on it


@contextmanager
def alone() -> Iterator[None]:
    """A context in which no other thread of this process trains.

    Raises:
        TrainingError: if another thread trains.
    """
    if not _TRAINING.acquire(blocking=False):
        raise TrainingError(
            "another thread of this process is training, and both would use the same random "
            "numbers; train one after the other, or each in a process of its own"
        )
    try:
        yield
    finally:
        _TRAINING.release()
