"""Downloads against a small server on this machine: cuts, lies, refusals."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from messages import refused
from softrec.data import sources
from softrec.data.sources import Counts, Parts, RemoteFile, Source
from softrec.data.sources.download import DownloadError, fetch, verify
from softrec.errors import DataError

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@dataclass
class Behaviour:
    """What the server does, and what it was asked."""

    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes sent before each cut, then none
    statuses: list[int] = field(default_factory=list)  # errors to answer with first
    asked: list[str | None] = field(default_factory=list)  # the Range of each request
    drip: str = ""  # "head" or "body": sent a byte at a time, for ever
    whole: int = len(CONTENT)  # the length that an answer of a range tells of the file
    content: bytes = CONTENT
    over: threading.Event = field(default_factory=threading.Event)


class Handler(http.server.BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        behaviour = self.behaviour
        wanted = self.headers.get("Range")
        behaviour.asked.append(wanted)
        if behaviour.statuses:
            self.send_error(behaviour.statuses.pop(0))
            return
        if behaviour.drip:
            self.wfile.write(b"HTTP/1.0 200 OK\r\n")
            self.wfile.write(b"\r\n" if behaviour.drip == "body" else b"X-Long: ")
            try:
                while not behaviour.over.wait(0.01):
                    self.wfile.write(b"x")
            except OSError:
                pass
            return
        start = 0
        if wanted and behaviour.ranges:
            match = re.fullmatch(r"bytes=(\d+)-", wanted)
            assert match is not None
            start = int(match[1])
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = behaviour.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{behaviour.whole}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if behaviour.cut_after:
            body = body[: behaviour.cut_after.pop(0)]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Behaviour]]:
    monkeypatch.setenv("no_proxy", "*")
    behaviour = Behaviour()
    handler = type("BoundHandler", (Handler,), {"behaviour": behaviour})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/file.bin", behaviour
        behaviour.over.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return an address at which nothing listens."""
    monkeypatch.setenv("no_proxy", "*")
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    return f"http://127.0.0.1:{port}/file.bin"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("checksum", [SHA256, MD5, None])
def test_a_whole_download_has_its_final_name_alone(server, tmp_path, checksum):
    url, behaviour = server
    target = fetch(url, tmp_path / "new" / "file.bin", checksum)
    assert target.read_bytes() == CONTENT
    assert files(target.parent) == ["file.bin"]
    assert behaviour.asked == [None]


def test_a_cut_download_goes_on_where_it_stopped(server, tmp_path):
    url, behaviour = server
    behaviour.cut_after = [100_000, 50_000]
    target = fetch(url, tmp_path / "file.bin", SHA256, pause=0)
    assert target.read_bytes() == CONTENT
    assert behaviour.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_without_a_checksum_a_cut_download_goes_on_too(server, tmp_path):
    url, behaviour = server
    behaviour.cut_after = [100_000]
    assert fetch(url, tmp_path / "file.bin", pause=0).read_bytes() == CONTENT
    assert behaviour.asked == [None, "bytes=100000-"]


def test_a_part_of_an_earlier_run_is_used(server, tmp_path):
    url, behaviour = server
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1234])
    assert fetch(url, tmp_path / "file.bin", SHA256).read_bytes() == CONTENT
    assert behaviour.asked == ["bytes=1234-"]
    assert files(tmp_path) == ["file.bin"]


def test_a_part_that_cannot_be_checked_is_not_used(server, tmp_path):
    url, behaviour = server
    (tmp_path / "file.bin.part").write_bytes(b"of another version")
    assert fetch(url, tmp_path / "file.bin").read_bytes() == CONTENT
    assert behaviour.asked == [None]


def test_a_complete_part_is_not_downloaded_again(server, tmp_path):
    url, behaviour = server
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch(url, tmp_path / "file.bin", SHA256).read_bytes() == CONTENT
    assert behaviour.asked == [f"bytes={len(CONTENT)}-"]


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    url, behaviour = server
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(url, tmp_path / "file.bin", SHA256, pause=0).read_bytes() == CONTENT
    assert behaviour.asked == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_server_without_ranges_begins_again(server, tmp_path):
    url, behaviour = server
    behaviour.ranges = False
    behaviour.cut_after = [100_000]
    assert fetch(url, tmp_path / "file.bin", SHA256, pause=0).read_bytes() == CONTENT
    assert behaviour.asked == [None, "bytes=100000-"]


