"""Requests that wait at the same time are answered by one call, which costs a fraction each.

Nobody waits for others: a call begins as soon as a thread is free, with all requests of the same
settings that have come until then. So a request alone is answered alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Generic, TypeVar

from softrec.serving.http.work import Pool

Q = TypeVar("Q")
A = TypeVar("A")
LISTS = 32
"""Lists of a call; more at once are hardly cheaper each, and the first ones wait longer."""


@dataclass
class _Group(Generic[Q, A]):
    """Requests for one call, and where their answers go."""

    requests: list[Q] = field(default_factory=list)
    futures: list[asyncio.Future[A]] = field(default_factory=list)
    lists: int = 0


class Together(Generic[Q, A]):
    """Answers requests with the same key by one call.

    Args:
        pool: the threads that answer.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._open: dict[Hashable, _Group[Q, A]] = {}  # those whose call has not begun
        self._lock = Lock()  # requests come on the event loop, calls begin in threads
        self._calls: set[asyncio.Task[None]] = set()

    async def run(
        self,
        key: Hashable,
        request: Q,
        lists: int,
        answer: Callable[[Sequence[Q]], Sequence[A | Exception]],
    ) -> A:
        """Return the answer to a request.

        Args:
            key: the same for requests that one call can answer.
            request: is passed to `answer`, perhaps with others.
            lists: how many lists it asks for.
            answer: returns an answer, or an error, for each request; called in a thread.

        Raises:
            RefusedError: if too many requests are held.
        """
        with self.pool.place():
            future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
            with self._lock:
                group = self._open.get(key)
                fresh = group is None or group.lists + lists > LISTS
                if group is None or fresh:
                    group = self._open[key] = _Group[Q, A]()
                group.requests.append(request)
                group.futures.append(future)
                group.lists += lists
            if fresh:
                call = asyncio.create_task(self._call(key, group, answer))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
            return await future

    async def _call(self, key: Hashable, group: _Group[Q, A], answer: Callable[..., Any]) -> None:
        """Answer a group in a thread, and pass the answers on."""
        try:
            answers = await self.pool.call(self._begun, key, group, answer)
        except Exception as error:
            answers = [error] * len(group.futures)
        for future, found in zip(group.futures, answers, strict=True):
            if future.done():  # nobody waits for it any more
                continue
            if isinstance(found, Exception):
                future.set_exception(found)
            else:
                future.set_result(found)

    def _begun(self, key: Hashable, group: _Group[Q, A], answer: Callable[..., Any]) -> Any:
        """Close a group to further requests, and answer it."""
        with self._lock:
            if self._open.get(key) is group:
                del self._open[key]
        return answer(group.requests)
