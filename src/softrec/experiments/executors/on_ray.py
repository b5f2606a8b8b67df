"""Tasks on Ray: on the CPUs of this machine, or on the machines of a cluster.

Each task is a Ray task, which Ray begins again elsewhere if its process or its machine is lost; it
then goes on from its checkpoint, because the folders are on a disk that all machines see. Lines of
text, warnings, and metrics that may end a training come back through one small actor.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import warnings
from collections.abc import Iterable
from concurrent.futures import Future
from importlib.metadata import version
from pathlib import Path
from typing import Any

from softrec.data.sources.base import cache_dir
from softrec.errors import RecipeError, TrainingError, one_line
from softrec.experiments.executors.base import Executor, Outcomes, Task
from softrec.experiments.executors.worker import Messages, Setting, work
from softrec.experiments.store.folders import lock_of
from softrec.extras import require
from softrec.recipe.plugins import plugins_of
from softrec.recipe.recipe import Recipe
from softrec.training.trackers import chosen

LOGGER = logging.getLogger(__name__)
RETRIES = 10
"""How often a task is begun again after its process or machine was lost."""
PATIENCE = 0.2  # seconds until a process that was lost is noticed here
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


class OnRay(Executor):
    """Does as many tasks at a time as the CPUs of a Ray cluster allow.

    The cluster is the one that the program is connected to, else that of RAY_ADDRESS or the one
    that runs on this machine, else it is started here, and ended with this context.

    Args:
        cpus: of each task.
        out: the folder of the command, locked while tasks are done; None without one.
    """

    def __init__(self, cpus: int, out: str | Path | None = None) -> None:
        self.cpus = cpus
        self.out = out
        self.ray: Any = require("ray", "--on ray")
        self.messages: Any = None  # not yet connected
        self.connected = False  # by this object
        self._sent: tuple[Any, Any] | None = None

    def __exit__(self, *_: object) -> None:
        """Leave the cluster, unless the program was connected before."""
        self.messages = self._sent = None
        if self.connected:
            self.ray.shutdown()
            self.connected = False

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe that another process could not read, or that needs several machines.

        Raises:
            RecipeError: if it has a Python object, or `training.nodes`.
        """
        if recipe.training.nodes > 1:
            raise RecipeError(
                "each training on Ray is on one machine, but training.nodes is "
                f"{recipe.training.nodes}; leave it out"
            )
        for one in plugins_of(recipe):
            if "instance" in one or one["module"] == "__main__":
                raise RecipeError(
                    f"the {one['kind']} {one['name']!r} is known in this process alone, and not "
                    "where Ray trains; put it into a file of its own and name that by --plugin (in "
                    "Python softrec.load_plugins), or train here"
                )
        if recipe.target.name == "object":
            raise RecipeError(
                "a target that is a Python object is not known where Ray trains; register it in a "
                "file of its own, named by --plugin, or train here"
            )

    def outcomes(self, tasks: Iterable[Task]) -> Outcomes:
        """Do tasks, and yield each with its outcome, in the order in which they end."""
        waiting = iter(tasks)
        running: dict[Any, int] = {}
        begun: list[Task] = []
        try:
            while True:
                while not running or len(running) < self._places(begun[-1].recipe):
                    task = next(waiting, None)
                    if task is None:
                        break
                    running[self._begin(task, len(begun))] = len(begun)
                    begun.append(task)
                if not running:
                    return
                self._hear(begun)
                ended, _ = self.ray.wait(list(running), timeout=0)
                if ended:
                    self._hear(begun)
                for reference in ended:
                    task = begun[running.pop(reference)]
                    yield task, self._outcome(task, reference)
        finally:
            for reference in running:
                self.ray.cancel(reference, force=True)

    # --- the cluster ---

    def _connect(self) -> None:
        """Connect to a cluster or start one, with an actor for messages on this machine."""
        if self.messages is not None:
            return
        for name in ("RAY_USAGE_STATS_ENABLED", "RAY_worker_niceness"):  # 15 if that is not said
            os.environ.setdefault(name, "0")
        if not self.ray.is_initialized():
            self.ray.init(log_to_driver=False, logging_level=logging.ERROR)
            self.connected = True
        near: Any = require("ray.util.scheduling_strategies", "--on ray")
        node = self.ray.get_runtime_context().get_node_id()
        home = near.NodeAffinitySchedulingStrategy(node, soft=False)
        actor = self.ray.remote(num_cpus=0, scheduling_strategy=home)(Messages)
        self.messages = actor.remote()
        machines = self._machines()
        LOGGER.info(
            "on Ray: machines %d, CPUs %d, of each run %d",
            len(machines), sum(int(one.get("CPU", 0)) for one in machines), self.cpus,
        )  # fmt: skip

    def _machines(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _places(self, recipe: Recipe) -> int:
        """Return how many such tasks can be done at a time."""
        needs = self._needs(recipe)
        return sum(
            min(int(one.get(what, 0) // number) for what, number in needs.items())
            for one in self._machines()
        )

    def _needs(self, recipe: Recipe) -> dict[str, int]:
        """Return the CPUs and GPUs of a task.

        Raises:
            TrainingError: if no machine has as many CPUs, so that it would wait for ever.
        """
        spec, machines = recipe.training, self._machines()
        cpus, most = max(self.cpus, spec.devices), max(one.get("CPU", 0) for one in machines)
        if cpus > most:
            raise TrainingError(
                f"no machine of the Ray cluster has the {cpus} CPUs of a run, the largest has "
                f"{int(most)}; lower --cpus-per-run"
            )
        some = spec.accelerator == "auto" and any(one.get("GPU") for one in machines)
        if some or spec.accelerator in ("gpu", "cuda"):
            return {"CPU": cpus, "GPU": spec.devices}
        return {"CPU": cpus}

    # --- a task ---

    def _begin(self, task: Task, number: int) -> Any:
        """Begin a task, and return the reference to its outcome."""
        self._connect()
        cache = str(cache_dir().absolute())
        lock = None if self.out is None else str(lock_of(Path(self.out).absolute()))
        variables = {**dict.fromkeys(THREADS, str(self.cpus)), "SOFTREC_CACHE": cache}
        setting = Setting(
            number,
            str(Path.cwd()),
            lock,
            socket.gethostname(),
            version("softrec"),
            self.cpus,
            chosen(),
        )
        needs = self._needs(task.recipe)
        remote = self.ray.remote(
            max_retries=RETRIES, runtime_env={"env_vars": variables}, num_cpus=needs["CPU"],
            num_gpus=needs.get("GPU", 0),
        )(work)  # fmt: skip
        return remote.remote(
            self._common(task.common), task.do, task.arguments, task.report is not None, setting,
            self.messages,
        )  # fmt: skip

    def _common(self, common: Any) -> Any:
        """Return a reference to what several tasks share; the last one is kept.

        It is pickled here, so that arrays of a task are its own: Ray shares its own copies, which
        cannot be written.
        """
        if self._sent is None or self._sent[0] is not common:
            self._sent = None
            self._sent = common, self.ray.put(pickle.dumps(common, protocol=5))
        return self._sent[1]

    def _outcome(self, task: Task, reference: Any) -> Future[Any]:
        """Return the result of a task that has ended, or its error."""
        outcome: Future[Any] = Future()
        try:
            result, error = self.ray.get(reference)
        except self.ray.exceptions.RayError as lost:
            result, error = None, TrainingError(
                f"{task.name} could not be done on Ray, where a lost process is replaced "
                f"{RETRIES} times ({one_line(str(lost), 200)}); run the same command again to go on"
            )  # fmt: skip
        if error is None:
            outcome.set_result(result)
        else:
            outcome.set_exception(error)
        return outcome

    def _hear(self, begun: list[Task]) -> None:
        """Log what tasks tell, and answer what they ask."""
        for number, kind, content in self.ray.get(self.messages.taken.remote(PATIENCE)):
            task = begun[number]
            if kind == "again":
                LOGGER.info("%s: its process was lost; it goes on, on %s", task.name, content)
            elif kind == "line":
                LOGGER.info("%s: %s", task.name, content)
            elif kind == "warning":
                warnings.warn(content, stacklevel=2)
            elif kind == "report" and task.report is not None:
                self.messages.answer.remote(number, content, task.report(*content))
