"""TiSASRec: a causal transformer that uses the time between the items of a history."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from softrec.blocks import blocks
from softrec.errors import DataError
from softrec.limits import LIMITS
from softrec.models.dropout import Dropout, dropout
from softrec.models.histories import (
    Histories,
    HistoryEncoder,
    ItemTable,
    OutputLayer,
    each_row,
    exporting,
    fitting,
)
from softrec.models.lengths import by_length
from softrec.models.registry import MODELS
from softrec.models.transformer import (
    Block,
    Norm,
    from_end,
    initialise_blocks,
    states_of,
    up_to,
)
from softrec.types import Batch, ItemVectors, Vectors

Unit = Literal["smallest", "published"]

# The unit if all times so far are equal. All intervals are 0 then, for any unit; as an upper bound
# of later units only the second one has an effect.
LARGEST_UNIT: dict[Unit, int] = {"smallest": torch.iinfo(torch.int64).max, "published": 65535}

ON_A_GPU = 2**26  # numbers of a block of queries by intervals


@MODELS.named("tisasrec")
class TiSASRec(HistoryEncoder):
    r"""SASRec whose attention also reads positions and intervals of time, as keys and as values.

        score_ij = q_i . (k_j + P^K_j + R^K_ij) / sqrt(d)      for j <= i
        out_i    = sum_j a_ij (v_j + P^V_j + R^V_ij)           a_i = softmax of score_i
        r_ij     = min(floor(|t_i - t_j| / u_i), intervals)    R_ij is row r_ij of a table

    Positions are counted from the end of the history (the last item has position 0). They are added
    to keys and values, and not to the item embeddings.

    **The unit.** An interval is measured in units of its history: u_i is the smallest positive
    difference of successive times up to step i, among the items in the batch; 1 if there is none.
    The published codes use one unit for all steps of a user, from all times of that user. Here the
    unit of a step does not depend on later steps, so that a history has the same vectors if it is
    predicted at its end or at every step, and no later time leaks into earlier steps. At the step
    of the prediction, u is the unit of the whole history up to there. Only earlier steps, which the
    second and further blocks read, may have a larger unit than in the published form. Multiplying
    all times by a constant or adding a constant changes nothing.

    With `unit="published"` no unit is larger than 65535, as in the code of the preset "timirec".
    That code replaces differences of 0 by 65535 before it takes the minimum, including the
    difference of each time from itself. It also uses the user's validation and test times, which
    are not in the history and are not used here.

    **Memory.** There is no table of pairs times dimensions. Scores are gathered from q R^K^T, and
    attention weights are summed per interval before one product with R^V, for a block of queries at
    a time; backward computes the same again. Only tensors of the size of usual attention,
    B x heads x L x L, are stored, while R^K_ij and R^V_ij would take 2 x B x L x L x D. This costs
    time: six products of B x L queries with intervals + 1 rows, per block and step.

    Args:
        n_items: size N of the catalogue.
        dim: width D.
        length: longest history; longer ones are refused.
        layers: number of blocks.
        heads: attention heads in a block; each uses its own part of P and R.
        intervals: largest interval, in units; longer intervals count as this one.
        inner: width of the feed-forward layer; `dim` if None.
        dropout: on the attention weights and on the output of each sub-layer.
        embedding_dropout: on the embeddings of items and positions. The original also has dropout
            on R^K_ij and R^V_ij for each pair, which would need all of them in memory.
        norm: "post", "pre" or "query", as in SASRec.
        activation: "relu" or "gelu" in the feed-forward layer.
        scale: multiply item embeddings by sqrt(D).
        projection: a linear layer over the concatenated heads.
        unit: of an interval: "smallest" is the smallest positive difference of successive times in
            the history up to the step; "published" is the same, but at most 65535.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: "uniform" (embeddings in +-1/sqrt(N), linear layers Xavier normal with bias 0.1),
            "normal" (all from N(0, 0.01)) or "xavier" (all matrices Xavier normal).

    Raises:
        ValueError: if options are unknown or do not fit together.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> model = TiSASRec(5, dim=4, length=3)
        >>> batch = padded([[0, 3, 2], [1]], 5, times=[[60, 120, 3600], [7]])
        >>> vectors = model(batch)
        >>> vectors.users.shape, vectors.items.vectors.shape
        (torch.Size([2, 4]), torch.Size([5, 4]))

    Defaults: those of sasrec, with 256 intervals as in the original. Scaling and norms of the
    queries were better on three small data sets than neither and norms before (docs/log.md).

    Source: Li, Wang and McAuley, "Time Interval Aware Self-Attention for Sequential
    Recommendation", WSDM 2020. Presets: "original", "timirec" (Wang et al., CIKM 2022).
    """

    needs_times = True

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "original": {"dim": 50, "length": 50, "layers": 2, "heads": 1, "intervals": 256,
                     "dropout": 0.2, "embedding_dropout": 0.2, "norm": "query", "scale": True,
                     "projection": False, "tied": True, "output_bias": False, "init": "xavier"},
        "timirec": {"dim": 64, "length": 20, "layers": 1, "heads": 4, "intervals": 512,
                    "dropout": 0.0, "norm": "post", "scale": False, "projection": False,
                    "tied": True, "output_bias": False, "init": "normal"},
    }  # fmt: skip

    def __init__(
        self,
        n_items: int,
        *,
        dim: int = 64,
        length: int = 50,
        layers: int = 2,
        heads: int = 2,
        intervals: int = 256,
        inner: int | None = None,
        dropout: float = 0.2,
        embedding_dropout: float = 0.0,
        norm: Norm = "query",
        activation: Literal["relu", "gelu"] = "relu",
        scale: bool = True,
        projection: bool = True,
        unit: Unit = "smallest",
        tied: bool = True,
        output_bias: bool = False,
        init: str = "xavier",
    ) -> None:
        super().__init__()
        if intervals < 1:
            raise ValueError(f"intervals must be 1 or more, got {intervals}")
        if unit not in LARGEST_UNIT:
            raise ValueError(f"unit must be smallest or published, got {unit!r}")
        self.n_items = n_items
        self.length = length
        self.largest = intervals
        self.unit: Unit = unit
        self.scale = math.sqrt(dim) if scale else 1.0
        self.table = ItemTable(n_items, dim)
        self.position_keys = nn.Embedding(length, dim)
        self.position_values = nn.Embedding(length, dim)
        self.interval_keys = nn.Embedding(intervals + 1, dim)
        self.interval_values = nn.Embedding(intervals + 1, dim)
        self.dropout = Dropout(embedding_dropout)
        self.blocks = nn.ModuleList(
            Block(dim, heads, inner or dim, dropout, norm, activation, False, projection)
            for _ in range(layers)
        )
        self.norm = nn.Identity() if norm == "post" else nn.LayerNorm(dim)
        self.output = OutputLayer(self.table, dim, tied=tied, bias=output_bias)
        tables = [module.weight for module in self.children() if isinstance(module, nn.Embedding)]
        if self.output.vectors is not None:
            tables.append(self.output.vectors)
        initialise_blocks(self.blocks, tables, init, n_items)
        self.table.zero_padding()

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the user vectors (P, D) and the items.

        Raises:
            DataError: if the batch has no times.
            ValueError: if a history is longer than the model's `length`.
        """
        histories = fitting(batch.history, self.n_items, self.length, batch.time)
        if histories.times is None:
            raise DataError(
                "TiSASRec reads the time of each event, but these histories have no times; use a "
                "log with a column of times and name it (--time COLUMN), or a model that needs "
                "no times (--model sasrec)"
            )
        users = self.norm(by_length(self._states, self.table, histories, batch))
        return Vectors(users, items or self.items())

    def _states(self, x: Tensor, histories: Histories, batch: Batch) -> Tensor:
        assert histories.times is not None
        gaps = intervals(histories.times, self.largest, self.unit)
        positions = from_end(histories)
        attend = TimedAttention(
            gaps,
            self.dropout(self.position_keys(positions)),
            self.dropout(self.position_values(positions)),
            self.interval_keys.weight,
            self.interval_values.weight,
        )
        x = self.dropout(x * self.scale)
        return states_of(self.blocks, x, histories, batch, attend)


