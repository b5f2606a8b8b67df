"""A task, what does tasks, and which of these there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from softrec.errors import RecipeError, no_such
from softrec.recipe.recipe import Recipe

On = Literal["here", "ray"]
Report = Callable[[float, int], bool]
"""Takes the validation metric of an epoch, and returns whether to end the training."""


Outcomes = Generator[tuple["Task", Future[Any]]]


class Task(NamedTuple):
    """A training, with all that it needs: `do(common, *arguments)`.

    Attributes:
        name: a short one, for messages.
        recipe: by which an executor knows how many processes and which devices it needs.
        do: a function of a module.
        common: what several tasks share, such as the data, so that it is sent once.
        arguments: of this task.
        report: passed to `do` by its name, and called where the tasks are made.
    """

    name: str
    recipe: Recipe
    do: Callable[..., Any]
    common: Any
    arguments: tuple[Any, ...]
    report: Report | None = None

    def done(self) -> Any:
        """Return the result, made in this process."""
        return done(self.do, self.common, self.arguments, self.report)


def done(
    do: Callable[..., Any], common: Any, arguments: Sequence[Any], report: Report | None
) -> Any:
    """Return the result of a task."""
    return do(common, *arguments, **({} if report is None else {"report": report}))


class Executor(ABC):
    """Does tasks; leaving its context ends those that are not done."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:  # noqa: B027 - nothing to do for some
        """End what is not done."""

    def check(self, recipe: Recipe) -> None:  # noqa: B027 - some take all recipes
        """Refuse a recipe that cannot be trained there.

        Raises:
            RecipeError: if it cannot.
        """

    @abstractmethod
    def outcomes(self, tasks: Iterable[Task]) -> Outcomes:
        """Do tasks, and yield each with its outcome as soon as it has one.

        A task is taken when it can begin, so that it may depend on the outcomes until then.
        """


def results(where: Executor, tasks: Iterable[Task]) -> list[Any]:
    """Return the results of tasks in their order; the first error is raised."""
    taken: list[Task] = []

    def noted() -> Iterator[Task]:
        for task in tasks:
            taken.append(task)
            yield task

    with closing(where.outcomes(noted())) as outcomes:  # so that an error ends the others
        found = {id(task): future.result() for task, future in outcomes}
    return [found[id(task)] for task in taken]


def executor(on: str, cpus_per_run: int | None = None, out: str | Path | None = None) -> Executor:
    """Return the executor of a name; it is a context.

    Args:
        on: "here", one training after the other in this process, or "ray".
        cpus_per_run: of each training on Ray, which is as many threads; by default 1.
        out: the folder of the command, which all machines must see.

    Raises:
        RecipeError: if there is no such executor, or a number that it does not take.
        SoftrecError: if Ray is not installed.
    """
    if on == "here":
        from softrec.experiments.executors.here import Here

        if cpus_per_run is not None:
            raise RecipeError(
                "cpus_per_run is for trainings on Ray; add --on ray (in Python on='ray'), or set "
                "OMP_NUM_THREADS for those here"
            )
        return Here()
    if on != "ray":
        raise RecipeError(no_such("executor", on, ["here", "ray"]))
    if cpus_per_run is not None and cpus_per_run < 1:
        raise RecipeError(f"cpus_per_run must be at least 1, got {cpus_per_run}")
    from softrec.experiments.executors.on_ray import OnRay

    return OnRay(cpus_per_run or 1, out)
