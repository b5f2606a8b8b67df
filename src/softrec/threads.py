"""Work in threads of which each has a core, and a cache, of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

import torch

from softrec.limits import LIMITS

Result = TypeVar("Result")

_pools: dict[int, ThreadPoolExecutor] = {}
_starting = Lock()
if hasattr(os, "register_at_fork"):  # a forked process has none of the threads
    os.register_at_fork(after_in_child=_pools.clear)


def shared() -> bool:
    """Return whether several threads of torch share each operation; they need larger pieces."""
    return LIMITS.threads == 1 and torch.get_num_threads() > 1


class Threads:
    """Threads in which torch uses no further ones.

    torch spreads each operation over its threads, which wait for each other after it, and the next
    operation may find its numbers in the cache of another core. Threads that work on tiles of their
    own do neither. With one thread, work is done in the thread that asks for it. The threads are
    started once for each number and stay, because starting them takes as long as a small step.

    Args:
        number: of threads.

    Example:
        >>> Threads(2).run(lambda number: 10 * number)
        [0, 10]
    """

    def __init__(self, number: int) -> None:
        self.number = number

    def run(self, work: Callable[[int], Result]) -> list[Result]:
        """Return the results of work(0), work(1), ..., one for each thread."""
        if self.number == 1:
            return [work(0)]
        inference, whole = torch.is_inference_mode_enabled(), torch.get_num_threads()

        def alone(number: int) -> Result:
            torch.set_num_threads(1)  # each time: it follows what other threads have set last
            # In this order: leaving inference mode turns gradients on.
            with torch.inference_mode(inference), torch.no_grad():
                return work(number)

        try:
            return list(_pool(self.number).map(alone, range(self.number)))
        finally:
            torch.set_num_threads(whole)


def _pool(number: int) -> ThreadPoolExecutor:
    """Return the pool of so many threads."""
    with _starting:
        if number not in _pools:
            _pools[number] = ThreadPoolExecutor(number, "tiles")
        return _pools[number]
