"""Servers on a free port of this machine, for as long as a test needs them."""

import http.client
import json
import socket
import threading
from contextlib import contextmanager

from softrec.serving.http.app import create_app
from softrec.serving.http.limits import Load
from softrec.serving.http.metrics import Metrics
from softrec.serving.http.run import listening, server


@contextmanager
def running(app, load=None, metrics=None):
    """Serve an application; yield its port."""
    bound = listening("127.0.0.1", 0)
    serving = server(app, load or Load(), metrics or Metrics())
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield bound.getsockname()[1]
    finally:
        serving.should_exit = True
        thread.join(60)
        bound.close()
        assert not thread.is_alive()


@contextmanager
def serving(live, load=None, **options):
    """Serve what is live; yield the port."""
    app = create_app(live, load=load, **options)
    with running(app, load, getattr(live, "metrics", None)) as port:
        yield port


def asked(port, path, body=None, connection=None, **headers):
    """Return (status, reply) of a request; with a body it is a POST."""
    own = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    method = "GET" if body is None else "POST"
    if body is not None:
        headers["content-type"] = "application/json"
    own.request(method, path, None if body is None else json.dumps(body), headers)
    reply = own.getresponse()
    content = reply.read()
    if connection is None:
        own.close()
    return reply.status, json.loads(content)


def opened(port):
    """Return an open socket."""
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def all_of(sock):
    """Return what a socket receives until it is closed."""
    parts = []
    try:
        while part := sock.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def sent(port, data):
    """Return all that comes back for some bytes, until the socket is closed."""
    with opened(port) as sock:
        sock.sendall(data)
        return all_of(sock)
