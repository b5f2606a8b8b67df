"""The processes of a training: who they are, sums over them, and what one makes for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from softrec.errors import TrainingError

T = TypeVar("T")
WAITING = timedelta(days=7)  # for a stage that the first process trains while the others wait


class World(NamedTuple):
    """The processes of a training, and which of them this one is.

    Example:
        >>> world()
        World(rank=0, size=1, local_rank=0, local_size=1)
    """

    rank: int
    size: int
    local_rank: int  # on this machine
    local_size: int


class Found(NamedTuple):
    """Which process this is, and where the processes meet."""

    world: World
    address: str


class Mesh(NamedTuple):
    """How processes share a catalogue: some have one together, and one part of each batch.

    Of S shards, process r has shard r mod S, and part r // S of each batch.
    """

    shards: int = 1
    across: Any = None  # of `torch.distributed`: the processes that have one catalogue together
    alike: Any = None  # the processes that have the same shard


class EndedElsewhereError(TrainingError):
    """Another process has ended with an error, and says why."""


ALONE = World(0, 1, 0, 1)
WHOLE = Mesh()
_world: ContextVar[World] = ContextVar("softrec_world", default=ALONE)
_waiting: ContextVar[Any] = ContextVar("softrec_waiting", default=None)
_mesh: ContextVar[Mesh] = ContextVar("softrec_mesh", default=WHOLE)


def world() -> World:
    """Return the processes of this training."""
    return _world.get()


def rank() -> int:
    """Return the number of this process, from 0."""
    return _world.get().rank


def size() -> int:
    """Return how many processes train together; 1 if this one is alone."""
    return _world.get().size


def mesh() -> Mesh:
    """Return how the processes share a catalogue; a process that works alone has all of it."""
    return WHOLE if size() == 1 else _mesh.get()


def part() -> tuple[int, int]:
    """Return which part of a batch this process gets, from 0, and of how many."""
    shards = mesh().shards
    return rank() // shards, size() // shards


def within() -> bool:
    """Return whether this process is one of several, although it may work alone for a while."""
    return _waiting.get() is not None


@contextmanager
def joined(one: World, store: Any, *, cuda: bool = False, shards: int = 1) -> Iterator[None]:
    """A context in which this process is one of several.

    Args:
        one: which one it is.
        store: a store of `torch.distributed`, where they find each other.
        cuda: whether they train on CUDA devices.
        shards: in how many parts they have a catalogue.

    Raises:
        TrainingError: if the processes are not a multiple of the shards.
    """
    if one.size % shards:
        raise TrainingError(
            f"{one.size} processes cannot have a catalogue in {shards} shards; start a multiple of "
            f"{shards}, or choose another number with --shards"
        )
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    dist.init_process_group(backend, store=store, rank=one.rank, world_size=one.size)
    with ExitStack() as stack:
        stack.callback(dist.destroy_process_group)
        stack.callback(_world.reset, _world.set(one))
        patient = dist.new_group(backend="gloo", timeout=WAITING)
        stack.callback(_waiting.reset, _waiting.set(patient))
        if shards > 1:
            stack.callback(_mesh.reset, _mesh.set(_meshed(one, shards, backend)))
        yield


def _meshed(one: World, shards: int, backend: str) -> Mesh:
    """Return the groups of this process; each process makes all of them, in one order."""
    numbers = range(one.size)
    across = [list(numbers[begin : begin + shards]) for begin in numbers[::shards]]
    alike = [list(numbers[shard::shards]) for shard in range(shards)]
    made = [{each: dist.new_group(each, backend=backend) for each in map(tuple, groups)}
            for groups in (across, alike)]  # fmt: skip
    own = (next(group for ranks, group in some.items() if one.rank in ranks) for some in made)
    return Mesh(shards, *own)


@contextmanager
def by_itself() -> Iterator[None]:
    """A context in which this process works alone, while the others wait."""
    token = _world.set(ALONE)
    try:
        yield
    finally:
        _world.reset(token)


# --- what one makes for all ---


def by_first(make: Callable[[], T]) -> T:
    """Return what the first process makes, alone, while the others wait.

    Raises:
        EndedElsewhereError: in the others, if the first one raises an error.
    """
    if size() == 1:
        return make()
    box: list[Any] = [None]
    if rank() == 0:
        try:
            with by_itself():
                box = [(make(),)]
        finally:  # after an error, too, so that nobody waits for ever
            dist.broadcast_object_list(box, 0, group=_waiting.get())
    else:
        dist.broadcast_object_list(box, 0, group=_waiting.get())
    if box[0] is None:
        raise EndedElsewhereError("the first process ended with an error, which it has told")
    return box[0][0]


def in_turn(make: Callable[[], T]) -> T:
    """Return what this process makes, after the first one has made the same.

    So a file that all of them read is downloaded once.
    """
    if size() == 1:
        return make()
    made: list[T] = []
    by_first(lambda: made.append(make()))
    return made[0] if made else make()


# --- numbers of all ---


def from_first(tensor: Tensor) -> Tensor:
    """Return the tensor of the first process; the others have one of the same shape."""
    if size() > 1:
        dist.broadcast(tensor, 0)
    return tensor


def summed(tensor: Tensor) -> Tensor:
    """Return the sum over the parts of a batch, without a gradient."""
    if part()[1] == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total, group=mesh().alike)
    return total


def summed_array(array: np.ndarray) -> np.ndarray:
    """Return the sum over the parts of a batch."""
    return array if part()[1] == 1 else summed(torch.from_numpy(array)).numpy()


def everyone(value: T) -> list[T]:
    """Return the values of all processes, small ones, in their order."""
    if size() == 1:
        return [value]
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, value, group=_waiting.get())
    return found


def gathered(rows: Tensor) -> tuple[Tensor, slice]:
    """Return the rows of all parts of a batch, one after the other, and where the own ones are.

    The parts may have different numbers of rows. The gradient of all of them goes back to the
    process that has the row.
    """
    if part()[1] == 1:
        return rows, slice(0, len(rows))
    counts = _counts(rows)
    begin = sum(counts[: part()[0]])
    return _Gathered.apply(rows, counts), slice(begin, begin + len(rows))  # pyright: ignore[reportReturnType]


def _counts(rows: Tensor) -> list[int]:
    own = torch.tensor([len(rows)])
    found = [torch.empty_like(own) for _ in range(part()[1])]
    dist.all_gather(found, own, group=mesh().alike)
    return [int(count) for count in found]


class _Gathered(torch.autograd.Function):
    """The rows of all parts of a batch; the gradient of a row is summed where the row is."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded, group=mesh().alike)
        return torch.cat([each[:count] for each, count in zip(found, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        number = part()[0]
        begin = sum(ctx.counts[:number])
        return summed(gradient.contiguous())[begin : begin + ctx.counts[number]], None
