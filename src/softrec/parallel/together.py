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
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import distributed
from torch.multiprocessing.spawn import ProcessContext, start_processes

from softrec.errors import SoftrecError, TrainingError, one_line
from softrec.parallel import slurm
from softrec.parallel.network import NAMED, name_interface
from softrec.parallel.world import EndedElsewhereError, Found, World, joined, rank, within
from softrec.progress import telling

GRACE = 20.0  # seconds in which a process that lost another one ends by itself
HOME = "127.0.0.1"
dist: Any = distributed


@contextmanager
def together(
    devices: int, nodes: int, others: Callable[[], object], *, cuda: bool = False, shards: int = 1
) -> Iterator[None]:
    """A context in which as many processes work together as are asked for, or have been started.

    Args:
        devices: processes on each machine.
        nodes: machines.
        others: what a process does that is started here; it must enter this context itself.
        cuda: whether each process has a CUDA device.
        shards: in how many parts they have the items; where no number of processes is asked for,
            as many are started.

    Raises:
        TrainingError: if as many cannot be started, or if one of them ended.
    """
    found = started()
    if found is None and devices * nodes == 1:
        devices = shards
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
        if found.world.local_size < found.world.size:
            name_interface(_first_machine(found))
        stack.enter_context(_quiet(found.world))
        stack.enter_context(_lost())
        stack.enter_context(joined(found.world, _meeting(found), cuda=cuda, shards=shards))
        yield


def started() -> Found | None:
    """Return which of the processes of torchrun, Slurm or `together` this is, if of any."""
    if _own:
        return _own[0]
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if not TorchElasticEnvironment.detect():
        return slurm.found()
    place = TorchElasticEnvironment()
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    own = World(place.global_rank(), place.world_size(), place.local_rank(), local)
    return Found(own, "env://") if own.size > 1 else None  # there torchrun has a store already


def _first_machine(found: Found) -> str:
    named = urlsplit(found.address).hostname
    return named or os.environ.get("MASTER_ADDR", HOME)


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
def _server() -> Any:
    return dist.TCPStore(HOME, 0, is_master=True, wait_for_workers=False)


@cache
def _store(address: str, rank: int, size: int) -> Any:
    if address == f"tcp://{HOME}:{_server().port}" and rank == 0:
        return _server()
    store, _, _ = next(iter(dist.rendezvous(address, rank, size)))
    return store


_meetings = count()


def _meeting(found: Found) -> Any:
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
    tell_of_first = _TellOfFirst(own)
    try:
        others()
    except Exception as error:
        if not isinstance(error, SoftrecError):
            traceback.print_exc()
            error = TrainingError(f"process {own.rank + 1} of {own.size}: {error}")
        if isinstance(error, EndedElsewhereError):
            tell_of_first.wait()
        else:
            (Path(folder) / f"{number}.part").write_bytes(pickle.dumps(error))
            (Path(folder) / f"{number}.part").rename(Path(folder) / str(number))
        os._exit(1)  # without waiting for the others


class _TellOfFirst:
    """Prints why a process ends when the first one on its machine has ended and cannot say so.

    The end shows twice, in either order: as a broken connection, and as the SIGINT by which torch
    ends a process that has lost the one that started it.
    """

    def __init__(self, own: World) -> None:
        self.own, self.first, self.told = own, os.getppid(), False
        signal.signal(signal.SIGINT, self._interrupted)

    def wait(self, seconds: float = 1.0) -> None:
        """Tell, if the first process has ended or ends within so many seconds."""
        until = time.monotonic() + seconds
        while not self._tell() and time.monotonic() < until:
            time.sleep(0.02)

    def _interrupted(self, number: int, frame: object) -> None:
        if self.told:  # or telling just now; `wait` goes on where it was
            return
        if not self._tell():
            raise KeyboardInterrupt
        os._exit(1)

    def _tell(self) -> bool:
        if os.getppid() == self.first:
            return False
        if self.own.local_rank == 1 and not self.told:
            self.told = True
            number = self.own.rank - self.own.local_rank + 1
            text = _ended(f"process {number} of {self.own.size} has ended")
            os.write(sys.stderr.fileno(), f"error: {text}\n".encode())
        return True


def _told(
    running: ProcessContext, first: World, folder: Path, error: Exception
) -> SoftrecError | None:
    """Return why another process ended, if that explains an error here."""
    if not isinstance(error, EndedElsewhereError):
        return None
    until = time.monotonic() + GRACE
    while time.monotonic() < until:
        ended = [process.exitcode for process in running.processes]
        for number, code in enumerate(ended):
            if (folder / str(number)).exists():
                return pickle.loads((folder / str(number)).read_bytes())
            if code is not None and code < 0:
                return _killed(first.rank + number + 1, first.size, code)
        if None not in ended:
            return None
        time.sleep(0.02)
    return None


def _killed(number: int, of: int, code: int) -> TrainingError:
    how = f"process {number + 1} of {of} was ended by {signal.Signals(-code).name}"
    return TrainingError(_ended(how))


def _ended(how: str) -> str:
    return (
        f"{how}, and so the others ended; run the same command again: training goes on from its "
        "last checkpoint"
    )


@contextmanager
def _lost() -> Iterator[None]:
    """A context in which an error of a connection says that another process has ended."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not isinstance(error, dist.DistError) and "gloo" not in text:
            raise
        if "connectFullMesh" in text:
            raise TrainingError(
                "the processes of this training cannot reach each other; check that no firewall is "
                f"between the machines, and set {NAMED} on each to the name of its network "
                f"interface, as `ip addr` lists it ({one_line(text, 120)})"
            ) from error
        raise EndedElsewhereError(
            "another process of this training has ended, and so this one ends; run the same "
            f"command again: training goes on from its last checkpoint ({one_line(text, 120)})"
        ) from error


def _wait(running: ProcessContext, seconds: float) -> None:
    """Wait until the other processes have ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if all(process.exitcode is not None for process in running.processes):
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
