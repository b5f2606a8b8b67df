"""A catalogue in shards: each process has the vectors of some of the items."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from softrec.errors import TrainingError
from softrec.parallel.world import mesh


class Catalogue:
    r"""Which items this process has of a catalogue that several processes share.

    The items are numbered as ever, and a process has those from `start` to `stop` - 1. A softmax
    over all of them needs four numbers a row from the others, and the gradient of the users:

    $$R = \log \sum_p e^{R_p} \qquad z_y = \sum_p z_y^{(p)} \qquad E = \sum_p E_p \qquad
      \frac{\partial L}{\partial h} = \sum_p \frac{\partial L}{\partial h}^{(p)}$$

    with R_p and E_p over the items of process p, and z_y from the process that has the label. So
    the traffic of a step does not depend on the number of items.

    Args:
        n_items: N.
        group: the processes, of `torch.distributed`; None for all of them.

    Raises:
        ValueError: if there are fewer items than processes.

    Source: Shoeybi et al., "Megatron-LM", 2019, section 3 (for labels alone).
    """

    def __init__(self, n_items: int, group: Any = None) -> None:
        self.n_items, self.group = n_items, group
        self.number, self.size = dist.get_rank(group), dist.get_world_size(group)
        if n_items < self.size:
            raise ValueError(
                f"{n_items} items cannot be shared by {self.size} processes; start fewer"
            )
        self.edges = [n_items * part // self.size for part in range(self.size + 1)]
        self.start, self.stop = self.edges[self.number : self.number + 2]

    def __len__(self) -> int:
        """Return the number of own items."""
        return self.stop - self.start

    @property
    def most(self) -> int:
        """Return the largest number of items that a process has."""
        return -(-self.n_items // self.size)

    def owner(self, items: Tensor) -> Tensor:
        """Return the number of the process that has an item, of the shape of `items`."""
        edges = torch.tensor(self.edges[1:], device=items.device)
        return torch.searchsorted(edges, items, right=True)

    def place(self, items: Tensor) -> Tensor:
        """Return the place of items among the own ones, -1 for those of other processes."""
        own = (items >= self.start) & (items < self.stop)
        return torch.where(own, items - self.start, -1)

    def summed(self, tensor: Tensor) -> Tensor:
        """Return the sum over the processes, computed in place."""
        dist.all_reduce(tensor, group=self.group)
        return tensor

    def everyone(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all processes, of one shape, in order."""
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor.contiguous(), group=self.group)
        return found

    def rows(self, vectors: Tensor, items: Tensor, *, sparse: bool = False) -> Tensor:
        """Return the vectors of any items, (n, D), from their owners; zeros for padding.

        All processes ask for the same items, and do the same with them. So the gradient of a row is
        known to its owner without sending it.

        Args:
            vectors: (N_p, D) of the own items; or (N_p,), such as a bias.
            items: (n,) int64; n D numbers are sent, so ask once for distinct ones.
            sparse: whether the gradient has only the rows that were asked for.
        """
        place = self.place(items)
        inside = (place >= 0).nonzero()[:, 0]
        found = place[inside]
        if vectors.dim() == 1:
            some = vectors.gather(0, found, sparse_grad=sparse)
        else:
            some = F.embedding(found, vectors, sparse=sparse)
        own = vectors.new_zeros(len(items), *vectors.shape[1:]).index_copy(0, inside, some)
        return _Summed.apply(own, self)  # pyright: ignore[reportReturnType]

    def statistics(
        self, rest: Tensor, label_logit: Tensor, expected: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return R, z_y and E over all items, (P,) each, from those over the own items.

        Args:
            rest: (P,) the logsumexp over the own items without the label, -inf without any.
            label_logit: (P,) z_y, 0 if the label is another process's.
            expected: (P,) the own items' part of the mean logit under the target.
        """
        top = rest.clone()
        dist.all_reduce(top, dist.ReduceOp.MAX, group=self.group)
        top = top.masked_fill(top == -math.inf, 0)
        sums = self.summed(torch.stack([(rest - top).exp(), label_logit, expected]))
        return top + sums[0].log(), sums[1], sums[2]


def catalogue_of(n_items: int) -> Catalogue | None:
    """Return the shards of the items in this training; None if each process has all of them.

    Raises:
        TrainingError: if there are fewer items than shards.
    """
    if mesh().shards == 1:
        return None
    try:
        return Catalogue(n_items, mesh().across)
    except ValueError as error:
        raise TrainingError(f"--shards: {error}") from error


class _Summed(torch.autograd.Function):
    """A sum over processes which all go on with it alike: the gradient is the same in each."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, catalogue: Catalogue) -> Tensor:
        return catalogue.summed(own.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0], None
