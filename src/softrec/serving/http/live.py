"""What is served now, and how a new run takes its place without a request being dropped.

The new one is loaded beside the old one, asked once, and then put in its place by one assignment.
Requests that began with the old one end with it. One that cannot be loaded changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from softrec.errors import DataError, SoftrecError, of_the_system, one_line
from softrec.serving.http.metrics import Metrics
from softrec.serving.http.names import Names
from softrec.serving.service import Service

LOGGER = logging.getLogger("softrec.serve")


def someone(service: Service) -> dict[str, Any]:
    """Return somebody to ask a service for: a user, or a history if it knows no user."""
    log = service.log
    if len(log.users):
        return {"users": log.users.ids([0]).to_list()}
    return {"histories": {"first": log.items.ids([0]).to_list()}}


class Abilities(NamedTuple):
    """What a service can do: models differ."""

    histories: bool
    interests: bool

    @classmethod
    def of(cls, service: Service) -> Abilities:
        """Ask a service for each, once."""
        first = service.log.items.ids([0]).to_list()
        history: dict[str, Any] = {"histories": {"first": first}}
        return cls(
            _answers(lambda: service.recommend(None, 1, **history)),
            _answers(lambda: service.interests(**someone(service), items=1)),
        )


def _answers(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except DataError:
        return False
    return True


@dataclass(frozen=True)
class Deployed:
    """A service with what is told about it.

    Args:
        service: that answers.
        kind: "run" or "export", or whatever it was made of.
        version: changes with every other model; a hash of its files.
        created: when it was trained or exported.
    """

    service: Service
    kind: str = "service"
    version: str = "0"
    created: datetime | None = None

    @cached_property
    def names(self) -> Names:
        """Return the ids and titles to search in."""
        return Names.of(self.service)

    @cached_property
    def can(self) -> Abilities:
        """Return what the service can do, found out by asking it."""
        return Abilities.of(self.service)

    def facts(self) -> dict[str, Any]:
        """Return what may be told to anybody."""
        return {
            "model": self.service.name,
            "kind": self.kind,
            "version": self.version,
            "created": self.created,
        }

    def warm(self) -> None:
        """Answer once, so that the first request does not wait for what is computed once.

        Raises:
            SoftrecError: if it cannot answer.
        """
        _ = self.names, self.can
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.service.recommend(**someone(self.service), k=1)


Load = Callable[[Path], Deployed]


class Place(NamedTuple):
    """A folder as it was when it was looked at; another one if anything in it was replaced."""

    folder: Path
    stamp: tuple[int, int, int]


RESULTS = ("run.json", "manifest.json")


def place_of(pointer: Path) -> Place:
    """Return what a pointer names: a run or export, a link to one, or a file with its path.

    A path in a file that is not absolute starts at the folder of the file.

    Raises:
        SoftrecError: if it leads nowhere.
    """
    folder = pointer.resolve()
    if folder.is_file():
        text = folder.read_text(encoding="utf-8", errors="replace").strip()
        folder = (folder.parent / (text.splitlines() or [""])[0]).resolve()
    for name in RESULTS:
        try:
            found = (folder / name).stat()
        except OSError:
            continue
        return Place(folder, (found.st_ino, found.st_mtime_ns, found.st_size))
    raise SoftrecError(
        f"{pointer} leads to {folder}, which is neither a finished run nor an export; "
        "let it lead to a folder with run.json or manifest.json"
    )


class Live:
    """What is served now.

    Args:
        load: makes a service of a folder.
        pointer: that leads to the folder, now and later; None if nothing is reloaded.
        current: what is served first; by default what the pointer leads to.

    Raises:
        SoftrecError: if that cannot be loaded.
    """

    def __init__(
        self,
        metrics: Metrics,
        load: Load | None = None,
        pointer: Path | None = None,
        current: Deployed | None = None,
    ) -> None:
        self.metrics = metrics
        self.load = load
        self.pointer = pointer
        self.last: dict[str, Any] | None = None  # how the last reload ended
        self._place: Place | None = None
        self._tried: Place | None = None
        self._lock = asyncio.Lock()
        # A thread of its own, so that loading does not take one from the requests.
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="softrec-load")
        if current is None:
            if load is None or pointer is None:
                raise ValueError("expected a service, or a pointer and what loads it")
            self._place = self._tried = place_of(pointer)
            current = load(self._place.folder)
            current.warm()
        self.current = current
        self._note()

    def _note(self) -> None:
        facts = self.current.facts()
        self.metrics.serve(facts["model"], facts["kind"], facts["version"])

    async def reload(self, *, changed_only: bool = False) -> bool:
        """Load what the pointer leads to, and serve it; return whether something new is served.

        Args:
            changed_only: load nothing if that is what was tried last.
        """
        if self.load is None or self.pointer is None:
            return False
        loop = asyncio.get_running_loop()
        async with self._lock:
            try:
                fresh = await loop.run_in_executor(self._loader, self._fresh, changed_only)
            except Exception as error:
                self._failed(error)
                return False
            if fresh is None:
                return False
            self.current = fresh
            self._note()
            self.metrics.reloads.labels("done").inc()
            self.last = {"result": "done", "at": datetime.now(UTC), "error": None}
            LOGGER.info("now serving %s, version %s", fresh.service.name, fresh.version)
            return True

    def _fresh(self, changed_only: bool) -> Deployed | None:
        """Return the new service, loaded and asked once; None if there is nothing new."""
        assert self.load is not None
        assert self.pointer is not None
        place = place_of(self.pointer)
        if place == self._place or (changed_only and place == self._tried):
            return None
        self._tried = place
        fresh = self.load(place.folder)
        fresh.warm()
        self._place = place
        return fresh

    def _failed(self, error: Exception) -> None:
        """Note why a new run is not served."""
        fixable = isinstance(error, SoftrecError)
        text = str(error) if fixable else of_the_system(error) or f"{type(error).__name__}: {error}"
        text = one_line(text)
        if self.last is None or self.last["error"] != text:
            LOGGER.error(
                "the new run is not served, the old one goes on: %s",
                text,
                exc_info=None if fixable else error,
            )
            self.metrics.reloads.labels("failed").inc()
        self.last = {"result": "failed", "at": datetime.now(UTC), "error": text}

    async def watch(self, seconds: float) -> None:
        """Look for a new run every few seconds, for ever."""
        while True:
            await asyncio.sleep(seconds)
            await self.reload(changed_only=True)

    def close(self) -> None:
        """Begin no further loading."""
        self._loader.shutdown(wait=False, cancel_futures=True)
