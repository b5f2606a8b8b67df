"""The processes that Slurm starts, known by the variables of `srun`.

Lightning's own reading refuses `--ntasks` without `--ntasks-per-node`, and takes the tasks of a
batch script, in which one process runs, for processes; so the variables of the step are read here.
"""

from __future__ import annotations

import os
import re

from softrec.parallel.world import Found, World


def found() -> Found | None:
    """Return which of the tasks of `srun` this process is; None if it is alone.

    A shell that `srun --pty bash` has started is no task of a training.
    """
    size = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if size == 1 or os.environ.get("SLURM_JOB_NAME") == "bash":
        return None
    node = int(os.environ["SLURM_NODEID"])
    own = World(
        int(os.environ["SLURM_PROCID"]),
        size,
        int(os.environ["SLURM_LOCALID"]),
        tasks(os.environ.get("SLURM_STEP_TASKS_PER_NODE", str(size)))[node],
    )
    return Found(own, f"tcp://{_first_machine()}:{_port()}")


def tasks(text: str) -> list[int]:
    """Return the number of tasks on each node, from what Slurm writes for it.

    Example:
        >>> tasks("2(x3),1")
        [2, 2, 2, 1]
    """
    parts = (re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part) for part in text.split(","))
    return [int(part[1]) for part in parts if part for _ in range(int(part[2] or 1))]


def _first_machine() -> str:
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "127.0.0.1")
    return os.environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes)


def _port() -> int:
    """Return a port that other jobs, and other steps of this job, hardly have as well."""
    number = int(os.environ.get("SLURM_JOB_ID", "0")) + int(os.environ.get("SLURM_STEP_ID", "0"))
    return int(os.environ.get("MASTER_PORT") or 15_000 + number % 10_000)
