"""What one request, and all requests together, may cost the server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """The most that one request may ask for; more is refused with the status 413 or 422."""

    body: int = 2**20
    """Bytes of a request's body."""
    head: int = 16 * 2**10
    """Bytes of a request's path and headers."""
    users: int = 1000
    """Users and histories of a request."""
    history: int = 1000
    """Items of a history."""
    k: int = 1000
    """Items of a list."""
    rows: int = 100_000
    """Users times k: lines of an answer."""
    rules: int = 10_000
    """Ids in the rules of a request."""
    limits: int = 8
    """Columns of which the rules of a request limit the values."""
    page: int = 200
    """Items of a page of the catalogue."""
    query: int = 200
    """Letters to search for."""


@dataclass(frozen=True)
class Load:
    """The most that all requests together may hold."""

    connections: int = 512
    """Open sockets; one more is answered with the status 503 and closed."""
    bodies: int = 2**26
    """Bytes of all bodies that are being read; the next part of one is answered with 503."""
    threads: int = 2
    """Requests that are worked on at once."""
    waiting: int = 64
    """Requests that wait for a thread; one more is answered with the status 503."""
    head_seconds: float = 10.0
    """In which the head of a request must have come."""
    body_seconds: float = 10.0
    """In which the body of a request must have come."""
    reply_seconds: float = 30.0
    """For which a client may leave a reply unread."""
    stop_seconds: int = 30
    """For which requests may go on when the server is stopped."""
