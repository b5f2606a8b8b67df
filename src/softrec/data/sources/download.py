"""Downloads a file once, completely and with a verified checksum.

An incomplete file is called `<name>.part`; it is renamed after the checksum was verified. An
interrupted download resumes where it stopped, if the server supports this.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from softrec.errors import DataError

CHUNK = 1 << 16  # bytes
ATTEMPTS = 4  # successive attempts that brought no new byte or were too slow
SLOWEST = 1000  # bytes a second
LONGEST = 6 * 3600.0  # seconds for one file
# The first bytes of files with these endings, to detect a web page in place of the file.
BEGINNINGS = {".gz": b"\x1f\x8b", ".zip": b"PK", ".xz": b"\xfd7zXZ", ".mat": b"MATLAB"}
OK, PARTIAL, RANGE_NOT_SATISFIABLE = 200, 206, 416

Report = Callable[
    [int, int | None], None
]  # bytes so far, and the total number of bytes if it is known


class DownloadError(DataError):
    """A file could not be downloaded."""


class _CutError(OSError):
    """The connection ended before the file was complete."""


class _SlowError(_CutError):
    """The connection is too slow."""


def fetch(
    url: str,
    target: Path,
    checksum: str | None = None,
    *,
    progress: bool | None = None,
    timeout: float = 30.0,
    pause: float = 1.0,
    limit: float = LONGEST,
) -> Path:
    """Download `url` to `target` and return `target`.

    Args:
        url: an http or https address.
        target: the final path; its folder is made if it is missing.
        checksum: `md5:...` or `sha256:...`; without one only the length can be checked.
        progress: whether to show a bar on stderr; None shows it on a terminal only.
        timeout: seconds without a byte, or with fewer than 1,000 bytes per second, after which the
            connection counts as interrupted.
        pause: seconds to wait before the next attempt, doubled after each attempt that failed.
        limit: the most seconds for the whole download.

    Raises:
        DownloadError: if the server cannot be reached or refuses, or the download takes too long.
        DataError: if the checksum is wrong, or, without a checksum, if the content is not of the
            kind that the name says. The file is removed then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    if checksum is None:
        # Without a checksum, a partial file of another version would not be detected: start again.
        part.unlink(missing_ok=True)
    shown = sys.stderr.isatty() if progress is None else progress
    bar = _bar()
    with bar if shown else nullcontext():  # old versions of rich write a line even if disabled
        task = bar.add_task(target.name, total=None)
        _within(
            limit,
            url,
            lambda: _persist(
                url,
                part,
                timeout,
                pause,
                lambda done, total: bar.update(task, completed=done, total=total),
            ),
        )
    if checksum is not None:
        try:
            verify(part, checksum)
        except DataError as error:
            part.unlink()
            raise DataError(
                f"{url} was downloaded with another content than expected ({error}) and was "
                "removed; run the command again; if this happens again, the file has changed at "
                "its source"
            ) from error
    else:
        _check_kind(url, part, target.suffix)
    os.replace(part, target)
    return target


def _within(limit: float, url: str, action: Callable[[], None]) -> None:
    """Run `action`, but wait at most `limit` seconds, because a server may be slow for ever."""
    outcome: list[BaseException | None] = []

    def run() -> None:
        try:
            action()
            outcome.append(None)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    if not outcome:
        raise DownloadError(f"{url}: the download was not complete after {limit:,.0f} seconds")
    if outcome[0] is not None:
        raise outcome[0]


def _check_kind(url: str, part: Path, ending: str) -> None:
    """Refuse content that cannot be the file, if no checksum is known."""
    with part.open("rb") as file:
        head = file.read(512)
    begins = BEGINNINGS.get(ending, b"")
    page = head.lstrip().lower().startswith((b"<!doctype", b"<html"))
    if not head or page or not head.startswith(begins):
        part.unlink()
        came = "an empty file" if not head else "a web page" if page else repr(head[:16])
        raise DataError(
            f"{url} was downloaded, but its content is not what its name says ({came}), so it was "
            "removed; check whether there is a login or a proxy in between"
        )


def verify(path: Path, checksum: str) -> None:
    """Check the content of `path`.

    Args:
        path: the file.
        checksum: `md5:<hex>` or `sha256:<hex>`.

    Raises:
        DataError: if the file has another checksum.
    """
    kind, _, expected = checksum.partition(":")
    with path.open("rb") as file:
        received = hashlib.file_digest(file, kind).hexdigest()
    if received != expected:
        raise DataError(f"the {kind} of {path.name} is {received}, expected {expected}")


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _persist(url: str, part: Path, timeout: float, pause: float, report: Report) -> None:
    """Transfer until the file is complete, or `ATTEMPTS` successive attempts brought nothing."""
    fruitless = 0
    while True:
        before = _size(part)
        try:
            _transfer(url, part, timeout, report)
            return
        except urllib.error.HTTPError as error:
            error.close()  # the error keeps the connection open
            if error.code < 500:  # an answer of the server that another request would not change
                raise DownloadError(f"{url}: {error.code} {error.reason}") from error
            reason: Exception = error
        except _SlowError as error:
            before, reason = _size(part), error
        except (_CutError, ConnectionError, TimeoutError, http.client.HTTPException) as error:
            reason = error
        except OSError as error:  # URLError: no such host, refused, no route, a bad certificate
            raise DownloadError(f"{url}: {getattr(error, 'reason', error)}") from error
        fruitless = 0 if _size(part) > before else fruitless + 1
        if fruitless >= ATTEMPTS:
            raise DownloadError(f"{url}: {reason}") from reason
        time.sleep(pause * 2**fruitless)


def _transfer(url: str, part: Path, timeout: float, report: Report) -> None:
    """Request the missing rest of `part` once, and append the answer.

    Raises:
        _CutError: if the answer ended too early.
    """
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "softrec"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == RANGE_NOT_SATISFIABLE and have:
            error.close()
            _beyond_the_end(error.headers.get("Content-Range"), part)
            return
        raise
    with response:
        resumed = response.status == PARTIAL
        if resumed and not (response.headers.get("Content-Range") or "").startswith(
            f"bytes {have}-"
        ):
            part.unlink()
            raise _CutError("the server sent another range than the one that was requested")
        done = (
            have if resumed else 0
        )  # 200: the server does not support ranges and sends the whole file
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None and length.isdecimal() else None
        whole = (response.headers.get("Content-Range") or "").rpartition("/")[2]
        if resumed and total is not None and whole.isdecimal() and int(whole) != total:
            part.unlink()
            raise _CutError(f"the server has {total:,} bytes of a file of {int(whole):,}")
        with part.open("ab" if resumed else "wb") as file:
            report(done, total)
            since, lately = time.monotonic(), 0
            while chunk := response.read1(CHUNK):
                file.write(chunk)
                done += len(chunk)
                report(done, total)
                lately += len(chunk)
                if time.monotonic() - since > timeout:
                    if lately < SLOWEST * timeout:
                        raise _SlowError(f"the server sent fewer than {SLOWEST:,} bytes a second")
                    since, lately = time.monotonic(), 0
    if total is not None and done < total:
        raise _CutError(f"the connection was cut after {done:,} of {total:,} bytes")


def _beyond_the_end(content_range: str | None, part: Path) -> None:
    """Handle a part that the server says is complete (`bytes */<its length>`) or too long."""
    if content_range == f"bytes */{_size(part)}":
        return
    part.unlink()
    raise _CutError("the part kept from an earlier download is longer than the file")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
