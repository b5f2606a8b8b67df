"""What sockets may do: come too late, stay too long, be too many, speak no HTTP."""

import json
import socket
import time
from contextlib import suppress

import pytest
from servers import all_of, asked, opened, running, sent, serving
from shops import shop

from softrec.errors import SoftrecError
from softrec.serving.http.limits import Load, Sizes
from softrec.serving.http.live import Deployed, Live
from softrec.serving.http.metrics import Metrics
from softrec.serving.http.run import listening

QUICK = Load(connections=3, head_seconds=0.3, body_seconds=0.3, reply_seconds=0.3)
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def port():
    with serving(Live(Metrics(), current=Deployed(shop())), QUICK, sizes=Sizes(body=3000)) as port:
        yield port


def post(body=b'{"users": ["u0"], "k": 1}', *headers, length=True):
    """Return the bytes of a request for a list."""
    lines = [b"POST /recommend HTTP/1.1", b"Host: x", b"Content-Type: application/json", *headers]
    lines += [b"Content-Length: %d" % len(body)] if length else []
    return b"\r\n".join([*lines, b"", b""]) + body


def replies(data):
    """Return (status, JSON) of each reply in some bytes."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(b": ") for line in lines)}
        size = int(headers[b"content-length"])
        found.append((int(status.split()[1]), json.loads(rest[:size])))
        data = rest[size:]
    return found


def kinds(data):
    return [(status, reply["error"]["type"]) for status, reply in replies(data)]


def eventually(condition):
    """Wait for a condition, for at most a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_socket_that_says_nothing_is_closed(port):
    assert sent(port, b"") == b""


def test_a_head_that_does_not_end_is_not_waited_for(port):
    """The time does not begin again with each byte: the head would end after 0.6 seconds."""
    with opened(port) as sock:
        with suppress(BrokenPipeError, ConnectionResetError):
            for byte in HEALTH:
                sock.sendall(bytes([byte]))
                time.sleep(0.02)
        assert all_of(sock) == b""


def test_a_body_that_does_not_come_is_not_waited_for(port):
    (found,) = kinds(sent(port, post(b"", b"Content-Length: 20", length=False)))
    assert found == (408, "timeout")


def test_a_socket_is_kept_for_the_next_request_and_closed_after_a_while(port):
    with opened(port) as sock:
        sock.sendall(HEALTH + post() + HEALTH)  # all at once
        found = replies(all_of(sock))
    assert [status for status, _ in found] == [200, 200, 200]
    assert found[1][1]["lists"][0]["user"] == "u0"


def test_a_reply_that_nobody_reads_is_not_kept():
    async def large(scope, receive, send):
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
        await send({"type": "http.response.body"})

    with running(large, QUICK) as port, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(60)
        sock.connect(("127.0.0.1", port))
        sock.sendall(HEALTH)
        time.sleep(1)  # reads nothing
        assert len(all_of(sock)) < 64 * 2**20


def test_one_socket_too_many_is_told_to_come_back(port):
    eventually(lambda: asked(port, "/health")[0] == 200)
    held = [opened(port) for _ in range(3)]
    try:
        for sock in held:  # three are not too many
            sock.sendall(HEALTH)
            assert sock.recv(100).startswith(b"HTTP/1.1 200")
        data = sent(port, b"")
        assert kinds(data) == [(503, "busy")]
        assert b"Retry-After: 1" in data
    finally:
        for sock in held:
            sock.close()
    eventually(lambda: asked(port, "/health")[0] == 200)


BROKEN = {
    "no HTTP": b"HELLO\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "a folded header": b"GET /health HTTP/1.1\r\n Host: x\r\n\r\n",
    "a header with a zero": b"GET /health HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    "a negative length": post(b"", b"Content-Length: -5", length=False),
    "a length in words": post(b"", b"Content-Length: five", length=False),
    "two lengths": post(b"12345", b"Content-Length: 2"),
    "two codings": post(b"", b"Transfer-Encoding: gzip, chunked", length=False),
    "a chunk of no size": post(b"zz\r\nxx\r\n", b"Transfer-Encoding: chunked", length=False),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_http_is_refused(port, name):
    found = replies(sent(port, BROKEN[name]))
    assert [(status, reply["error"]["type"]) for status, reply in found] == [(400, "broken_http")]


@pytest.mark.parametrize("size", [17_000, 100_000, 400_000])
@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n",
                                  b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"])  # fmt: skip
def test_a_long_head_is_refused(port, head, size):
    (found,) = kinds(sent(port, head % (b"y" * size)))
    assert found in [(431, "too_large"), (400, "broken_http")]  # read whole, or in parts


def test_a_body_of_just_the_largest_size_is_read(port):
    for size, status in ((3000, 200), (3001, 413)):
        body = b'{"users": ["u0"], "k": 1}'.ljust(size)
        assert replies(sent(port, post(body, b"Connection: close")))[0][0] == status


def test_a_body_in_chunks_is_read_and_bounded(port):
    head = post(b"", b"Transfer-Encoding: chunked", b"Connection: close", length=False)
    body = b'{"users": ["u0"], "k": 1}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    ((status, reply),) = replies(sent(port, head + chunks))
    assert (status, len(reply["lists"])) == (200, 1)
    endless = b"400\r\n" + b" " * 1024 + b"\r\n"
    assert kinds(sent(port, head + endless * 3 + b"0\r\n\r\n")) == [(413, "too_large")]


def test_bodies_that_are_read_at_once_are_bounded():
    """One half is held; the second is one too many; when the first is gone, it is welcome."""
    load = Load(bodies=3000, body_seconds=60)
    with serving(Live(Metrics(), current=Deployed(shop())), load) as port:
        half = post(b" " * 2000, b"Content-Length: 4000", length=False)
        with opened(port) as first:
            first.sendall(half)
            data = b""
            end = time.monotonic() + 60
            while not data and time.monotonic() < end:
                with opened(port) as second:
                    second.settimeout(0.5)
                    second.sendall(half)
                    with suppress(TimeoutError):
                        data = all_of(second)
            assert kinds(data) == [(503, "busy")]
        eventually(lambda: asked(port, "/recommend", {"users": ["u0" + " " * 2500]})[0] == 422)


def test_a_length_and_chunks_are_not_both_believed(port):
    """Servers that believe different ones of them can be made to see different requests."""
    data = sent(port, post(b"0\r\n\r\n" + HEALTH, b"Transfer-Encoding: chunked"))
    assert kinds(data) == [(400, "broken_http")]


@pytest.mark.parametrize(
    "path",
    ["/page/../app.py", "/page/..%2fapp.py", "//etc/passwd", "/page/%2e%2e/%2e%2e/cli/main.py",
     "/page/app.js%00", "/%00", "/page/", "/../../etc/passwd", "/\\..\\..", "/items/../metrics"],
)  # fmt: skip
def test_no_path_leads_out_of_the_page(port, path):
    data = sent(port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert kinds(data) == [(404, "not_found")]


def test_a_socket_is_not_upgraded(port):
    upgrade = b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    ((status, _),) = replies(sent(port, HEALTH[:-2] + upgrade))
    assert status == 200


def test_a_port_that_is_taken_is_told():
    with listening("127.0.0.1", 0) as bound, pytest.raises(SoftrecError) as caught:
        listening("127.0.0.1", bound.getsockname()[1])
    assert "choose another --host or --port" in str(caught.value)


def test_a_reply_is_not_held_back_for_more():
    """Otherwise head and body wait for each other, 40 ms with each request on one socket."""
    with listening("127.0.0.1", 0) as bound, opened(bound.getsockname()[1]):
        accepted, _ = bound.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
