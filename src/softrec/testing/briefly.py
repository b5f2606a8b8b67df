"""The part of the contracts that a training of a member from outside asks for: one batch, quickly.

The contract tests take a second and need a small catalogue. These read a few numbers a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from softrec.losses.pairwise import Pairs
from softrec.losses.softmax import Parts, SoftmaxStats, TargetAnswers
from softrec.testing.checking import require
from softrec.testing.targets import check_several
from softrec.types import Batch, ListedTarget, LogitTarget, Target, WeightSource

WRONG = 1e-3  # of a sum of probabilities: more than rounding of a large catalogue
ASKED = (0, 1, 2, 7)  # items after the label, of which the probability is asked


def check_answers(target: object, batch: Batch, n_items: int, *, several: bool = False) -> None:
    """Check that a target answers for the labels of a batch, and is a distribution.

    Shapes and types are checked, that probabilities are in [0, 1], that they sum to 1, and that
    `mean_item` has the probabilities of `prob_of`.

    Args:
        target: what a source made of the batch.
        batch: the batch.
        n_items: size N of the catalogue.
        several: whether it is asked for several items a row, too.

    Raises:
        AssertionError: if the target breaks a rule; the message says how to fix it.
    """
    require(
        isinstance(target, Target),
        f"called with a batch its source gives a {type(target).__name__}, expected a subclass of "
        "softrec.types.Target, such as SparseTarget or DenseTarget",
    )
    assert isinstance(target, Target)
    label, rows = batch.label, len(batch.label)
    if isinstance(target, ListedTarget):
        _check_listed(*target.listed(), rows, n_items)
    for after in ASKED:
        prob = target.prob_of((label + after) % n_items)
        _check_numbers("prob_of", prob, (rows,))
        _check_range(prob)
    if several:
        check_several(target, torch.stack([label, (label + 1) % n_items], 1))
    if isinstance(target, LogitTarget):  # sums to 1 by its definition
        return
    ones = torch.ones(n_items, 1, device=label.device)
    total = target.mean_item(ones)
    _check_numbers("mean_item of one column", total, (rows, 1), (1, 1))
    wrong = (total - 1).abs().max()
    require(
        float(wrong) <= WRONG,
        f"its probabilities sum to {float(total.flatten()[(total - 1).abs().argmax()]):.4g} in a "
        "row, by mean_item of a column of ones; expected 1: divide them by their sum, and give all "
        "to the label where there is nothing else",
    )
    for after in ASKED:
        item = (label[:1] + after) % n_items
        mean = target.mean_item(torch.zeros_like(ones).index_fill(0, item, 1))
        prob = target.prob_of(item.expand(rows))
        worst = (mean[:, 0] - prob).abs().argmax()
        of_mean, of_prob = (float(one.expand(rows)[worst]) for one in (mean[:, 0], prob))
        require(
            abs(of_mean - of_prob) <= WRONG,
            f"prob_of says {of_prob:.4g} of an item, of which mean_item has {of_mean:.4g}; they "
            "must be the same probabilities",
        )


def _check_listed(items: Tensor, probs: Tensor, rows: int, n_items: int) -> None:
    require(
        items.shape == probs.shape and items.dim() == 2 and len(items) == rows,
        f"expected items and probabilities of the shape ({rows}, k), got {tuple(items.shape)} and "
        f"{tuple(probs.shape)}",
    )
    whole = not (items.is_floating_point() or items.dtype == torch.bool)
    require(whole, f"its items are {items.dtype}, expected int64")
    inside = bool(((items >= 0) & (items < n_items)).all())
    require(
        inside,
        f"items are numbered 0 .. {n_items - 1}, got {int(items.min())} .. {int(items.max())}; "
        "fill up rows with any item and probability 0",
    )
    _check_numbers("its probabilities", probs, (rows, items.shape[1]))
    _check_range(probs)


def _check_range(prob: Tensor) -> None:
    low, high = (float(bound) for bound in prob.detach().aminmax())
    require(
        low >= 0 and high <= 1 + WRONG,
        f"probabilities are in 0 .. 1, got {low if low < 0 else high:.4g}",
    )


def _check_numbers(what: str, found: Any, *shapes: tuple[int, ...], whole: bool = False) -> None:
    """Check that something is a tensor of finite numbers, of one of the shapes.

    Args:
        what: its name in messages.
        found: what is checked.
        *shapes: the shapes that it may have.
        whole: whether it may be of integers, too.
    """
    expected = " or ".join(map(str, shapes))
    require(isinstance(found, Tensor), f"{what}: expected a tensor {expected}, got {_kind(found)}")
    got = tuple(found.shape)
    require(got in shapes, f"{what}: expected the shape {expected}, got {got}")
    fits = found.is_floating_point() or whole
    require(fits, f"{what}: expected floating-point numbers, got {found.dtype}")
    require(bool(torch.isfinite(found).all()), f"{what}: a number is NaN or infinite")


def _kind(found: object) -> str:
    return "None" if found is None else type(found).__name__


def check_values(loss: Parts | Pairs, weight: float) -> None:
    """Check that a loss gives one finite number for each of three examples, with a gradient.

    Raises:
        AssertionError: if it does not; the message says what came.
    """
    label = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    rest = torch.tensor([1.0, 0.5, -1.0], requires_grad=True)
    values: Mapping[str, Any]
    if isinstance(loss, Pairs):
        others = torch.stack([rest, rest - 1], 1)
        values = {"the pairs": loss.loss(label, others, torch.ones(3, 2))}
    else:
        prob = torch.tensor([0.9, 0.5, 0.1]) if weight else torch.ones(3)
        answers = TargetAnswers(prob, 1 - prob, torch.tensor([0.3, -0.5, 0.2]))
        values = loss.values_of(SoftmaxStats(label, rest), answers, weight)
    for name, value in values.items():
        _check_numbers(f"the values of {name} for 3 examples", value, (3,))
        require(
            value.requires_grad,
            f"{name} has no gradient in the scores; compute it from them, without detach()",
        )


def check_weighed(source: WeightSource, batch: Batch) -> None:
    """Check that each example of a batch has one weight of at least 0.

    Raises:
        AssertionError: if one has not; the message says what came.
    """
    weigh, rows = source(batch), len(batch.label)
    require(
        callable(weigh),
        f"called with a batch it gives {_kind(weigh)}, expected a function (logits of the labels "
        "of some rows, the slice of these rows) -> their weights, such as "
        "softrec.types.GivenWeights",
    )
    for part in (slice(0, rows), slice(0, 1)):
        few = batch.label[part]
        found = weigh(torch.zeros(len(few), device=few.device), part)
        _check_numbers("the weights of some rows", found, (len(few),), whole=True)
        low = float(found.detach().min())
        require(low >= 0, f"weights are at least 0, got {low:.4g}")
