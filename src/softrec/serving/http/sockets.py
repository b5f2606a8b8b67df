"""Bounded sockets: how many are open, and how long one may take.

uvicorn counts open sockets, too, but lets one that sends nothing stay, so that idle sockets could
shut out everybody else.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from softrec.serving.http.errors import RefusedError
from softrec.serving.http.limits import Load
from softrec.serving.http.metrics import Metrics

FULL = RefusedError(
    503,
    "busy",
    "too many sockets are open",
    "try again in a second, or start more servers",
    {"Retry-After": "1"},
)
BROKEN = RefusedError(400, "broken_http", "this is no HTTP request", "send HTTP/1.1")


class Bounded(H11Protocol):
    """A socket that is refused if there are too many, and closed if it is too slow."""

    load = Load()
    metrics: Metrics
    waits: asyncio.TimerHandle | None = None  # for the head of a request
    unread: asyncio.TimerHandle | None = None  # for the client to read its reply

    def connection_made(self, transport: Any) -> None:
        """Begin, or refuse."""
        super().connection_made(transport)
        if len(self.connections) > self.load.connections:
            self.metrics.sockets.inc()
            transport.write(_raw(FULL))
            transport.close()
            return
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Read some bytes; the time for a head does not begin again with each of them."""
        super().data_received(data)
        if not self._idle():
            self.waits = _cancelled(self.waits)
        elif self.waits is None:
            self._expect_head()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if self._idle():  # of several requests at once, the next one may be complete already
            self._expect_head()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the form of all errors."""
        self.transport.write(_raw(BROKEN))
        self.transport.close()

    def pause_writing(self) -> None:
        """Wait for the client to read, for some time."""
        super().pause_writing()
        self.unread = self.loop.call_later(self.load.reply_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on, because the client has read."""
        super().resume_writing()
        self.unread = _cancelled(self.unread)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.waits, self.unread = _cancelled(self.waits), _cancelled(self.unread)
        super().connection_lost(exc)

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
        _cancelled(self.waits)
        self.waits = self.loop.call_later(self.load.head_seconds, self.transport.abort)


def bounded(load: Load, metrics: Metrics) -> type[Bounded]:
    """Return the protocol of a socket for `uvicorn.Config(http=...)`, with its limits."""
    return type("Bounded", (Bounded,), {"load": load, "metrics": metrics})


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def _raw(refusal: RefusedError) -> bytes:
    """Return a whole reply as it is sent."""
    body = refusal.body()
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **refusal.headers,
    }
    connection = h11.Connection(h11.SERVER)
    head = connection.send(
        h11.Response(status_code=refusal.status, headers=[*headers.items()], reason=b"")
    )
    return (head or b"") + body
