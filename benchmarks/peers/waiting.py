"""A callback for libraries that train with Lightning: each epoch waits for its turn."""

from __future__ import annotations

from typing import Any


def waiting(base: type, turns: Any) -> Any:
    """Return a callback of the class that the library uses.

    Args:
        base: `Callback` of `lightning.pytorch` or of `pytorch_lightning`.
        turns: of the worker.
    """

    class Waiting(base):  # pyright: ignore[reportGeneralTypeIssues]
        def __deepcopy__(self, _: Any) -> Waiting:  # RecTools copies its trainer
            return self

        def on_train_epoch_start(self, *_: Any) -> None:
            turns.begin()

        def on_train_epoch_end(self, *_: Any) -> None:
            turns.end()

    return Waiting()
