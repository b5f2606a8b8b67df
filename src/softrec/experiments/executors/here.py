"""Tasks in this process, one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from softrec.experiments.executors.base import Executor, Outcomes, Task


class Here(Executor):
    """Does one task after the other; a task begins when the outcome of the last one was taken."""

    def outcomes(self, tasks: Iterable[Task]) -> Outcomes:
        """Do tasks, and yield each with its outcome."""
        for task in tasks:
            outcome: Future[Any] = Future()
            try:
                outcome.set_result(task.done())
            except Exception as error:
                outcome.set_exception(error)
            yield task, outcome
