"""A loss over the catalogue, for training loops that number items in their own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from softrec.errors import RecipeError, no_such
from softrec.losses.front import NAMED, softmax_loss
from softrec.losses.pairwise import Pairs
from softrec.losses.softmax import Loss, Parts, hard, loss_of
from softrec.recipe.complaints import complaint
from softrec.targets.settings import TARGETS, TargetSettings
from softrec.targets.smoothing import PopularityTarget
from softrec.testing.briefly import check_answers
from softrec.types import Batch, Target

OwnTarget = Callable[[Tensor], Target]
"""labels (P,) -> their soft target, over the rows of the item table."""


class CatalogueLoss(nn.Module):
    """Cross-entropy of user vectors over all items, with a soft target; padding is left out.

    Formula: the mean over the labels that are no padding of the cross-entropy with
    (1 - a) e_y + a s. The logits are `users @ items.T + bias`, of which only a few rows are in
    memory. On "one-hot" it is `torch.nn.functional.cross_entropy(logits, label,
    ignore_index=padding)`. A row of the table that stands for padding stays one of the classes, as
    it is there; soft targets give it no probability.

    Args:
        counts: (R,) how often each row of the item table is an item of the training part.
        target: a target that is the same for all histories: one-hot, uniform, pop+, or a mixture
            of these. Or a function from labels (P,) to their `Target`, which needs a `weight`.
        padding: the number of padding among the labels; None if there is none.
        loss: as for `softrec.losses.softmax_loss`: "mixed", "hard", `decoupled(0.5)`, `bpr`, ...
        weight: of the target that a function returns, in [0, 1].
        **settings: of a named target, as in `softrec.fit`: `alpha=0.4`, `temperature=2`.

    Raises:
        RecipeError: if there is no such target or loss, a setting does not fit, the target depends
            on histories or on a teacher, or the loss uses no soft target and there is one. Also on
            the first call, if what a function returns is no distribution over the rows.

    Example:
        >>> loss = CatalogueLoss(torch.tensor([0.0, 6, 3, 1]), "pop+", alpha=0.4, padding=0)
        >>> states, table = torch.zeros(1, 3, 8, requires_grad=True), torch.zeros(4, 8)
        >>> value = loss(states, table, torch.tensor([[0, 1, 3]]))  # log 4
        >>> value.item()  # doctest: +NUMBER
        1.3862943649291992
    """

    def __init__(
        self,
        counts: Any,
        target: str | OwnTarget = "one-hot",
        *,
        padding: int | None = None,
        loss: Literal["mixed", "hard"] | Loss = "mixed",
        weight: float | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.counts = torch.as_tensor(counts, dtype=torch.float64)
        _check_counts(self.counts)
        self.padding = padding
        if isinstance(target, str):
            if weight is not None:
                raise RecipeError(f"the weight of {target} is set by alpha; leave out weight=")
            chosen = _settings(target, settings)
            self.weight = chosen.soft_weight
            self.target = _shared(chosen, self.counts, padding) if self.weight else None
        else:
            if weight is None or settings:
                raise RecipeError(
                    "a target given as a function has no settings but weight=, from 0 to 1"
                )
            self.weight, self.target = weight, target
        self.loss = _fitting(loss, self.weight, soft=self.target is not None)
        self._unasked = not isinstance(target, str)

    def forward(
        self,
        users: Tensor,
        items: Tensor,
        label: Tensor,
        *,
        bias: Tensor | None = None,
        real: Tensor | None = None,
    ) -> Tensor:
        """Return the mean loss of the labels, (); 0 if all are padding.

        Args:
            users: (..., D), one for each label.
            items: (R, D), the table.
            label: (...) int64 rows of the table.
            bias: (R,), or None.
            real: (...) bool, the labels that count; by default all but `padding`.

        Raises:
            ValueError: if shapes do not fit, or a label is not a row of the table.
            RecipeError: on the first call, if the target is no distribution over the rows.
        """
        if len(items) != len(self.counts):
            raise ValueError(
                f"the item table has {len(items)} rows, but there are counts of "
                f"{len(self.counts)}; count each row of the table"
            )
        if real is None and self.padding is not None:
            real = label != self.padding
        if real is not None:
            users, label = users[real], label[real]
        if not label.numel():
            return 0 * (users.sum() + items.sum())
        target = None if self.target is None else self.target(label.flatten())
        if self._unasked:
            self._ask(target, label.flatten())
        return softmax_loss(
            users, items, label, bias=bias, target=target, weight=self.weight, loss=self.loss
        )

    def _ask(self, target: object, label: Tensor) -> None:
        """Check what a function returns, once: it would train to something, whatever it is."""
        if not isinstance(target, Target):
            raise RecipeError(
                f"the target given as a function returns {type(target).__name__} for labels; "
                "expected a softrec.types.Target, such as softrec.targets.DenseTarget(table)"
            )
        batch = Batch(label[:, None], label, example=label, user=label)
        try:
            with torch.no_grad():
                check_answers(target, batch, len(self.counts))
        except AssertionError as error:
            raise RecipeError(f"the target given as a function: {error}") from error
        self._unasked = False

    def extra_repr(self) -> str:
        """Return what is shown of it."""
        return f"rows={len(self.counts)}, padding={self.padding}, weight={self.weight}"


def _check_counts(counts: Tensor) -> None:
    if counts.dim() != 1:
        raise RecipeError(
            "counts must be a row of numbers of at least 0, one for each row of the item table; "
            f"got the shape {tuple(counts.shape)}"
        )
    wrong = (~((counts >= 0) & counts.isfinite())).nonzero()[:, 0]  # NaN is not below 0
    if len(wrong):
        raise RecipeError(
            "counts must be finite numbers of at least 0, one for each row of the item table; got "
            f"{float(counts[wrong[0]])} for row {int(wrong[0])}: count the rows without events as 0"
        )


def _fitting(loss: str | Loss, weight: float, *, soft: bool) -> Parts | Pairs:
    """Return a loss that goes with the weight of a soft target.

    Raises:
        RecipeError: if there is none of the name, or it uses no soft target.
    """
    if isinstance(loss, str) and loss not in NAMED:
        raise RecipeError(
            f"{no_such('loss', loss, NAMED)}; others are given as such, as softrec.losses.bpr or "
            "softrec.losses.decoupled(0.5)"
        )
    chosen = loss_of(NAMED[loss]() if isinstance(loss, str) else loss)
    if weight and isinstance(chosen, Parts) and chosen == hard():
        raise RecipeError(
            f"the loss hard reads the label alone, but there is a soft target with the weight "
            f"{weight}; choose the loss mixed, or the target one-hot"
        )
    try:
        chosen.check(weight, soft=soft)
    except ValueError as error:
        raise RecipeError(f"{error}; change the loss or the target") from error
    return chosen


class _Counted(NamedTuple):
    """All that the targets that are the same for all histories read of the training data."""

    item_counts: Tensor

    @property
    def n_items(self) -> int:
        return len(self.item_counts)


def _settings(name: str, settings: dict[str, Any]) -> TargetSettings:
    """Return the settings of a named target."""
    kind = TARGETS[name]
    try:
        chosen = kind.model_validate({"name": name, **settings})
    except ValidationError as error:
        raise RecipeError(f"target {name}: {complaint(error, {'': kind})}") from error
    if chosen.mass is not None:
        raise RecipeError(f"target {name}: mass needs the training examples; leave it out here")
    if chosen.soft_weight and not chosen.shared:
        alike = [name for name, kind in TARGETS.items() if _for_all(kind)]
        raise RecipeError(
            f"target {name} depends on histories or on a teacher; in another library choose "
            f"{', '.join(alike)}, or pass a function from labels to a softrec.types.Target"
        )
    return chosen


def _for_all(kind: type[TargetSettings]) -> bool:
    try:
        return kind().shared
    except ValidationError:  # it has settings without a default
        return False


def _shared(chosen: TargetSettings, counts: Tensor, padding: int | None) -> OwnTarget:
    """Return a target over the rows of the table, without probability for padding."""
    rows = torch.arange(len(counts))
    if padding is not None:
        rows = rows[rows != padding]
    training: Any = _Counted(counts[rows])
    source: Any = chosen.build(training)
    if len(rows) == len(counts):
        return source
    probs = torch.zeros(len(counts))
    probs[rows] = source(None).prob_of(torch.arange(len(rows)))
    return PopularityTarget(probs)
