"""The service under load: a server in a process of its own, and clients on the same machine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import softrec
from benchmarks.timing import Bar, Row, Side

CLIENTS = (1, 8, 32)


@dataclass(frozen=True)
class Shapes:
    """Users and N items of the log, width D, items a history, requests of a level, k."""

    users: int = 21_000
    n_items: int = 43_229
    dim: int = 64
    length: int = 20
    requests: int = 3000
    k: int = 10
    swaps: int = 4


QUICK = Shapes(users=300, n_items=400, dim=8, requests=120, swaps=2)


@dataclass
class Tally:
    """Milliseconds of the requests that were answered, and how many were sent."""

    sent: int = 0
    ms: list[float] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)


def load(shapes: Shapes) -> list[Row]:
    """Time requests for one list each, from 1, 8 and 32 clients, and while runs are swapped."""
    with tempfile.TemporaryDirectory() as folder:
        run = made_run(Path(folder), shapes)
        served = {"run": run, "export": made_export(run, Path(folder) / "export")}
        return [row for kind, path in served.items() for row in _rows(kind, path, shapes)]


def made_run(folder: Path, s: Shapes) -> Path:
    """Return a run of SASRec, trained for one short epoch: its numbers do not matter."""
    rng = np.random.default_rng(0)
    item = np.resize(rng.permutation(s.n_items), max(s.n_items, 6 * s.users))  # each occurs
    log = pl.DataFrame({
        "user": [f"u{n:07d}" for n in np.arange(len(item)) % s.users],
        "item": [f"i{n:07d}" for n in item],
        "time": np.arange(len(item)),
    })  # fmt: skip
    settings: dict[str, Any] = {
        "model.dim": s.dim,
        "length": s.length,
        "windows": "last",
        "epochs": 1,
    }
    settings |= {"candidates": {"name": "sampled", "number": min(200, s.n_items)}}
    run = softrec.fit(log, out=folder / "run", model="sasrec", progress=False, **settings)
    return run.folder


def made_export(run: Path, to: Path) -> Path:
    """Return the export of a run."""
    from softrec.experiments.export import export_run

    export_run(softrec.open_run(run), to, histories=1000)
    return to


def _rows(kind: str, path: Path, s: Shapes) -> Iterator[Row]:
    """Yield a row for each number of clients, and one for requests while runs are swapped."""
    pointer = path.with_name(f"current {kind}")
    pointer.symlink_to(path)
    work = f"sasrec, {kind}, N {s.n_items:,}, D {s.dim}"
    with served(pointer) as (port, process):
        asyncio.run(_level(port, 2, s, requests=max(50, s.requests // 10)))  # warm
        for clients in CLIENTS:
            begin, spent = time.perf_counter(), processor_of(process)
            tally = asyncio.run(_level(port, clients, s))
            rate = len(tally.ms) / (time.perf_counter() - begin)
            spent = 1e3 * (processor_of(process) - spent) / len(tally.ms)
            note = f"{kind}, {clients} clients: {rate:,.0f} requests a second"
            note += f", {spent:.2f} ms of a core each"
            yield _row(f"{work}, {clients} clients", tally, note)
        yield _swapped(work, kind, pointer, path, port, s)


def processor_of(process: int) -> float:
    """Return the seconds of processors that a process has spent, all its threads together."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _row(work: str, tally: Tally, note: str) -> Row:
    p50, p99 = (float(np.quantile(tally.ms, part)) for part in (0.5, 0.99))
    note += f", p50 {p50:.2f} ms, p99 {p99:.2f} ms"
    return Row(work, Side("p50", p50, min(tally.ms)), Side("p99", p99, min(tally.ms)),
               p99 / p50, None, notes=(note,))  # fmt: skip


def _swapped(work: str, kind: str, pointer: Path, path: Path, port: int, s: Shapes) -> Row:
    """Return the row of requests during which another copy takes the place, several times."""
    twin = path.with_name(f"twin {kind}")
    shutil.copytree(path, twin)
    tally = asyncio.run(_while_swapped(pointer, [twin, path] * s.swaps, port, s))
    answered = len(tally.ms)
    p99 = float(np.quantile(tally.ms, 0.99))
    note = (
        f"{kind}, {tally.sent:,} requests of 8 clients while what is served was swapped "
        f"{s.swaps} times: {tally.sent - answered} lost, p99 {p99:.2f} ms"
    )
    return Row(f"{work}, swapped", Side("p99", p99, min(tally.ms)), None, answered / tally.sent,
               Bar(1.0, "at least", "share of requests answered"), notes=(note,))  # fmt: skip


async def _while_swapped(pointer: Path, folders: list[Path], port: int, s: Shapes) -> Tally:
    stop = asyncio.Event()
    clients = asyncio.create_task(_level(port, 8, s, stop=stop))
    for folder in folders[: s.swaps]:
        fresh = pointer.with_name("fresh")
        fresh.symlink_to(folder)
        fresh.replace(pointer)
        before = await _health(port)
        end = time.monotonic() + 120
        while (await _health(port)) == before and time.monotonic() < end:
            await asyncio.sleep(0.1)
    stop.set()
    return await clients


async def _health(port: int) -> object:
    """Return how the last reload ended, with its time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    told = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
    writer.close()
    return told["reload"]


async def _level(
    port: int,
    clients: int,
    s: Shapes,
    *,
    requests: int | None = None,
    stop: asyncio.Event | None = None,
) -> Tally:
    """Send requests from some clients, each one after the reply to the one before."""
    tally = Tally()
    count = s.requests if requests is None else requests

    async def client(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        number = first
        while number < count if stop is None else not stop.is_set():
            tally.sent += 1
            begin = time.perf_counter()
            writer.write(_request(f"u{number * 97 % s.users:07d}", s.k))
            head = await reader.readuntil(b"\r\n\r\n")
            size = re.search(rb"content-length: (\d+)", head)
            body = await reader.readexactly(int(size[1]) if size else 0)
            if head.startswith(b"HTTP/1.1 200") and body.count(b'"rank"') == s.k:
                tally.ms.append(1e3 * (time.perf_counter() - begin))
            number += clients
        writer.close()

    await asyncio.gather(*(client(first) for first in range(clients)), return_exceptions=True)
    return tally


def _request(user: str, k: int) -> bytes:
    body = json.dumps({"users": [user], "k": k}).encode()
    head = "POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[int, int]]:
    """Serve a folder in a process of its own; yield the port and the number of the process."""
    command = [sys.executable, "-m", "softrec", "serve", str(folder), "--port", "0", *options]
    process = subprocess.Popen(
        [*command, "--watch", "0.2"], stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stderr is not None
    try:
        told = ""
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", told)):
            line = process.stderr.readline()
            if not line:
                raise RuntimeError(f"the server has ended: {told}")
            told += line
        yield int(found[1]), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stderr.close()
