"""A bounded number of threads for what takes time, so that the event loop only moves bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from softrec.serving.http.errors import RefusedError

T = TypeVar("T")


class Pool:
    """Threads, and a queue that refuses instead of growing.

    Args:
        threads: calls at once.
        waiting: calls that may wait for a thread.
    """

    def __init__(self, threads: int, waiting: int) -> None:
        self.threads = threads
        self.most = threads + waiting
        self.held = 0  # calls that run or wait; read and written by the event loop alone
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="softrec-serve")

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Return `work(*arguments)`, computed in a thread.

        Raises:
            RefusedError: if the queue is full.
        """
        if self.held >= self.most:
            raise RefusedError(
                503,
                "busy",
                f"{self.held} requests are worked on or wait already",
                "try again in a second, or start more servers",
                {"Retry-After": "1"},
            )
        loop = asyncio.get_running_loop()
        self.held += 1
        future: Future[T] = self._executor.submit(work, *arguments)
        # Not in a `finally`: a call goes on in its thread when nobody waits for it any more.
        future.add_done_callback(lambda _: _later(loop, self._done))
        return await asyncio.wrap_future(future)

    def _done(self) -> None:
        self.held -= 1

    def close(self) -> None:
        """Let no further call begin."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _later(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call on the event loop, if it still runs."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)
