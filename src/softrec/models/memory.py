"""What a model gives for the same batches, kept while something else is tried with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from softrec.types import Batch, Encoder, ItemVectors, Vectors, Wrapper

T = TypeVar("T")


class Memory:
    """Results by the module that computed them, as long as it exists, and by the batch.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> memory, module, batch = Memory(), nn.Identity(), padded([[1, 2]], 5)
        >>> memory.of(module, batch, lambda: "computed")
        'computed'
        >>> memory.of(module, batch, lambda: "computed again")
        'computed'
    """

    def __init__(self) -> None:
        self.found: WeakKeyDictionary[nn.Module, dict[Any, Any]] = WeakKeyDictionary()

    def of(self, module: nn.Module, batch: Batch, compute: Callable[[], T]) -> T:
        """Return the result of a module for a batch, which is computed once."""
        kept = self.found.setdefault(module, {})
        key = tuple(_bytes(part) for part in batch[:-1])
        if key not in kept:
            kept[key] = compute()
        return kept[key]


class Remembering(Wrapper):
    """An encoder that encodes each batch once; its weights must not change.

    Args:
        encoder: any encoder.
        memory: keeps what it returns.
    """

    def __init__(self, encoder: Encoder, memory: Memory) -> None:
        super().__init__(encoder)
        self.memory = memory

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the vectors of the encoder, with the items that are given."""
        items = items or self.items()
        found = self.memory.of(self.encoder, batch, lambda: self.encoder(batch, items))
        return found._replace(items=items)


def _bytes(part: Tensor | None) -> bytes | None:
    return None if part is None else part.cpu().numpy().tobytes()
