"""A bounded number of threads for what takes time, so that the event loop only moves bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from softrec.serving.http.errors import RefusedError

T = TypeVar("T")


class Pool:
    """Threads, and a number of requests that may be held, from which on others are refused.

    Args:
        threads: calls at once.
        waiting: requests that may wait for a thread.
    """

    def __init__(self, threads: int, waiting: int) -> None:
        self.most = threads + waiting
        self.held = 0  # requests that are worked on or wait; changed by the event loop alone
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="softrec-serve")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a request for as long as the context lasts.

        Raises:
            RefusedError: if too many are held.
        """
        if self.held >= self.most:
            raise RefusedError(
                503,
                "busy",
                f"{self.held} requests are worked on or wait already",
                "try again in a second, or start more servers",
                {"Retry-After": "1"},
            )
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1

    async def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """Return `work(*arguments)`, computed in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Return `work(*arguments)` for a request, computed in a thread.

        Raises:
            RefusedError: if too many requests are held.
        """
        with self.place():
            return await self.call(work, *arguments)

    def close(self) -> None:
        """Let no further call begin."""
        self._executor.shutdown(wait=False, cancel_futures=True)
