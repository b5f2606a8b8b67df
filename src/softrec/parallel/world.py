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


class EndedElsewhereError(TrainingError):
    """Another process has ended with an error, and says why."""


ALONE = World(0, 1, 0, 1)
_world: ContextVar[World] = ContextVar("softrec_world", default=ALONE)
_waiting: ContextVar[Any] = ContextVar("softrec_waiting", default=None)


def world() -> World:
    """Return the processes of this training."""
    return _world.get()


def rank() -> int:
    """Return the number of this process, from 0."""
    return _world.get().rank


def size() -> int:
    """Return how many processes train together; 1 if this one is alone."""
    return _world.get().size


def within() -> bool:
    """Return whether this process is one of several, although it may work alone for a while."""
    return _waiting.get() is not None


@contextmanager
def joined(one: World, store: Any, *, cuda: bool = False) -> Iterator[None]:
    """A context in which this process is one of several.

    Args:
        one: which one it is.
        store: a store of `torch.distributed`, where they find each other.
        cuda: whether they train on CUDA devices.
    """
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    dist.init_process_group(backend, store=store, rank=one.rank, world_size=one.size)
    with ExitStack() as stack:
        stack.callback(dist.destroy_process_group)
        stack.callback(_world.reset, _world.set(one))
        patient = dist.new_group(backend="gloo", timeout=WAITING)
        stack.callback(_waiting.reset, _waiting.set(patient))
        yield


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
    """Return the sum over the processes, without a gradient."""
    if size() == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total


def summed_array(array: np.ndarray) -> np.ndarray:
    """Return the sum over the processes."""
    return array if size() == 1 else summed(torch.from_numpy(array)).numpy()


def everyone(value: T) -> list[T]:
    """Return the values of all processes, small ones, in their order."""
    if size() == 1:
        return [value]
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, value, group=_waiting.get())
    return found


def gathered(rows: Tensor) -> tuple[Tensor, slice]:
    """Return the rows of all processes, one after the other, and where the own ones are.

    The processes may have different numbers of rows. The gradient of all of them goes back to
    the process that has the row.
    """
    if size() == 1:
        return rows, slice(0, len(rows))
    counts = _counts(rows)
    begin = sum(counts[: rank()])
    return _Gathered.apply(rows, counts), slice(begin, begin + len(rows))  # pyright: ignore[reportReturnType]


def _counts(rows: Tensor) -> list[int]:
    own = torch.tensor([len(rows)])
    found = [torch.empty_like(own) for _ in range(size())]
    dist.all_gather(found, own)
    return [int(count) for count in found]


class _Gathered(torch.autograd.Function):
    """The rows of all processes; the gradient of a row is summed where the row is."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([each[:count] for each, count in zip(found, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        begin = sum(ctx.counts[: rank()])
        return summed(gradient.contiguous())[begin : begin + ctx.counts[rank()]], None
