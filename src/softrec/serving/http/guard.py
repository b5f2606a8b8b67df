"""What every request passes: the key, the limits of its body, and the count of its reply.

Written for ASGI itself, so that it costs little and sees every reply.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

from softrec.serving.http.errors import RefusedError, internal
from softrec.serving.http.limits import Load, Sizes
from softrec.serving.http.metrics import Metrics

LOGGER = logging.getLogger("softrec.serve")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

DRAINED = 16
"""Times the largest body that are read and thrown away, so that the client reads the refusal."""
SECURE = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
]


class Guard:
    """Middleware around the application.

    Args:
        app: the application.
        metrics: that count requests.
        key: that requests must bring, or None.
        open_paths: that need no key.
        paths: that are counted by name; others are counted as "other".
        sizes: limits of a request.
        load: limits of time.
    """

    def __init__(
        self,
        app: App,
        *,
        metrics: Metrics,
        key: str | None,
        open_paths: frozenset[str],
        paths: frozenset[str],
        sizes: Sizes,
        load: Load,
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.key = None if key is None else key.encode()
        self.open_paths = open_paths
        self.paths = paths
        self.sizes = sizes
        self.load = load
        self.reading = 0  # bytes of bodies that are not complete

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        reply = Reply(send)
        begin = time.perf_counter()
        try:
            self._check_head(scope)
            self._check_key(scope)
            body = await self._body(scope, receive)
            await self.app(scope, _replayed(body, receive), reply.send)
        except RefusedError as refusal:
            await reply.refuse(refusal, self.metrics)
        except Exception:
            if reply.status:  # half of it is sent: only closing the socket is left
                raise
            number = uuid4().hex[:12]
            LOGGER.exception("%s %s failed, number %s", scope["method"], _path(scope), number)
            await reply.refuse(internal(number), self.metrics)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.metrics.requests.labels(path, str(reply.status or 0)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - begin)

    def _check_head(self, scope: MutableMapping[str, Any]) -> None:
        headers = scope["headers"]
        size = len(scope["raw_path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) for name, value in headers)
        if size > self.sizes.head:
            raise RefusedError(
                431,
                "too_large",
                f"at most {self.sizes.head:,} bytes in path and headers, got {size:,}",
                "send shorter ones",
                {"Connection": "close"},
            )
        names = {name for name, _ in headers}
        if {b"content-length", b"transfer-encoding"} <= names:
            # A proxy in front may believe the other one, and see other requests than this server.
            raise RefusedError(
                400,
                "broken_http",
                "a body has either a length or a coding, got both",
                "send Content-Length alone",
                {"Connection": "close"},
            )

    def _check_key(self, scope: MutableMapping[str, Any]) -> None:
        if self.key is None or scope["path"] in self.open_paths:
            return
        came = [_key_of(name, value) for name, value in scope["headers"]]
        given = [key for key in came if key is not None]
        # The time of the comparison does not depend on how much of the key is right.
        if len(given) != 1 or not hmac.compare_digest(given[0], self.key):
            raise RefusedError(
                401,
                "unauthorized",
                "wrong key" if given else "a key is needed",
                "send it once, as the header X-API-Key or as Authorization: Bearer KEY",
                {"WWW-Authenticate": "Bearer"},
            )

    async def _body(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        """Return the whole body.

        Raises:
            RefusedError: if it is too large, or does not come in time.
        """
        try:
            async with asyncio.timeout(self.load.body_seconds):
                return await self._read(scope, receive)
        except TimeoutError:
            raise RefusedError(
                408,
                "timeout",
                f"the body did not come within {self.load.body_seconds:g} seconds",
                "send it faster, or in several requests",
                {"Connection": "close"},
            ) from None

    async def _read(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        most = self.sizes.body
        told = [value for name, value in scope["headers"] if name == b"content-length"]
        if told and int(told[0]) > DRAINED * most:
            raise self._too_large()
        parts: list[bytes] = []
        came, more = 0, True
        try:
            while more:
                message = await receive()
                part = message.get("body", b"")
                more = message["type"] == "http.request" and message.get("more_body", False)
                came += len(part)
                if came > DRAINED * most:
                    raise self._too_large()
                if came <= most:
                    parts.append(part)
                    self.reading += len(part)
                if self.reading > self.load.bodies:
                    raise self._busy()
        finally:
            self.reading -= sum(map(len, parts))
        if came > most:
            raise self._too_large()
        return b"".join(parts)

    def _busy(self) -> RefusedError:
        return RefusedError(
            503,
            "busy",
            "too many large bodies are read at once",
            "try again in a second",
            {"Retry-After": "1", "Connection": "close"},
        )

    def _too_large(self) -> RefusedError:
        return RefusedError(
            413,
            "too_large",
            f"at most {self.sizes.body:,} bytes in a body",
            "send several smaller requests",
            {"Connection": "close"},
        )


class Reply:
    """Sends a reply, with the headers that each has, and keeps its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        """Send a part of the reply."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), *SECURE]
        await self._send(message)

    async def refuse(self, refusal: RefusedError, metrics: Metrics) -> None:
        """Send a refusal."""
        metrics.errors.labels(refusal.kind).inc()
        body = refusal.body()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        headers += [(n.lower().encode(), v.encode()) for n, v in refusal.headers.items()]
        await self.send(
            {"type": "http.response.start", "status": refusal.status, "headers": headers}
        )
        await self._send({"type": "http.response.body", "body": body})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was read, and then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _key_of(name: bytes, value: bytes) -> bytes | None:
    """Return the key that a header has."""
    if name == b"x-api-key":
        return value
    if name == b"authorization" and value[:7].lower() == b"bearer ":
        return value[7:].strip()
    return None


def _path(scope: MutableMapping[str, Any]) -> str:
    """Return a path for the log, on one line."""
    return repr(scope["path"][:100])
