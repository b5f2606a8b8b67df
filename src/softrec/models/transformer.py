"""A causal transformer over the history, and the parts that other models take of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softrec.models.dropout import Dropout, dropout
from softrec.models.histories import (
    Histories,
    HistoryEncoder,
    ItemTable,
    OutputLayer,
    asked,
    each_row,
    exporting,
    fitting,
)
from softrec.models.lengths import by_length
from softrec.parallel import Catalogue
from softrec.parallel.tables import normal_, uniform_, xavier_normal_
from softrec.types import Batch, ItemVectors, Vectors

Norm = Literal["post", "pre", "query"]
Attend = Callable[[Tensor, Tensor, Tensor, float, Tensor | None], Tensor] | None
"""(queries, keys, values, dropout rate, step) -> outputs, tensors (B, heads, L, D / heads).

With steps (B,) there is one query per row, at its step: (B, heads, 1, D / heads)."""


class Transformer(HistoryEncoder):
    """Item and position embeddings, causal blocks, and an output layer.

    Args:
        n_items: size N of the catalogue.
        block: returns a new block, (B, L, D) -> (B, L, D), called as `Block`.
        dim: width D.
        length: longest history; longer ones are refused.
        layers: number of blocks.
        embedding_dropout: on the sum of item and position embeddings.
        scale: multiply item embeddings by sqrt(D).
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: see `initialise_blocks`.
        before: of the sum of the embeddings; nothing by default.
        after: of the states of the last block; nothing by default.
        catalogue: the shards of the items, if this process has some of them.
    """

    def __init__(
        self,
        n_items: int,
        block: Callable[[], nn.Module],
        *,
        dim: int,
        length: int,
        layers: int,
        embedding_dropout: float,
        scale: bool,
        tied: bool,
        output_bias: bool,
        init: str,
        before: nn.Module | None = None,
        after: nn.Module | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        super().__init__()
        self.n_items, self.length = n_items, length
        self.scale = math.sqrt(dim) if scale else 1.0
        self.table = ItemTable(n_items, dim, catalogue)
        self.positions = nn.Embedding(length, dim)
        self.before = before or nn.Identity()
        self.dropout = Dropout(embedding_dropout)
        self.blocks = nn.ModuleList(block() for _ in range(layers))
        self.norm = after or nn.Identity()
        self.output = OutputLayer(self.table, dim, tied=tied, bias=output_bias)
        tables = [self.table.weight, self.positions.weight]
        if self.output.vectors is not None:
            tables.append(self.output.vectors)
        initialise_blocks(self.blocks, tables, init, n_items)
        self.table.zero_padding()

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the user vectors (P, D) and the items.

        Raises:
            ValueError: if a history is longer than the model's `length`.
        """
        histories = fitting(batch.history, self.n_items, self.length)
        states = by_length(self._states, self.table, histories, batch)
        return Vectors(self.norm(states), items or self.items())

    def _states(self, x: Tensor, histories: Histories, batch: Batch) -> Tensor:
        x = self.dropout(self.before(x * self.scale + self.positions(from_end(histories))))
        return states_of(self.blocks, x, histories, batch)


# --- causal attention ---


def causal_attention(queries: Tensor, keys: Tensor, values: Tensor, rate: float) -> Tensor:
    """Return what each step reads of itself and of earlier ones: (B, heads, L, d), as the inputs.

    With dropout of the weights torch has no fused attention on a processor.

    Args:
        queries: (B, heads, L, d).
        keys: of the same shape.
        values: of the same shape.
        rate: dropout of the weights.
    """
    if not rate or queries.device.type != "cpu":
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True, dropout_p=rate)
    length, width = queries.shape[-2:]
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    scores = (queries * width**-0.5 @ keys.mT).masked_fill_(later, -torch.inf)
    return dropout(scores.softmax(-1), rate) @ values


def up_to(step: Tensor, length: int) -> Tensor | None:
    """Return which items are visible from each row's step, (B, 1, 1, L) bool; None if all are."""
    if not exporting() and bool((step == length - 1).all()):
        return None
    return (torch.arange(length, device=step.device) <= step[:, None])[:, None, None]


def states_of(
    blocks: nn.ModuleList,
    x: Tensor,
    histories: Histories,
    batch: Batch,
    attend: Attend = None,
) -> Tensor:
    """Return the states (P, D) of the last block at the places of the predictions.

    If there is one prediction per row, at its end, the last block has one query per row instead of
    L. In a model with one block this saves most of the work.

    Args:
        blocks: of causal attention.
        x: (B, L', D) their input.
        histories: with padding on the right, where a causal model does not read it.
        batch: the batch, with the places of the predictions.
        attend: the attention; by default by the products of queries and keys.
    """
    if batch.row is not None or not len(blocks):
        for block in blocks:
            x = block(x, attend)
        return asked(x, histories, batch)
    *first, last = blocks
    for block in first:
        x = block(x, attend)
    return last(x, attend, histories.lengths - 1)[:, 0]


def from_end(histories: Histories) -> Tensor:
    """Return the position of each column, (B, L'): 0 at the last real item and at padding."""
    columns = torch.arange(histories.items.shape[1], device=histories.items.device)
    return (histories.lengths[:, None] - 1 - columns).clamp(min=0)