def intervals(times: Tensor, largest: int, unit: Unit = "smallest") -> Tensor:
    """Return r_ij = min(floor(|t_i - t_j| / u_i), largest): times (B, L) -> (B, L, L) int64.

    The unit u_i is the smallest positive difference of successive times up to step i.

    Example:
        >>> intervals(torch.tensor([[100, 160, 170, 170]]), 5)[0].tolist()
        [[0, 0, 0, 0], [1, 0, 0, 0], [5, 1, 0, 0], [5, 1, 0, 0]]
    """
    largest_unit = LARGEST_UNIT[unit]
    steps = times.diff(dim=1, prepend=times[:, :1]).abs()
    units = _running_least(steps.masked_fill(steps == 0, largest_unit).clamp(max=largest_unit))
    apart = (times[:, :, None] - times[:, None, :]).abs()
    return (apart // units[:, :, None]).clamp(max=largest)


def _running_least(values: Tensor) -> Tensor:
    """Return the least of values (B, L) up to each place."""
    if not exporting():
        return values.cummin(1).values
    # ONNX has no such operation; L x L numbers a row are what the intervals have, too.
    places = torch.arange(values.shape[1], device=values.device)
    later = places > places[:, None]
    return values[:, None].masked_fill(later, torch.iinfo(values.dtype).max).amin(2)


@dataclass(frozen=True)
class TimedAttention:
    """Causal attention with positions and intervals added to keys and values, an `Attend`."""

    intervals: Tensor  # (B, L, L) int64, r_ij in 0 .. k
    position_keys: Tensor  # (B, L, D)
    position_values: Tensor  # (B, L, D)
    interval_keys: Tensor  # (k + 1, D)
    interval_values: Tensor  # (k + 1, D)

    def __call__(
        self, queries: Tensor, keys: Tensor, values: Tensor, rate: float, step: Tensor | None
    ) -> Tensor:
        """Return the outputs (B, heads, L, D / heads), or those of one step per row."""
        heads, length, width = keys.shape[1:]
        queries = queries / math.sqrt(width)
        keys = keys + _parts(self.position_keys, heads).transpose(1, 2)
        values = values + _parts(self.position_values, heads).transpose(1, 2)
        gap_keys = _parts(self.interval_keys, heads).transpose(0, 1).to(queries.dtype)
        gap_values = _parts(self.interval_values, heads).transpose(0, 1).to(queries.dtype)
        gaps, visible = self._seen_from(step, length)

        by_gap: Any = ScoresOfRows.apply(_heads_first(queries), gap_keys, gaps)
        scores = queries @ keys.transpose(-1, -2) + _rows_first(by_gap, queries.shape[2])
        if visible is not None:
            scores = scores.masked_fill(~visible, -torch.inf)
        weights = dropout(scores.softmax(-1), rate)
        of_gaps: Any = SumOfRows.apply(_heads_first(weights.to(queries.dtype)), gap_values, gaps)
        return weights @ values + _rows_first(of_gaps, queries.shape[2])

    def _seen_from(self, step: Tensor | None, length: int) -> tuple[Tensor, Tensor | None]:
        """Return the intervals of each query (Q, L), and which items are visible or None."""
        if step is None:
            earlier = torch.ones(length, length, dtype=torch.bool, device=self.intervals.device)
            return self.intervals.flatten(0, 1), earlier.tril()
        return self.intervals[each_row(step), step], up_to(step, length)


class ScoresOfRows(torch.autograd.Function):
    """x_q . table[index[q, j]]: x (heads, Q, d), table (heads, K, d), index (Q, L) -> (h, Q, L)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, index: Tensor) -> Tensor:
        """Return the scores; store their inputs for backward, not the Q x K products."""
        ctx.save_for_backward(x, table, index)
        return _scores(x, table, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore
        """Return the gradients in x and in the table."""
        x, table, index = ctx.saved_tensors
        return _sums(gradient, table, index), _collected(gradient, x, index, len(table[0])), None


class SumOfRows(torch.autograd.Function):
    """sum_j weights_qj table[index[q, j]]: weights (heads, Q, L) -> (heads, Q, d)."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, table: Tensor, index: Tensor) -> Tensor:
        """Return the sums; store their inputs for backward, not the Q x K buckets."""
        ctx.save_for_backward(weights, table, index)
        return _sums(weights, table, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore
        """Return the gradients in the weights and in the table."""
        weights, table, index = ctx.saved_tensors
        in_table = _collected(weights, gradient, index, len(table[0]))
        return _scores(gradient, table, index), in_table, None


def _scores(x: Tensor, table: Tensor, index: Tensor) -> Tensor:
    """Gather the scores from the products of a block of queries with the whole table."""
    heads = len(x)
    scores = x.new_empty(heads, *index.shape)
    for some in _blocks(index, heads * len(table[0])):
        products = x[:, some] @ table.transpose(1, 2)
        scores[:, some] = products.gather(2, index[some].expand(heads, -1, -1))
    return scores


def _sums(weights: Tensor, table: Tensor, index: Tensor) -> Tensor:
    """Sum the weights of each row of the table, then multiply once."""
    heads, size, width = table.shape
    sums = table.new_empty(heads, index.shape[0], width)
    for some in _blocks(index, heads * size):
        sums[:, some] = _buckets(weights[:, some], index[some], size) @ table
    return sums


def _collected(weights: Tensor, x: Tensor, index: Tensor, size: int) -> Tensor:
    """Return sum_qj weights_qj x_q at row index[q, j] of a table, (heads, size, d)."""
    heads = len(x)
    table = x.new_zeros(heads, size, x.shape[-1])
    for some in _blocks(index, heads * size):
        table += _buckets(weights[:, some], index[some], size).transpose(1, 2) @ x[:, some]
    return table


def _buckets(weights: Tensor, index: Tensor, size: int) -> Tensor:
    heads, queries, _ = weights.shape
    empty = weights.new_zeros(heads, queries, size)
    return empty.scatter_add_(2, index.expand(heads, -1, -1), weights)


def _blocks(index: Tensor, width: int) -> Iterable[slice]:
    """Return slices of queries, so that `width` numbers per query are no large tensor."""
    if exporting():
        return [slice(None)]
    numbers = LIMITS.intervals if index.device.type == "cpu" else ON_A_GPU
    return blocks(len(index), numbers // width)


def _parts(vectors: Tensor, heads: int) -> Tensor:
    """(..., D) -> (..., heads, D / heads)."""
    return vectors.unflatten(-1, (heads, -1))


def _heads_first(x: Tensor) -> Tensor:
    """(B, heads, L, ...) -> (heads, B L, ...)."""
    return x.transpose(0, 1).flatten(1, 2)


def _rows_first(x: Tensor, length: int) -> Tensor:
    """(heads, B L, ...) -> (B, heads, L, ...)."""
    return x.unflatten(1, (-1, length)).transpose(0, 1)
