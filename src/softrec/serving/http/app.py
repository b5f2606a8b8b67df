"""The application: paths, and what each of them does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from softrec.errors import SoftrecError
from softrec.serving.http.bodies import Interests, Recommend, Similar
from softrec.serving.http.guard import Guard
from softrec.serving.http.limits import Load, Sizes
from softrec.serving.http.live import Deployed, Live
from softrec.serving.http.metrics import Metrics
from softrec.serving.http.openapi import describe
from softrec.serving.http.page import PAGE
from softrec.serving.http.routes import Routes
from softrec.serving.http.work import Pool
from softrec.serving.service import Service

KEY = "SOFTREC_API_KEY"
"""The environment variable with the key that requests must bring."""
OPEN = frozenset({"/health", *PAGE})
"""The paths that need no key: they tell nothing about users or items."""


def key_of_environment(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the key that requests must bring; None if there is none.

    Raises:
        SoftrecError: if the variable is there and empty, which would open the service by accident.
    """
    key = environment.get(KEY)
    if key is None:
        return None
    if not key.strip():
        raise SoftrecError(f"{KEY} is empty; give it a key, or unset it to serve without one")
    return key.strip()


def create_app(
    service: Service | Deployed | Live,
    *,
    key: str | None = None,
    sizes: Sizes | None = None,
    load: Load | None = None,
    watch: float | None = None,
) -> FastAPI:
    """Return the FastAPI application of a service.

    Args:
        service: a recommender, with or without what is told about it; or `Live`, which can be
            reloaded.
        key: that requests must bring as `X-API-Key` or `Authorization: Bearer`; by default none.
        sizes: limits of a request.
        load: limits of all requests together.
        watch: seconds after which to look for a new run, again and again; None never looks.

    Example:
        app = create_app(softrec.open_run("runs/first").recommender())
    """
    sizes, load = sizes or Sizes(), load or Load()
    if isinstance(service, Live):
        live = service
    else:
        live = Live(
            Metrics(), current=service if isinstance(service, Deployed) else Deployed(service)
        )
    pool = Pool(load.threads, load.waiting)
    live.metrics.count_held(lambda: pool.held)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        tasks = _started(live, watch)
        yield
        for task in tasks:
            task.cancel()
        live.close()
        pool.close()

    app = FastAPI(
        title="softrec",
        version=version("softrec"),
        lifespan=lifespan,
        docs_url=None,  # its page fetches scripts from elsewhere
        redoc_url=None,
    )
    Routes(live, pool, sizes).add_to(app, reloading=key is not None)
    app.state.errors = live.metrics.errors
    describe(app, Recommend, Interests, Similar)
    app.add_middleware(
        Guard,
        metrics=live.metrics,
        key=key,
        open_paths=OPEN,
        paths=frozenset(getattr(route, "path", "") for route in app.routes),
        sizes=sizes,
        load=load,
    )
    return app


def _started(live: Live, watch: float | None) -> list[asyncio.Task[Any]]:
    """Begin to look for new runs, and reload after SIGHUP where there is such a signal."""
    if live.pointer is None:
        return []
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[Any]] = []
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(
                signal.SIGHUP, lambda: tasks.append(loop.create_task(live.reload()))
            )
    if watch is not None:
        tasks.append(loop.create_task(live.watch(watch)))
    return tasks