def initialise_blocks(
    blocks: nn.ModuleList, tables: Iterable[Tensor], init: str, n_items: int
) -> None:
    """Initialise the embeddings and the linear layers of a transformer.

    Args:
        blocks: the blocks; their norms are not changed.
        tables: all embeddings.
        init: "uniform" (embeddings in +-1/sqrt(N), linear layers Xavier normal with bias 0.1),
            "normal" (all from N(0, 0.01)) or "xavier" (all matrices Xavier normal, biases 0).
        n_items: size N of the catalogue.

    Raises:
        ValueError: if `init` is not known.
    """
    tables = list(tables)
    linear = [module for module in blocks.modules() if isinstance(module, nn.Linear)]
    biases = [layer.bias for layer in linear if layer.bias is not None]
    if init == "uniform":
        bound = 1 / math.sqrt(n_items)
        for table in tables:
            uniform_(table, -bound, bound)
        for layer in linear:
            nn.init.xavier_normal_(layer.weight)
        for bias in biases:
            nn.init.constant_(bias, 0.1)
    elif init == "normal":
        for parameter in tables + [p for layer in linear for p in layer.parameters()]:
            normal_(parameter, 0.01)
    elif init == "xavier":
        for parameter in tables + [layer.weight for layer in linear]:
            xavier_normal_(parameter)
        for bias in biases:
            nn.init.zeros_(bias)
    else:
        raise ValueError(f"init must be uniform, normal or xavier, got {init!r}")


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each with a residual connection.

    Args:
        dim: width D.
        heads: attention heads; D is a multiple of them.
        inner: width of the feed-forward layer.
        dropout: on the attention weights and on the output of each sub-layer.
        norm: "post" (x <- LN(x + f(x))), "pre" (x <- x + f(LN(x))) or "query" (only the queries of
            the attention are normalised, and its output is added to the normalised queries).
        activation: "relu" or "gelu" in the feed-forward layer.
        rezero: multiply each sub-layer's output by a learned scalar that starts at 1e-8.
        projection: a linear layer over the concatenated heads.

    Raises:
        ValueError: if the width is not a multiple of the heads.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        inner: int,
        dropout: float,
        norm: Norm,
        activation: Literal["relu", "gelu"],
        rezero: bool,
        projection: bool,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim ({dim}) must be a multiple of heads ({heads})")
        self.heads = heads
        self.style: Norm = norm
        self.rate = dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.joined = nn.Linear(dim, dim) if projection else nn.Identity()
        self.widen = nn.Linear(dim, inner)
        self.narrow = nn.Linear(inner, dim)
        self.activation = F.gelu if activation == "gelu" else F.relu
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.dropout = Dropout(dropout)
        self.amounts = nn.Parameter(torch.full((2,), 1e-8)) if rezero else None

    def forward(self, x: Tensor, attend: Attend = None, step: Tensor | None = None) -> Tensor:
        """(B, L, D) -> (B, L, D), or (B, 1, D) for one step (B,) of each row."""
        first, second = self.norms
        own = x if step is None else x[each_row(x), step][:, None]
        if self.style == "post":
            own = first(own + self._amount(0, self._attention(own, x, attend, step)))
            return second(own + self._amount(1, self._feed_forward(own)))
        asking = first(own)
        if self.style == "pre":
            asked_of = asking if step is None else first(x)
            own = own + self._amount(0, self._attention(asking, asked_of, attend, step))
            return own + self._amount(1, self._feed_forward(second(own)))
        own = second(asking + self._amount(0, self._attention(asking, x, attend, step)))
        return own + self._amount(1, self._feed_forward(own))

    def _amount(self, which: int, y: Tensor) -> Tensor:
        y = self.dropout(y)
        return y if self.amounts is None else self.amounts[which] * y

    def _attention(
        self, asking: Tensor, asked_of: Tensor, attend: Attend, step: Tensor | None
    ) -> Tensor:
        if attend is None and step is not None:
            return self.joined(self._of_one_query(asking, asked_of, step))
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, asking), (self.key, asked_of), (self.value, asked_of))
        )
        rate = self.rate if self.training else 0.0
        y = causal_attention(q, k, v, rate) if attend is None else attend(q, k, v, rate, step)
        return self.joined(y.transpose(1, 2).flatten(2))

    def _of_one_query(self, asking: Tensor, x: Tensor, step: Tensor) -> Tensor:
        """Attend from one step of each row, (B, 1, D), without the keys and values of the others.

        q . (W x + b) = (W^T q) . x + q . b for each head, and the mean of the values is W times the
        mean of x. So there are heads x D multiplications for each item and not D x D.
        """
        key, value = (
            (layer.weight.unflatten(0, (self.heads, -1)), layer.bias.unflatten(0, (self.heads, -1)))
            for layer in (self.key, self.value)
        )  # (heads, d, D) and (heads, d)
        q = self.query(asking[:, 0]).unflatten(-1, (self.heads, -1)) * key[1].shape[1] ** -0.5
        asked = torch.bmm(q.transpose(0, 1), key[0]).transpose(0, 1)
        logits = torch.bmm(asked, x.mT) + (q * key[1]).sum(-1, keepdim=True)
        hidden = torch.arange(x.shape[1], device=x.device) > step[:, None, None]
        weights = logits.masked_fill(hidden, -torch.inf).softmax(-1)
        weights = dropout(weights, self.rate, self.training)
        mean = torch.bmm(weights, x).transpose(0, 1)
        y = torch.bmm(mean, value[0].mT).transpose(0, 1) + weights.sum(-1, keepdim=True) * value[1]
        return y.flatten(1)[:, None]

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.narrow(self.dropout(self.activation(self.widen(x))))