def test_a_connection_that_brings_nothing_is_given_up_and_keeps_its_part(server, tmp_path):
    url, behaviour = server
    behaviour.cut_after = [100_000] + [0] * 10
    with refused(DownloadError):
        fetch(url, tmp_path / "file.bin", SHA256, pause=0)
    assert files(tmp_path) == ["file.bin.part"]
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:100_000]


def test_a_wrong_checksum_removes_what_came(server, tmp_path):
    url, _ = server
    wrong = "sha256:" + "0" * 64
    with refused(DataError) as caught:
        fetch(url, tmp_path / "file.bin", wrong)
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value)
    assert "removed" in str(caught.value)
    assert files(tmp_path) == []


def test_the_final_name_keeps_the_old_file_until_the_new_one_is_whole(server, tmp_path):
    url, behaviour = server
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")
    behaviour.cut_after = [1000] + [0] * 10
    with pytest.raises(DownloadError):
        fetch(url, target, SHA256, pause=0)
    assert target.read_bytes() == b"old"
    behaviour.cut_after = []
    assert fetch(url, target, SHA256).read_bytes() == CONTENT


def test_a_server_that_drips_is_given_up(server, tmp_path):
    url, behaviour = server
    behaviour.drip = "body"
    with refused(DownloadError):
        fetch(url, tmp_path / "file.bin", timeout=0.2, pause=0)
    assert len(behaviour.asked) == 4
    assert not (tmp_path / "file.bin").exists()


def test_a_server_that_drips_its_headers_is_given_up(server, tmp_path):
    url, behaviour = server
    behaviour.drip = "head"
    with refused(DownloadError):
        fetch(url, tmp_path / "file.bin", pause=0, limit=0.5)
    assert not (tmp_path / "file.bin").exists()


def test_a_range_of_another_file_is_not_appended(server, tmp_path):
    url, behaviour = server
    behaviour.cut_after = [100_000]
    behaviour.whole = 400_000
    assert fetch(url, tmp_path / "file.bin", pause=0).read_bytes() == CONTENT
    assert behaviour.asked == [None, "bytes=100000-", None]


@pytest.mark.parametrize("name", ["a.gz", "a.zip", "a.mat", "a.txt"])
@pytest.mark.parametrize("content", [b"\n<!DOCTYPE html><p>log in</p>", b"<html>", b""])
def test_a_page_in_place_of_a_file_is_not_kept(server, tmp_path, name, content):
    url, behaviour = server
    behaviour.content = content
    with refused(DataError):
        fetch(url, tmp_path / name)
    assert files(tmp_path) == []


@pytest.mark.parametrize("name", ["a.gz", "a.zip", "a.mat", "a.xz"])
def test_what_cannot_be_of_its_kind_is_not_kept(server, tmp_path, name):
    url, _ = server
    with refused(DataError):
        fetch(url, tmp_path / name)
    assert files(tmp_path) == []


def test_a_missing_file_is_not_asked_for_again(server, tmp_path):
    url, behaviour = server
    behaviour.statuses = [404]
    with refused(DownloadError):
        fetch(url, tmp_path / "file.bin", pause=0)
    assert len(behaviour.asked) == 1
    assert files(tmp_path) == []


def test_a_busy_server_is_asked_again(server, tmp_path):
    url, behaviour = server
    behaviour.statuses = [503, 500]
    assert fetch(url, tmp_path / "file.bin", SHA256, pause=0).read_bytes() == CONTENT
    assert len(behaviour.asked) == 3


def test_a_bar_is_shown_only_when_wanted(server, tmp_path, capsys):
    url, _ = server
    fetch(url, tmp_path / "silent.bin", SHA256)  # stderr is no terminal here
    assert capsys.readouterr().err == ""
    fetch(url, tmp_path / "loud.bin", SHA256, progress=True)
    captured = capsys.readouterr()
    assert "loud.bin" in captured.err
    assert captured.out == ""


