"""Common parts of models that read histories: a form without left padding, item table, output.

For any padding of a batch, models read histories with the real items at the left.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softrec.parallel import Catalogue
from softrec.parallel.tables import normal_, some_rows, xavier_normal_
from softrec.types import Batch, Encoder, ItemVectors

# --- histories ---


class Histories(NamedTuple):
    """Histories with the oldest item in column 0 and padding only after the last item."""

    items: Tensor  # (B, L') int64, L' is the longest real length of the batch
    lengths: Tensor  # (B,) int64, at least 1
    times: Tensor | None = None  # (B, L') int64, of each event; 0 at padding


def exporting() -> bool:
    """Return whether the model is exported: then its operations may not depend on the numbers.

    What a model skips for the batches that do not need it, an export does for all batches.
    """
    return torch.compiler.is_compiling()


def each_row(rows: Tensor) -> Tensor:
    """Return 0 .. B-1 for a tensor of B rows; with `len`, an export would be for one number B."""
    return torch.arange(rows.shape[0], device=rows.device)


def aligned(history: Tensor, padding: int, times: Tensor | None = None) -> Histories:
    """Move real items to the left and remove columns with only padding.

    A causal model then needs no mask for the padding, a recurrent model starts at the first real
    item, and left and right padding give the same numbers.

    Args:
        history: (B, L) int64; the real items of a row are contiguous.
        padding: the number of the padding.
        times: (B, L) int64 of the items, moved in the same way.
    """
    real = history != padding
    lengths = real.sum(1)
    longest = history.shape[1] if exporting() else max(int(lengths.max()), 1)
    columns = torch.arange(longest, device=history.device)[None]
    beyond = columns >= lengths[:, None]
    first = real.to(torch.uint8).argmax(1)
    if not exporting() and bool((first == 0).all()):  # the items are at the left already
        items, moved = history[:, :longest], times if times is None else times[:, :longest]
    else:
        places = (first[:, None] + columns).clamp(max=history.shape[1] - 1)
        items = history.gather(1, places).masked_fill(beyond, padding)
        moved = times if times is None else times.gather(1, places)
    times = moved if moved is None else moved.masked_fill(beyond, 0)
    return Histories(items, lengths.clamp(min=1), times)


def prefixes(batch: Batch, padding: int, length: int) -> Histories:
    """Return one history for each prediction, (P, L').

    For models that read a history as a whole and have no state for each step.

    Raises:
        ValueError: if a history has more than `length` items.

    Example:
        >>> from softrec.testing.encoders import at_every_step, padded
        >>> prefixes(at_every_step(padded([[4, 5], [6]], 9), [2, 1]), 9, 2).items.tolist()
        [[4, 9], [4, 5], [6, 9]]
    """
    histories = fitting(batch.history, padding, length, batch.time)
    if batch.row is None or batch.step is None:
        return histories
    items = histories.items[batch.row]
    later = torch.arange(items.shape[1], device=items.device) > batch.step[:, None]
    times = histories.times
    if times is not None:
        times = times[batch.row].masked_fill(later, 0)
    return Histories(items.masked_fill(later, padding), batch.step + 1, times)


def asked(states: Tensor, histories: Histories, batch: Batch) -> Tensor:
    """Return the states (P, D), of (B, L', D), at the places of the predictions.

    By default this is after the last item of each row.
    """
    return states[places(histories, batch)]


def places(histories: Histories, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return row and step of each prediction, (P,) each."""
    if batch.row is None or batch.step is None:
        last = histories.lengths - 1
        return each_row(last), last
    return batch.row, batch.step


def pooled(values: Tensor, histories: Histories, batch: Batch) -> Tensor:
    """Sum values (B, L', D), 0 at padding, over the items up to each prediction: (P, D)."""
    if batch.row is None:
        return values.sum(1)
    return asked(_running_sum(values), histories, batch)


def _running_sum(values: Tensor) -> Tensor:
    """Return the sums of values (B, L', D) over the items up to each place."""
    if not values.is_cuda:
        return values.cumsum(1)
    # There torch has no cumsum that gives the same numbers each time; a product does.
    longest = values.shape[1]
    return values.new_ones(longest, longest).tril() @ values


def pooled_lengths(histories: Histories, batch: Batch) -> Tensor:
    """Return how many items are read for each prediction, (P,), at least 1."""
    return histories.lengths if batch.step is None else batch.step + 1


def recent(batch: Batch, padding: int, length: int) -> Tensor:
    """Return the items that are read for each prediction, (P, length), the most recent one last.

    Args:
        batch: histories, and the places of the predictions.
        padding: the number of the padding, which fills the places before the oldest item.
        length: the number of places.

    Raises:
        ValueError: if a history has more items than places.

    Example:
        >>> from softrec.testing.encoders import at_every_step, padded
        >>> batch = padded([[4, 5], [6]], 9)
        >>> recent(batch, 9, 3).tolist()
        [[9, 4, 5], [9, 9, 6]]
        >>> recent(at_every_step(batch, [2, 1]), 9, 3).tolist()
        [[9, 9, 4], [9, 4, 5], [9, 9, 6]]
    """
    histories = fitting(batch.history, padding, length)
    row, step = batch.row, batch.step
    if row is None or step is None:
        row = each_row(histories.items)
        step = histories.lengths - 1
    columns = step[:, None] + torch.arange(1 - length, 1, device=step.device)
    items = histories.items[row[:, None], columns.clamp(min=0)]
    return items.masked_fill(columns < 0, padding)


def fitting(history: Tensor, padding: int, length: int, times: Tensor | None = None) -> Histories:
    """Return the aligned histories; those with more than `length` items are refused.

    Raises:
        ValueError: if a history is longer.
    """
    histories = aligned(history, padding, times)
    width = histories.items.shape[1]
    if width > length:
        raise ValueError(
            f"this model reads histories of up to {length} items, got one of {width}; shorten the "
            f"histories, or build the model with length={width}"
        )
    return histories


# --- items ---


class ItemTable(nn.Embedding):
    """Item vectors for histories, with one more row of zeros for padding.

    Args:
        n_items: N.
        dim: D.
        catalogue: the shards of the items; then the table has the vectors of the own items alone,
            without a row for padding, and those of a batch come from their owners. The gradient of
            these is sparse, and dense once it is added to that of the items that are scored.
    """

    def __init__(self, n_items: int, dim: int, catalogue: Catalogue | None = None) -> None:
        self.catalogue = catalogue
        if catalogue is None:
            super().__init__(n_items + 1, dim, padding_idx=n_items)
            return
        super().__init__(1, dim, _weight=torch.empty(1, dim))
        self.num_embeddings = n_items + 1
        self.weight = some_rows(n_items + 1, dim, catalogue=catalogue)
        normal_(self.weight)

    def forward(self, items: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the vectors of items of any shape, zeros for padding."""
        if self.catalogue is None:
            return super().forward(items)
        distinct, place = items.unique(return_inverse=True)
        return F.embedding(place, self.catalogue.rows(self.weight, distinct, sparse=True))

    def zero_padding(self) -> None:
        """Set the padding row to zero, after an initialisation of all rows."""
        if self.catalogue is None:
            with torch.no_grad():
                self.weight[-1].zero_()


class OutputLayer(nn.Module):
    """The item vectors for scores: a separate table, or the input table; with or without a bias.

    Args:
        table: the input table, for its size, and for its rows if `tied`.
        dim: width D of the user vectors; a tied layer has the width of the table.
        tied: use the rows of the input table.
        bias: add one number per item.
    """

    def __init__(self, table: ItemTable, dim: int, *, tied: bool, bias: bool) -> None:
        super().__init__()
        n_items = table.num_embeddings - 1
        if tied and dim != table.embedding_dim:
            raise ValueError(
                f"a tied output layer needs user vectors of width "
                f"{table.embedding_dim}, got {dim}; set tied=False"
            )
        shards = table.catalogue
        self.vectors = None if tied else some_rows(n_items, dim, catalogue=shards)
        self.bias = some_rows(n_items, catalogue=shards) if bias else None
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        if self.vectors is not None:
            xavier_normal_(self.vectors)

    def forward(self, table: ItemTable) -> ItemVectors:
        """Return the vectors (N, D) and the bias (N,) or None."""
        if self.vectors is not None:
            return ItemVectors(self.vectors, self.bias)
        if table.catalogue is not None:
            return ItemVectors(table.weight, self.bias)
        vectors: Any = _AllButLast.apply(table.weight) if table.sparse else table.weight[:-1]
        return ItemVectors(vectors, self.bias)


class HistoryEncoder(Encoder):
    """A model that reads item vectors of histories from `table`, and scores items by `output`."""

    table: ItemTable
    output: OutputLayer

    @property
    def catalogue(self) -> Catalogue | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the shards of the items, if this process has some of them."""
        return self.table.catalogue

    def items(self) -> ItemVectors:
        """Return the output vectors and bias."""
        return self.output(self.table)


class _AllButLast(torch.autograd.Function):
    """`table[:-1]` with a sparse gradient; the gradient of a slice would be dense."""

    @staticmethod
    def forward(ctx: Any, table: Tensor) -> Tensor:
        return table[:-1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        rows, *dims = gradient.shape
        if not gradient.is_sparse:
            return torch.cat([gradient, gradient.new_zeros(1, *dims)])
        indices, values = gradient._indices(), gradient._values()
        longer = torch.sparse_coo_tensor(indices, values, (rows + 1, *dims), check_invariants=False)
        return longer._coalesced_(gradient.is_coalesced())
