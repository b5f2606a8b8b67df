"""The paths, and what each of them does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import Field
from starlette.exceptions import HTTPException

from softrec.serving.http import answers, replies
from softrec.serving.http.bodies import Interests, Recommend, Similar
from softrec.serving.http.errors import RefusedError, of_faults, of_status
from softrec.serving.http.limits import Sizes
from softrec.serving.http.live import Live
from softrec.serving.http.openapi import documented
from softrec.serving.http.page import PAGE, content
from softrec.serving.http.together import Together
from softrec.serving.http.work import Pool

JSON = "application/json"
SMALL = 4096
"""Bytes of a body up to which it is read by the event loop, and answered together with others."""
ItemId = Annotated[str, Field(max_length=500)]


class Routes:
    """What the paths do with a service.

    Args:
        live: what is served now.
        pool: the threads that answer.
        sizes: limits of a request.
    """

    def __init__(self, live: Live, pool: Pool, sizes: Sizes) -> None:
        self.live = live
        self.pool = pool
        self.sizes = sizes
        self.together = Together[Recommend, answers.Lists](pool)

    def add_to(self, app: FastAPI, *, reloading: bool) -> None:
        """Add all paths, and the replies to errors, to an application."""
        app.post("/recommend", **documented(replies.Lists, Recommend))(self.recommend)
        app.post("/interests", **documented(replies.AllInterests, Interests))(self.interests)
        app.post("/similar", **documented(replies.AllSimilar, Similar))(self.similar)
        app.get("/similar", **documented(replies.AllSimilar))(self.similar_to)
        app.get("/items", **documented(replies.Found))(self.items)
        app.get("/about", **documented(replies.About))(self.about)
        app.get("/health", **documented(replies.Health))(self.health)
        app.get("/metrics", response_class=Response)(self.metrics)
        if reloading:
            app.post("/reload", **documented(replies.Health))(self.reload)
        for path in PAGE:
            app.add_route(path, self.page, methods=["GET"], include_in_schema=False)
        app.add_exception_handler(RefusedError, _refused)
        app.add_exception_handler(HTTPException, _refused)
        app.add_exception_handler(RequestValidationError, _refused)

    async def recommend(self, request: Request) -> Response:
        """Recommend items to users of the log, and for given histories."""
        body, deployed = await _json(request), self.live.current

        def answer(requests: Sequence[Recommend]) -> list[answers.Lists | Exception]:
            return answers.recommend(deployed, self.sizes, requests)

        if len(body) > SMALL:
            found = await self.pool.run(_alone, answer, body)
        else:
            given = answers.read(Recommend, body)
            settings = given.model_dump_json(exclude={"users", "histories", "unknown"})
            people = len(given.users) + len(given.histories)
            found = await self.together.run((id(deployed), settings), given, people, answer)
        self.live.metrics.lists.inc(found.number)
        return Response(found.reply, media_type=JSON)

    async def interests(self, request: Request) -> Response:
        """Show the interests that the model has for users: the items that each ranks first."""
        body = await _json(request)
        reply = await self.pool.run(answers.interests, self.live.current, self.sizes, body)
        return Response(reply, media_type=JSON)

    async def similar(self, request: Request) -> Response:
        """List items similar to others, or to several together with weights."""
        body = await _json(request)
        reply = await self.pool.run(answers.similar, self.live.current, self.sizes, body)
        return Response(reply, media_type=JSON)

    async def similar_to(
        self,
        item: Annotated[list[ItemId], Query(min_length=1, max_length=100)],
        k: Annotated[int, Query(ge=1, description="Items of a list.")] = 10,
    ) -> Response:
        """List items similar to others."""
        given = Similar(items=[*item], k=k)
        reply = await self.pool.run(answers.similar_to, self.live.current, self.sizes, given)
        return Response(reply, media_type=JSON)

    async def items(
        self,
        q: Annotated[str, Query(max_length=200, description="A part of an id or title.")] = "",
        offset: Annotated[int, Query(ge=0, le=2**40, description="Items to skip.")] = 0,
        limit: Annotated[int, Query(ge=1, le=200, description="Items of a page.")] = 20,
        id: Annotated[
            list[ItemId], Query(max_length=200, description="These items instead of a search.")
        ] = [],  # noqa: B006 - FastAPI copies it
    ) -> Response:
        """Search the items of the catalogue by id or title, or look some up by their ids."""
        if id:
            reply = await self.pool.run(answers.look_up, self.live.current, id)
            return Response(reply, media_type=JSON)
        reply = await self.pool.run(answers.search, self.live.current, q, offset, limit)
        return Response(reply, media_type=JSON)

    async def about(self) -> Response:
        """Tell the sizes of the service, what it can do, and a few ids to begin with."""
        reply = await self.pool.run(answers.about, self.live.current, self.sizes)
        return Response(reply, media_type=JSON)

    async def health(self) -> Response:
        """Tell that the server answers, with which model, and how the last reload ended."""
        return self._health()

    async def metrics(self) -> Response:
        """Return the numbers for Prometheus."""
        metrics = self.live.metrics
        return Response(metrics.text(), headers={"content-type": metrics.media_type})

    async def reload(self) -> Response:
        """Serve the newest run, where the server was told how to find it."""
        if self.live.pointer is None:
            raise RefusedError(
                409,
                "nothing_to_reload",
                "the server was started with a service that is in memory",
                "start it with softrec serve",
            )
        await self.live.reload()
        return self._health()

    async def page(self, request: Request) -> Response:
        """Return a file of the page."""
        text, media_type = content(request.url.path)
        return Response(text, headers={"content-type": media_type})

    def _health(self) -> Response:
        served, last = self.live.current.facts(), self.live.last
        reply = {"status": "ok", "served": served, "reload": last}
        return Response(replies.encoded(reply), media_type=JSON)


def _alone(answer: Callable[..., list[answers.Lists | Exception]], body: bytes) -> answers.Lists:
    """Return the answer to a request that is read and answered by itself."""
    (found,) = answer([answers.read(Recommend, body)])
    if isinstance(found, Exception):
        raise found
    return found


async def _json(request: Request) -> bytes:
    """Return the body of a request that says it is JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:
        raise RefusedError(
            415,
            "unsupported_media_type",
            f"expected a body of the type {JSON}, got {kind or 'none'!r}",
            f"send the header Content-Type: {JSON} (with curl: -H 'Content-Type: {JSON}')",
        )
    return await request.body()


async def _refused(request: Request, error: Exception) -> Response:
    """Return the reply to an error. It is counted here; those of the guard are counted there."""
    if isinstance(error, RequestValidationError):
        error = of_faults(error.errors())
    elif isinstance(error, HTTPException):
        error = of_status(error.status_code)
    assert isinstance(error, RefusedError)
    request.app.state.errors.labels(error.kind).inc()
    return Response(error.body(), error.status, headers=error.headers, media_type=JSON)
