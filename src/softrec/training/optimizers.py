"""Adam that updates only the rows of a table that have a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.optimizer import ParamsT

from softrec.types import Encoder

OptimizerName = Literal["adam", "adamw", "sparse-adam"]


def mark_sparse(encoder: Encoder) -> None:
    """Make lookups in tables of items and users give sparse gradients.

    These are all tables with as many rows as there are items, or users if the model knows them by
    number and there are fewer; in shorter tables, such as those of positions, a batch uses nearly
    every row.

    It sets `sparse` of the encoder and of these tables, which the objective reads. A table that a
    model reads as a whole, as graph convolutions do, keeps a dense gradient.

    Args:
        encoder: the model.

    Example:
        >>> from softrec.models.gru4rec import GRU4Rec
        >>> model = GRU4Rec(9, dim=2)
        >>> mark_sparse(model)
        >>> model.table.sparse
        True
    """
    encoder.sparse = True
    least = min(encoder.n_items, getattr(encoder, "n_users", encoder.n_items))
    for module in encoder.modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings >= least:
            module.sparse = True


class LazyAdam(torch.optim.Adam):
    r"""Fused Adam; of a sparse gradient it reads and updates only the rows that are present.

    $$m_r \leftarrow \beta_1 m_r + (1 - \beta_1) g_r \qquad
      v_r \leftarrow \beta_2 v_r + (1 - \beta_2) g_r^2 \qquad
      \theta_r \leftarrow \theta_r -
        \eta \frac{m_r / (1 - \beta_1^t)}{\sqrt{v_r / (1 - \beta_2^t)} + \epsilon}$$

    for the rows r of the gradient; t counts the steps of the whole table. The cost of a step does
    not depend on the length of the table.

    It is a different method from Adam. In Adam a row without a gradient has the gradient 0: it
    continues to move in its old direction, and its moments are multiplied by beta_1 and beta_2.
    Here the row and its moments do not change until it has a gradient again. So an item that occurs
    in every hundredth step is moved by an average over its last ten occurrences, and not over the
    last ten steps. If every row has a gradient, or the gradient is dense, both methods are the
    same. State and checkpoints are those of Adam.

    `torch.optim.SparseAdam` differs only in epsilon, which it adds to the root of v before the bias
    correction. There it has up to 30 times the effect in the first steps, and small gradients, such
    as those of a mean over a batch, move the parameters too little at first.

    Args:
        params: parameters, or groups of them.
        lr: learning rate eta.
        betas: beta_1 and beta_2.
        eps: epsilon.

    Example:
        >>> table = torch.nn.Embedding(3, 1, sparse=True)
        >>> before = table.weight.detach().clone()
        >>> optimizer = LazyAdam(table.parameters(), lr=0.1)
        >>> table(torch.tensor([2])).sum().backward()
        >>> optimizer.step()
        >>> (table.weight.detach() - before).round(decimals=4)[:, 0]
        tensor([ 0.0000,  0.0000, -0.1000])

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015; rows without a
    gradient as in "LazyAdam" of TensorFlow.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, fused=True)
        self._step_supports_amp_scaling = False  # a gradient scaler has divided by its scale before

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Make one step; with a closure, which computes the gradients, return what it returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        sparse: list[tuple[Tensor, Tensor]] = []
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is not None and gradient.is_sparse:
                    self._move_rows(parameter, gradient.coalesce(), group)
                    sparse.append((parameter, gradient))
                    parameter.grad = None  # Adam skips it
        super().step()
        for parameter, gradient in sparse:
            parameter.grad = gradient
        return loss

    def _move_rows(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Update parameter and moments in the rows of a coalesced gradient."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        rows, values = gradient.indices()[0], gradient.values()
        tables = parameter, state["exp_avg"], state["exp_avg_sq"]
        own, mean, square = (table.index_select(0, rows) for table in tables)
        adam(
            [own], [values], [mean], [square], [], [state["step"]], fused=True, amsgrad=False,
            beta1=group["betas"][0], beta2=group["betas"][1], lr=group["lr"], weight_decay=0.0,
            eps=group["eps"], maximize=False,
        )  # fmt: skip
        for table, new in zip(tables, (own, mean, square), strict=True):
            _replace_rows(table, rows, new)


def _replace_rows(table: Tensor, rows: Tensor, values: Tensor) -> None:
    """Write rows of a table; with NumPy, where it can, in half the time of `index_copy_`."""
    if table.is_cpu and table.dtype in (torch.float32, torch.float64):
        table.detach().numpy()[rows.numpy()] = values.numpy()
    else:
        table.index_copy_(0, rows, values)
