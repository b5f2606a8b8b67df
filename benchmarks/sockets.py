"""Thousands of sockets that want nothing good: is the server's memory bounded, does it answer?"""

from __future__ import annotations

import resource
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.timing import Bar, Row, Side

HEAD = b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = HEAD + b"Content-Length: 1000000\r\n\r\n"


@dataclass(frozen=True)
class Shapes:
    """Sockets at once, and the log of the run that is served."""

    sockets: int = 10_000
    seconds: float = 15.0  # for which they are held; the server waits for 10
    log: load.Shapes = load.QUICK


QUICK = Shapes(sockets=300, seconds=0.5)


def sockets(shapes: Shapes) -> list[Row]:
    """Hold sockets open in several ways; tell the server's memory, and whether it answers after."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, shapes.sockets + 500)), hard))
    kinds: dict[str, Callable[[socket.socket], None]] = {
        "say nothing": lambda _: None,
        "send half a head": lambda sock: sock.sendall(HEAD),
        "send half a body": lambda sock: sock.sendall(BODY + b" " * 60_000),
        "ask and do not read": lambda sock: sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        run = load.made_run(Path(folder), shapes.log)
        with load.served(run) as (port, process):
            before = memory_of(process)
            for kind, act in kinds.items():
                peak, begin = hold(port, process, shapes, act), time.monotonic()
                while not answers(port) and time.monotonic() - begin < 60:
                    time.sleep(0.05)
                answered = time.monotonic() - begin
                note = f"answers again {answered:.1f} s after they are gone" if answers(port) else (
                    "does not answer any more")  # fmt: skip
                rows.append(
                    Row(
                        f"{shapes.sockets:,} sockets that {kind}",
                        Side("peak", peak, peak),
                        Side("before", before, before),
                        peak / before,
                        Bar(1.5, "at most", "memory"),
                        unit="MiB",
                        notes=(note,),
                    )
                )
    return rows


def hold(port: int, process: int, shapes: Shapes, act: Callable[[socket.socket], None]) -> float:
    """Open sockets, do something on each, hold them; return the most memory of the server, MiB."""
    held: list[socket.socket] = []
    peak = memory_of(process)
    try:
        for number in range(shapes.sockets):
            with suppress(OSError):  # refused, or closed already
                sock = socket.create_connection(("127.0.0.1", port), timeout=5)
                held.append(sock)
                act(sock)
            if number % 500 == 0:
                peak = max(peak, memory_of(process))
        end = time.monotonic() + shapes.seconds
        while time.monotonic() < end:
            time.sleep(0.1)
            peak = max(peak, memory_of(process))
    finally:
        for sock in held:
            sock.close()
    return peak


def answers(port: int) -> bool:
    """Return whether the server answers a request."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return sock.recv(100).startswith(b"HTTP/1.1 200")
    return False


def memory_of(process: int) -> float:
    """Return the resident memory of a process, MiB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
