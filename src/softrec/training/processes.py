"""One step of several processes: Lightning's `ddp`, and what it does not do.

Each process computes the gradient of the mean over its part of a batch, and `ddp` averages the
gradients. So that the average is the gradient of the mean over the whole batch, each mean is
multiplied by the share of its part, P_r R / P for P_r of P predictions in the r-th of R parts.
"""

from __future__ import annotations

import signal
import threading
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from softrec import parallel
from softrec.parallel.tables import part_of
from softrec.types import Batch, Encoder


class EndsAtOnce(Callback):
    """SIGTERM ends a process of several as it ends any other program, and the others end then.

    Lightning's own handler waits in the signal for the other processes, which wait for this one.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the place of the handler, which Lightning removes at the end."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def share(batch: Batch) -> float:
    """Return what the mean loss of a part of a batch is multiplied by.

    Example:
        >>> some = torch.zeros(3, dtype=torch.int64)
        >>> share(Batch(some[:, None], some, some, some))
        1.0
    """
    if batch.total is None:
        return 1.0
    return len(batch.label) * parallel.part()[1] / batch.total


def arguments(accelerator: str) -> dict[str, Any]:
    """Return the arguments of Lightning's trainer that depend on the number of processes."""
    world = parallel.world()
    if world.size == 1:  # Lightning would take the tasks of a batch job of Slurm for processes
        return {"accelerator": accelerator, "devices": 1, "plugins": [_Joined()]}
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "accelerator": accelerator,
        "devices": world.local_size,
        "num_nodes": world.size // world.local_size,
        # A model may leave parameters without a gradient in some steps.
        "strategy": _Strategy(cluster_environment=_Joined(), find_unused_parameters=True),
    }


class _Joined(ClusterEnvironment):
    """Tells Lightning of the processes, so that it neither looks for others nor starts any."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        return 0

    @staticmethod
    def detect() -> bool:
        return True

    def world_size(self) -> int:
        return parallel.size()

    def set_world_size(self, size: int) -> None: ...

    def global_rank(self) -> int:
        return parallel.rank()

    def set_global_rank(self, rank: int) -> None: ...

    def local_rank(self) -> int:
        return parallel.world().local_rank

    def node_rank(self) -> int:
        one = parallel.world()
        return one.rank // one.local_size


class _Strategy(DDPStrategy):
    """`ddp`, which leaves sparse gradients, and tables in shards, to `average_rows`."""

    def _setup_model(self, model: nn.Module) -> Any:
        encoder: Any = model.encoder
        own = {id(parameter) for parameter in by_rows(encoder)}
        left = [name for name, parameter in model.named_parameters() if id(parameter) in own]
        if len(left) == len(list(model.named_parameters())):
            return model  # `ddp` refuses a model for which it has nothing to do
        ddp: Any = DistributedDataParallel
        # Buffers were fitted on the same data in each process, and may be large.
        buffers = [name for name, _ in model.named_buffers()]
        ddp._set_params_and_buffers_to_ignore_for_model(model, [*left, *buffers])
        return super()._setup_model(model)


def by_rows(encoder: Encoder) -> list[nn.Parameter]:
    """Return the parameters that not all processes have, or whose gradients have only some rows.

    These are tables in shards, and the long tables, if sparse: `ddp` cannot average a gradient that
    is sparse in one step and dense in another, nor any sparse one on a CUDA device.
    """
    some = [table for table in encoder.parameters() if part_of(table) is not None]
    if not encoder.sparse:
        return some
    least = min(encoder.n_items, getattr(encoder, "n_users", encoder.n_items))
    return some + [table for table in encoder.parameters() if len(table) >= least]


def average_rows(encoder: Encoder) -> None:
    """Replace the gradients of `by_rows` by their means over the parts of a batch.

    Look-ups in tables in shards have sparse gradients, so that no look-up fills a table of its own.
    Where the optimiser needs dense ones, they become dense here.
    """
    for table in () if encoder.sparse else by_rows(encoder):
        if table.grad is not None and table.grad.is_sparse:
            table.grad = table.grad.to_dense()
    parts = parallel.part()[1]
    if parts == 1:
        return
    for parameter in by_rows(encoder):
        gradient = parameter.grad
        sparse, dense = _kinds(gradient)
        if dense:  # in one process at least
            whole = torch.zeros_like(parameter) if gradient is None else gradient.to_dense()
            parameter.grad = parallel.summed(whole) / parts
        elif sparse:
            parameter.grad = _mean_rows(parameter, gradient)


def clip_together(encoder: Encoder, most: float) -> None:
    """Limit the norm of the gradient of all parameters, whose tables are in shards, to `most`."""
    common, own = [], []
    for table in encoder.parameters():
        if table.grad is not None:
            (common if part_of(table) is None else own).append(table.grad)
    squares = [sum(torch.linalg.vector_norm(g) ** 2 for g in some) for some in (common, own)]
    whole = squares[0] + encoder.catalogue.summed(torch.as_tensor(squares[1]))
    factor = (most / (whole.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in (*common, *own):
        gradient.mul_(factor)


def _kinds(gradient: Tensor | None) -> tuple[bool, bool]:
    """Return whether any process has a sparse gradient, and whether any has a dense one."""
    own = torch.zeros(2, dtype=torch.int64)
    if gradient is not None:
        own[0 if gradient.is_sparse else 1] = 1
    sparse, dense = parallel.summed(own).tolist()
    return bool(sparse), bool(dense)


def _mean_rows(parameter: Tensor, gradient: Tensor | None) -> Tensor:
    if gradient is None:
        rows = torch.empty(0, dtype=torch.int64, device=parameter.device)
        values = parameter.new_empty(0, *parameter.shape[1:])
    else:
        gradient = gradient.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
    rows, _ = parallel.gathered(rows)
    values, _ = parallel.gathered(values)
    whole = torch.sparse_coo_tensor(
        rows[None], values / parallel.part()[1], parameter.shape, check_invariants=False
    )
    return whole.coalesce()
