"""Download a file once, whole and verified, or say what is missing.

What is not complete lies under `<name>.part`; the final name appears only after the checksum was
right. An interrupted download goes on where it stopped, if the server can.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
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
ATTEMPTS = 4  # in a row without a single new byte
OK, PARTIAL, RANGE_NOT_SATISFIABLE = 200, 206, 416

Report = Callable[[int, int | None], None]  # bytes so far, bytes in all if known


class DownloadError(DataError):
    """A file could not be had over the network."""


class _Cut(OSError):
    """The connection ended before the file did."""


def fetch(
    url: str,
    target: Path,
    checksum: str | None = None,
    *,
    progress: bool | None = None,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> Path:
    """Download `url` to `target` and return `target`.

    Args:
        url: an http or https address.
        target: the final name; its folder is made if need be.
        checksum: `md5:...` or `sha256:...`; without one only the length can be checked.
        progress: whether to show a bar on stderr; None shows it on a terminal only.
        timeout: seconds without a byte after which the connection counts as cut.
        pause: seconds to wait before going on after a cut, doubled each time in a row.

    Raises:
        DownloadError: if there is no way to the file, or the server refuses it.
        DataError: if the checksum is wrong; what came is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    if checksum is None:
        # A rest of an earlier run cannot be told from a rest of another version: begin anew.
        part.unlink(missing_ok=True)
    shown = sys.stderr.isatty() if progress is None else progress
    with _bar(shown) as bar:
        task = bar.add_task(target.name, total=None)
        _persist(
            url,
            part,
            timeout,
            pause,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    if checksum is not None:
        try:
            verify(part, checksum)
        except DataError as error:
            part.unlink()
            raise DataError(
                f"{url} came with another content than expected ({error}) and was removed; run "
                "the command again, and if it happens again, the file has changed at its source"
            ) from error
    os.replace(part, target)
    return target


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
        raise DataError(f"the {kind} of {path.name} is {received}, expected was {expected}")


def _bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown,
    )


def _persist(url: str, part: Path, timeout: float, pause: float, report: Report) -> None:
    """Transfer until the file is complete, or `ATTEMPTS` in a row have brought nothing."""
    fruitless = 0
    while True:
        before = _size(part)
        try:
            _transfer(url, part, timeout, report)
            return
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            if error.code < 500:  # the server knows its answer; asking again changes nothing
                raise DownloadError(f"{url}: {error.code} {error.reason}") from error
            reason: Exception = error
        except (_Cut, ConnectionError, TimeoutError, http.client.HTTPException) as error:
            reason = error
        except OSError as error:  # URLError: no such host, refused, no route, a bad certificate
            raise DownloadError(f"{url}: {getattr(error, 'reason', error)}") from error
        fruitless = 0 if _size(part) > before else fruitless + 1
        if fruitless >= ATTEMPTS:
            raise DownloadError(f"{url}: {reason}") from reason
        time.sleep(pause * 2**fruitless)


def _transfer(url: str, part: Path, timeout: float, report: Report) -> None:
    """Make one request for what `part` still lacks, and append the answer.

    Raises:
        _Cut: if the answer ended early.
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
            raise _Cut("the server sent another range than was asked for")
        done = have if resumed else 0  # 200: the server knows no ranges and begins at the start
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with part.open("ab" if resumed else "wb") as file:
            report(done, total)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                report(done, total)
    if total is not None and done < total:
        raise _Cut(f"the connection was cut after {done:,} of {total:,} bytes")


def _beyond_the_end(content_range: str | None, part: Path) -> None:
    """Deal with a part that the server says is complete (`bytes */<its length>`) or too long."""
    if content_range == f"bytes */{_size(part)}":
        return
    part.unlink()
    raise _Cut("the part kept from an earlier download is longer than the file")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
