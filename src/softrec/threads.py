"""Work in threads of which each has a core, and a cache, of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import torch

Result = TypeVar("Result")


class Threads:
    """Threads in which torch uses no further ones.

    torch spreads each operation over its threads, which wait for each other after it, and the next
    operation may find its numbers in the cache of another core. Threads that work on tiles of their
    own do neither. With one thread, work is done in the thread that asks for it.

    Args:
        number: of threads.

    Example:
        >>> with Threads(2) as threads:
        ...     threads.run(lambda number: 10 * number)
        [0, 10]
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.whole = torch.get_num_threads()
        self.pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Threads:
        if self.number > 1:
            self.pool = ThreadPoolExecutor(self.number, "tiles", torch.set_num_threads, (1,))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.pool is not None:
            self.pool.shutdown()
            torch.set_num_threads(self.whole)  # threads that start later have the last number set

    def run(self, work: Callable[[int], Result]) -> list[Result]:
        """Return the results of work(0), work(1), ..., one for each thread."""
        if self.pool is None:
            return [work(number) for number in range(self.number)]
        inference = torch.is_inference_mode_enabled()

        def alone(number: int) -> Result:
            # In this order: leaving inference mode turns gradients on.
            with torch.inference_mode(inference), torch.no_grad():
                return work(number)

        return list(self.pool.map(alone, range(self.number)))
