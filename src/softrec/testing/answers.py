"""What a model answers for one batch: types, shapes and finite numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from softrec.testing.checking import require
from softrec.types import Batch, Encoder, ItemVectors, Scorer, Scores, Vectors


def check_items(encoder: Encoder) -> ItemVectors:
    """Return the items of an encoder.

    Raises:
        AssertionError: if they are no finite vectors of all items.
    """
    items = encoder.items()
    require(
        isinstance(items, ItemVectors),
        f"items() gives {kind_of(items)}, expected softrec.types.ItemVectors(vectors, bias)",
    )
    vectors, bias, _ = items
    n_items = encoder.n_items
    got = tuple(vectors.shape) if isinstance(vectors, Tensor) else kind_of(vectors)
    fits = isinstance(vectors, Tensor) and vectors.dim() == 2 and len(vectors) == n_items
    require(fits, f"items() gives vectors {got}, expected ({n_items}, D)")
    _check_finite("items() gives vectors", vectors)
    if bias is not None:
        require(
            bias.shape == (n_items,),
            f"items() gives a bias {tuple(bias.shape)}, expected ({n_items},)",
        )
        _check_finite("items() gives a bias", bias)
    return items


def check_users(encoder: Encoder, batch: Batch, width: int) -> Tensor:
    """Return the vectors of the users of a batch.

    Args:
        encoder: the model.
        batch: the batch, of P predictions.
        width: D, of the items.

    Raises:
        AssertionError: if they are not finite vectors of this width, one or K for each prediction.
    """
    found, p, k = encoder(batch), len(batch.label), encoder.n_interests
    require(
        isinstance(found, Vectors),
        f"forward(batch) gives {kind_of(found)}, expected "
        "softrec.types.Vectors(users, items or self.items())",
    )
    users, items = found[:2]
    require(isinstance(users, Tensor), f"forward(batch) gives users of {kind_of(users)}")
    require(
        isinstance(items, ItemVectors),
        f"forward(batch) gives items of {kind_of(items)}, expected items or self.items()",
    )
    shape = (p, width) if k == 1 or encoder.predicts_interests else (p, k, width)
    require(
        users.shape == shape or (k == 1 and users.shape == (p, 1, width)),
        f"forward(batch) gives users {tuple(users.shape)} for {p} rows, items of width {width} and "
        f"n_interests = {k}, expected {shape}",
    )
    _check_finite("forward(batch) gives users", users)
    return users


def check_scores(scorer: Scorer, batch: Batch) -> Scores:
    """Return the scores of a batch, of which no number is computed yet.

    Raises:
        AssertionError: if they are not those of all items for each prediction.
    """
    scores, p = scorer(batch), len(batch.label)
    require(
        isinstance(scores, Scores),
        f"forward(batch) gives {kind_of(scores)}, expected softrec.types.Scores, such as "
        "softrec.types.Products(users, softrec.types.ItemVectors(vectors))",
    )
    require(len(scores) == p, f"forward(batch) gives scores of {len(scores)} rows, expected {p}")
    require(
        scores.n_items == scorer.n_items,
        f"forward(batch) gives scores of {scores.n_items} items, expected {scorer.n_items}; count "
        "with minlength=n_items, as the last items may have no event",
    )
    return scores


def filled(scores: Scores, rows: slice) -> Tensor:
    """Return the scores of some rows, (b, N).

    Raises:
        AssertionError: if some are not written, or not finite.
    """
    b = len(range(*rows.indices(len(scores))))
    out = scores.fill(rows, scores.like.new_full((b, scores.n_items), torch.nan))
    require(isinstance(out, Tensor), f"fill(rows, out) gives {kind_of(out)}, expected out")
    whole = bool(out.isfinite().all())
    require(whole, "some scores are NaN or infinite, or fill(rows, out) leaves some unwritten")
    return out


def kind_of(found: object) -> str:
    """Return the name of the type of something, for messages."""
    return "None" if found is None else type(found).__name__


def _check_finite(what: str, found: Tensor) -> None:
    require(found.is_floating_point(), f"{what} of {found.dtype}, no float")
    require(bool(torch.isfinite(found).all()), f"{what} of which a number is NaN or infinite")
