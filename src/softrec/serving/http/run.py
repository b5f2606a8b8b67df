"""The server: an application behind a socket."""

from __future__ import annotations

import contextlib
import socket

import uvicorn
from fastapi import FastAPI

from softrec.errors import SoftrecError
from softrec.serving.http.limits import Load, Sizes
from softrec.serving.http.metrics import Metrics
from softrec.serving.http.sockets import bounded


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; port 0 stands for any free port.

    Raises:
        SoftrecError: if the address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=2048)
        # asyncio sets it only for sockets that name their protocol, as these do not. Without it
        # head and body of a reply wait for each other: 40 ms a request.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return bound
    except OSError as error:
        raise SoftrecError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); "
            "choose another --host or --port"
        ) from error


def server(app: FastAPI, load: Load, metrics: Metrics) -> uvicorn.Server:
    """Return a server of an application, with limits of time and number for its sockets."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=bounded(load, metrics),
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,  # paths may have ids of people
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=2 * Sizes().head,
            timeout_graceful_shutdown=load.stop_seconds,
        )
    )


def serve(app: FastAPI, bound: socket.socket, load: Load, metrics: Metrics) -> None:
    """Serve until the process is told to stop; requests that have begun are answered first."""
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when all is done
        server(app, load, metrics).run(sockets=[bound])
