"""What is done where Ray trains: a task, and what it tells to the process that asked for it."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from softrec.errors import SoftrecError, TrainingError
from softrec.experiments.executors.base import done
from softrec.experiments.store.folders import HeldError
from softrec.extras import require
from softrec.progress import telling
from softrec.training.trackers import tracking

LEASE = 300.0  # seconds in which a disk lets go what a lost machine had locked


class Setting(NamedTuple):
    """Where a task comes from.

    Attributes:
        number: of the task.
        folder: in which paths are relative; it is on a disk that all machines see.
        lock: a file that is there as long as the command works; None without one.
        host: the name of the machine.
        version: of softrec there.
        threads: of the task.
        trackers: where the curve goes.
    """

    number: int
    folder: str
    lock: str | None
    host: str
    version: str
    threads: int
    trackers: tuple[str, ...] | None


class Messages:
    """What tasks tell and ask; an actor beside the process that asked for the tasks."""

    def __init__(self) -> None:
        self._told: list[tuple[int, str, Any]] = []
        self._arrived = asyncio.Event()
        self._asked: dict[Any, asyncio.Future[bool]] = {}
        self._begun: set[str] = set()

    async def tell(self, number: int, kind: str, content: Any) -> None:
        """Keep a message until it is taken."""
        self._told.append((number, kind, content))
        self._arrived.set()

    async def begun(self, number: int, task: str, host: str) -> bool:
        """Return whether a task was begun before, by a process that was lost."""
        again = task in self._begun
        self._begun.add(task)
        if again:
            await self.tell(number, "again", host)
        return again

    async def taken(self, seconds: float) -> list[tuple[int, str, Any]]:
        """Return the messages since the last call, after waiting for one so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), seconds)
        self._arrived.clear()
        told, self._told = self._told, []
        return told

    async def ask(self, number: int, value: float, epoch: int) -> bool:
        """Return whether a training is to end after an epoch, as the other process answers."""
        answer = asyncio.get_running_loop().create_future()
        self._asked[number, (value, epoch)] = answer
        await self.tell(number, "report", (value, epoch))
        return await answer

    async def answer(self, number: int, content: tuple[float, int], whether: bool) -> None:
        """Answer a question."""
        asked = self._asked.pop((number, content), None)
        if asked is not None:
            asked.set_result(whether)


def work(
    common: bytes,
    do: Callable[..., Any],
    arguments: tuple[Any, ...],
    reports: bool,
    setting: Setting,
    messages: Any,
) -> tuple[Any, Exception | None]:
    """Do a task; return its result, or its error, which is raised where it was asked for."""
    ray: Any = require("ray", "--on ray")
    number = setting.number
    task = ray.get_runtime_context().get_task_id()  # the same wherever it is begun again
    again = ray.get(messages.begun.remote(number, task, socket.gethostname()))

    def told(line: str) -> None:
        messages.tell.remote(number, "line", line)

    def warned(message: Warning | str, category: type[Warning], *_: Any) -> None:
        if category.__module__.startswith("softrec"):
            messages.tell.remote(number, "warning", message)

    def report(value: float, epoch: int) -> bool:
        return ray.get(messages.ask.remote(number, value, epoch))

    try:
        with warnings.catch_warnings(), telling(write=told), tracking(setting.trackers):
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = warned
            _settle(setting)
            until = time.monotonic() + LEASE if again else 0.0
            told_of = report if reports else None
            return _when_free(
                lambda: done(do, pickle.loads(common), arguments, told_of), until
            ), None
    except Exception as error:
        return None, _portable(error)


def _when_free(do: Callable[[], Any], until: float) -> Any:
    """Do a task, again and again while the lost process that began it has its folder locked."""
    while True:
        try:
            return do()
        except HeldError:
            if time.monotonic() > until:
                raise
            time.sleep(1)


def _settle(setting: Setting) -> None:
    """Work in the folder of the command, with the threads of a task.

    Raises:
        SoftrecError: if the folder or the version of softrec is another one.
    """
    here = socket.gethostname()
    if version("softrec") != setting.version:
        raise SoftrecError(
            f"{here} has softrec {version('softrec')}, and {setting.host} has {setting.version}; "
            "install the same version on all machines"
        )
    try:
        os.chdir(setting.folder)
    except OSError as error:
        raise TrainingError(
            f"{here} does not have the folder {setting.folder} in which {setting.host} was asked "
            "to train; work on a disk that all machines of the Ray cluster see by the same path"
        ) from error
    if setting.lock is not None and not Path(setting.lock).exists():
        raise TrainingError(
            f"{here} does not see what {setting.host} writes to {Path(setting.lock).parent}; let "
            "--out be on a disk that all machines of the Ray cluster see by the same path"
        )
    torch.set_num_threads(setting.threads)


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent, with its traceback."""
    if not isinstance(error, SoftrecError):
        error.add_note(f"on {socket.gethostname()}:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    return error
