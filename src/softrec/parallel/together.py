"""Starts the processes of a training, or finds those that torchrun or Slurm have started.

Without either, the process that is asked to train is the first one, and starts the others on its
machine; on several machines without either, the same command runs on each of them, with
MASTER_ADDR, MASTER_PORT and NODE_RANK in the environment.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessContext, start_processes

from softrec.errors import SoftrecError, TrainingError
from softrec.parallel.world import EndedElsewhereError, World, joined, rank, within
from softrec.progress import telling

GRACE = 20.0  # seconds in which a process that lost another one ends by itself
HOME = "127.0.0.1"


class Found(NamedTuple):
    """Which process this is, and where the processes meet."""

    world: World
    address: str


@contextmanager
def together(
    devices: int, nodes: int, others: Callable[[], object], *, cuda: bool = False
) -> Iterator[None]:
    """A context in which as many processes work together as are asked for, or have been started.

    Args:
        devices: processes on each machine.
        nodes: machines.
        others: what a process does that is started here; it must enter this context itself.
        cuda: whether each process has a CUDA device.

    Raises:
        TrainingError: if as many cannot be started, or if one of them ended.
    """
    found = started()
    if within() or (found is None and devices * nodes == 1):
        yield  # within: a stage, which one process trains
        return
    with ExitStack() as stack:
        if found is None:
            found = _here(devices, nodes)
            stack.enter_context(_with_others(found, others))
        elif devices * nodes not in (1, found.world.size):
            raise TrainingError(
                f"{found.world.size} processes were started, but the recipe asks for {devices} on "
                f"{nodes} machines; leave out --devices and --nodes, or start as many"
            )
        if cuda and torch.cuda.device_count() < found.world.local_size:
            raise TrainingError(
                f"{found.world.local_size} processes on this machine need as many CUDA devices, "
                f"and there are {torch.cuda.device_count()}; ask for as many with --devices, or "
                "choose --accelerator cpu"
            )
        stack.enter_context(_quiet(found.world))
        stack.enter_context(joined(found.world, _meeting(found), cuda=cuda))
        yield


def started() -> Found | None:
    """Return which of the processes of torchrun, Slurm or `together` this is, if of any."""
    if _own:
        return _own[0]
    from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

    slurm = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    if TorchElasticEnvironment.detect():
        place, local = TorchElasticEnvironment(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        address = "env://"  # there torchrun has a store already
    elif slurm and SLURMEnvironment.detect():
        place = SLURMEnvironment()
        local = place.world_size() // int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
        address = f"tcp://{place.main_address}:{place.main_port}"
    else:
        return None
    own = World(place.global_rank(), place.world_size(), place.local_rank(), local)
    return Found(own, address) if own.size > 1 else None


def is_first() -> bool:
    """Return whether this process is the one that writes and tells."""
    found = started()
    return rank() == 0 and (found is None or found.world.rank == 0)


# --- started here ---

_own: list[Found] = []  # of a process that `together` has started


def _here(devices: int, nodes: int) -> Found:
    """Return the place of this process, which starts the others on its machine."""
    if nodes == 1:
        return Found(World(0, devices, 0, devices), f"tcp://{HOME}:{_server().port}")
    try:
        node, port = int(os.environ["NODE_RANK"]), int(os.environ["MASTER_PORT"])
        address = f"tcp://{os.environ['MASTER_ADDR']}:{port}"
    except (KeyError, ValueError) as error:
        raise TrainingError(
            f"{nodes} machines need torchrun or Slurm, or the same command on each of them with "
            "MASTER_ADDR, MASTER_PORT and NODE_RANK (0, 1, ...) in the environment"
        ) from error
    return Found(World(node * devices, nodes * devices, 0, devices), address)


@cache
def _server() -> dist.TCPStore:
    return dist.TCPStore(HOME, 0, is_master=True, wait_for_workers=False)


@cache
def _store(address: str, rank: int, size: int) -> dist.Store:
    if address == f"tcp://{HOME}:{_server().port}" and rank == 0:
        return _server()
    store, _, _ = next(iter(dist.rendezvous(address, rank, size)))
    return store


_meetings = count()


def _meeting(found: Found) -> dist.Store:
    """Return where the processes meet this time; a store is used for one training after another."""
    store = _store(found.address, found.world.rank, found.world.size)
    return dist.PrefixStore(f"softrec {next(_meetings)}", store)


@contextmanager
def _with_others(found: Found, others: Callable[[], object]) -> Iterator[None]:
    """A context in which the other processes of this machine do `others`, and end with it."""
    first = found.world
    if first.local_size == 1:
        yield
        return
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="softrec-") as folder:
        each = max(1, threads // first.local_size)
        running = start_processes(
            _other, (found, others, each, folder), first.local_size - 1, join=False,
            start_method="spawn",
        )  # fmt: skip
        assert running is not None
        torch.set_num_threads(each)
        try:
            yield
        except Exception as error:
            told = _told(running, first, Path(folder), error)
            if told is None:
                raise
            raise told from error
        else:
            _wait(running, 60.0)
        finally:
            torch.set_num_threads(threads)
            _end(running)


def _other(
    number: int, found: Found, others: Callable[[], object], threads: int, folder: str
) -> None:
    """What a process does that was started here; an error is left in `folder`."""
    first = found.world
    local = number + 1
    own = first._replace(rank=first.rank + local, local_rank=local)
    _own.append(found._replace(world=own))
    torch.set_num_threads(threads)
    try:
        others()
    except SoftrecError as error:
        if not isinstance(error, EndedElsewhereError):
            (Path(folder) / str(number)).write_bytes(pickle.dumps(error))
        os._exit(1)  # without waiting for the others


def _told(
    running: ProcessContext, first: World, folder: Path, error: Exception
) -> SoftrecError | None:
    """Return why another process ended, if that explains an error here."""
    if isinstance(error, SoftrecError) and not isinstance(error, EndedElsewhereError):
        return None
    _wait(running, GRACE, some=True)
    for number, process in enumerate(running.processes):
        told = folder / str(number)
        if told.exists():
            return pickle.loads(told.read_bytes())
        if process.exitcode is not None and process.exitcode < 0:
            name = signal.Signals(-process.exitcode).name
            return TrainingError(
                f"process {first.rank + number + 1} of {first.size} was ended by {name}; the "
                "others have ended, too: run the same command again, and training goes on from "
                "its last checkpoint"
            )
    return None


def _wait(running: ProcessContext, seconds: float, *, some: bool = False) -> None:
    """Wait until the other processes, or some of them, have ended."""
    until = time.monotonic() + seconds
    enough = any if some else all
    while time.monotonic() < until:
        if enough(process.exitcode is not None for process in running.processes):
            return
        time.sleep(0.02)


def _end(running: ProcessContext) -> None:
    """End the other processes that have not ended themselves."""
    for process in running.processes:
        if process.exitcode is None:
            process.terminate()
    _wait(running, 5.0)
    for process in running.processes:
        if process.exitcode is None:
            process.kill()
        process.join()


@contextmanager
def _quiet(one: World) -> Iterator[None]:
    """A context in which only the first process writes lines, bars and warnings."""
    if one.rank == 0:
        yield
        return
    logger = logging.getLogger("softrec")
    level = logger.level
    with telling(progress=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