def test_verify_states_both_checksums(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")
    verify(path, "md5:900150983cd24fb0d6963f7d28e17f72")  # RFC 1321, the test suite of MD5
    with refused(DataError):
        verify(path, "md5:1")


# --- the same by way of a source: data folder, then cache, then network ---


def source_at(url: str | None, checksum: str | None = SHA256, how: str = "") -> Source:
    return Source(
        name="toy",
        title="A toy",
        files=(RemoteFile("file.bin", url, checksum, local=("elsewhere/other.bin",), how=how),),
        read=lambda path: Parts(),
        licence="none",
        citation="none",
        homepage="none",
        counts=Counts(0, 0, 0),
    )


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SOFTREC_CACHE", str(folder))
    monkeypatch.delenv("SOFTREC_DATA", raising=False)
    return folder


def test_a_source_is_downloaded_once(server, cache):
    url, behaviour = server
    paths = sources.locate(source_at(url))
    assert paths == {"file.bin": cache / "toy" / "file.bin"}
    assert sources.locate(source_at(url)) == paths
    assert len(behaviour.asked) == 1


@pytest.mark.parametrize(
    "place", ["toy/file.bin", "toy/file.bin.xz", "elsewhere/other.bin", "elsewhere/other.bin.gz"]
)
@pytest.mark.parametrize("by_environment", [False, True])
def test_a_data_folder_comes_before_the_network(
    cache, closed, tmp_path, monkeypatch, place, by_environment
):
    path = tmp_path / "data" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"anything: a user's own files are taken as they are")
    if by_environment:
        monkeypatch.setenv("SOFTREC_DATA", str(tmp_path / "data"))
    folder = None if by_environment else tmp_path / "data"
    assert sources.locate(source_at(closed), folder) == {"file.bin": path}


def test_a_changed_file_in_the_cache_is_named(cache, closed):
    kept = cache / "toy" / "file.bin"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"half of it")
    with refused(DataError) as caught:
        sources.locate(source_at(closed))
    assert str(kept) in str(caught.value)


def test_without_a_network_the_error_says_which_file_to_put_where(cache, closed):
    with pytest.raises(DownloadError) as caught:
        sources.locate(source_at(closed))
    text = str(caught.value)
    assert "toy: cannot download file.bin" in text
    assert "refused" in text.lower()
    assert closed in text
    assert str(cache / "toy" / "file.bin") in text
    assert "toy/file.bin or elsewhere/other.bin" in text
    assert "--data-dir" in text
    assert not (cache / "toy" / "file.bin").exists()


def test_putting_the_file_where_the_error_says_mends_it(cache, closed):
    with pytest.raises(DownloadError) as caught:
        sources.locate(source_at(closed))
    match = re.search(r"save it as (\S+),", str(caught.value))
    assert match is not None
    Path(match[1]).write_bytes(CONTENT)
    assert sources.locate(source_at(closed)) == {"file.bin": cache / "toy" / "file.bin"}


def test_a_file_without_an_address_says_how_to_get_it(cache):
    with refused(DataError):
        sources.locate(source_at(None, how="Ask its owner for it"))


def test_a_data_folder_that_does_not_exist_is_an_error(cache, closed, tmp_path, monkeypatch):
    with refused(DataError):
        sources.locate(source_at(closed), tmp_path / "nowhere")
    monkeypatch.setenv("SOFTREC_DATA", str(tmp_path / "nowhere"))
    with refused(DataError):
        sources.locate(source_at(closed))


@pytest.mark.parametrize("kept", [False, True])
def test_a_fresh_file_that_cannot_be_read_is_not_kept(server, cache, restored, kept):
    def broken(path: Path) -> Parts:
        raise DataError("it is no log")

    source = dataclasses.replace(source_at(server[0], checksum=None), read=broken)
    restored(sources.SOURCES)["toy"] = source
    path = cache / "toy" / "file.bin"
    if kept:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"put here by hand")
    with refused(DataError):
        sources.load("toy")
    assert path.exists() == kept
