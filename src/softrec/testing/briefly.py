"""The part of the contracts that a training of a member from outside asks for: one batch, quickly.

The contract tests take a second and need a small catalogue. These read a few numbers a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from softrec.losses.pairwise import Pairs
from softrec.losses.softmax import Parts, SoftmaxStats, TargetAnswers
from softrec.testing.answers import check_items, check_scores, check_users, filled, kind_of
from softrec.testing.checking import require
from softrec.testing.encoders import padded
from softrec.testing.targets import check_several
from softrec.types import Batch, Encoder, ListedTarget, LogitTarget, Scorer, Target, WeightSource
from softrec.types.model import Model, evaluating
from softrec.weights.stored import OfContexts, OfLabels, StoredWeights

WRONG = 1e-3  # of a sum of probabilities: more than rounding of a large catalogue
ASKED = (0, 1, 2, 7)  # items after the label, of which the probability is asked
ROWS = 8  # of a batch, of which all scores are computed


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
    require(
        isinstance(found, Tensor), f"{what}: expected a tensor {expected}, got {kind_of(found)}"
    )
    got = tuple(found.shape)
    require(got in shapes, f"{what}: expected the shape {expected}, got {got}")
    fits = found.is_floating_point() or whole
    require(fits, f"{what}: expected floating-point numbers, got {found.dtype}")
    require(bool(torch.isfinite(found).all()), f"{what}: a number is NaN or infinite")


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


def check_weighed(source: WeightSource, batch: Batch, n_items: int) -> None:
    """Check that each example of a batch has one weight of at least 0, and not all have 0.

    Args:
        source: the weights; of those that are stored, all are checked.
        batch: the batch.
        n_items: size N of the catalogue.

    Raises:
        AssertionError: if one has not; the message says what came.
    """
    if isinstance(source, StoredWeights):
        check_stored(source, n_items)
    weigh, rows = source(batch), len(batch.label)
    require(
        callable(weigh),
        f"called with a batch it gives {kind_of(weigh)}, expected a function (logits of the labels "
        "of some rows, the slice of these rows) -> their weights, such as "
        "softrec.types.GivenWeights",
    )
    for part in (slice(0, rows), slice(0, 1)):
        few = batch.label[part]
        found = weigh(torch.zeros(len(few), device=few.device), part)
        _check_numbers("the weights of some rows", found, (len(few),), whole=True)
        _check_signs(found, some=isinstance(source, StoredWeights) or len(few) < rows)


def check_stored(source: StoredWeights, n_items: int) -> None:
    """Check all weights that are stored: one for each item or each context.

    Raises:
        AssertionError: if their number is another one, or they are no weights.
    """
    values = source.values
    if isinstance(source, OfLabels):
        got = tuple(values.shape)
        require(
            got == (n_items,),
            f"they store weights of the shape {got}, expected one for each item, ({n_items},); "
            "count with minlength=training.n_items",
        )
    if isinstance(source, OfContexts):
        got, expected = tuple(values.shape), (source.data.n_contexts,)
        told = f"they store weights of the shape {got}, expected one for each example, {expected}"
        require(got == expected, told)
    require(bool(torch.isfinite(values).all()), "of the stored weights one is NaN or infinite")
    _check_signs(values)


def _check_signs(weights: Tensor, *, some: bool = False) -> None:
    low, high = (float(bound) for bound in weights.detach().aminmax())
    require(low >= 0, f"weights are at least 0, got {low:.4g}")
    require(some or high > 0, "all weights are 0, so that nothing is learnt; give 1 to what counts")


def check_encoded(encoder: Encoder, batch: Batch, side: str = "right") -> None:
    """Check the vectors that an encoder in eval mode has for a batch.

    Types, shapes and numbers are checked, that they are the same when asked again, and where
    histories are read, that two more columns of padding change nothing.

    Args:
        encoder: the model.
        batch: the batch.
        side: where histories are padded in training; in rankings it is the right.

    Raises:
        AssertionError: if the encoder breaks a rule; the message says what came.
    """
    with evaluating(encoder), torch.no_grad():
        width = check_items(encoder).vectors.shape[1]

        def users(batch: Batch) -> Tensor:
            return check_users(encoder, batch, width)

        _require_same(users(batch), users(batch), "users of the same batch again, in eval mode,")
        _check_padding(encoder, batch, side, users)


def check_scored(scorer: Scorer, batch: Batch) -> None:
    """Check the scores that a fitted scorer has for a batch, as `check_encoded` checks vectors.

    Raises:
        AssertionError: if the scorer breaks a rule; the message says what came.
    """

    def scores(batch: Batch) -> Tensor:
        return filled(check_scores(scorer, batch), slice(0, ROWS))

    with evaluating(scorer), torch.no_grad():
        _require_same(scores(batch), scores(batch), "scores of the same batch again, in eval mode,")
        _check_padding(scorer, batch, "right", scores)


def _check_padding(
    model: Model, batch: Batch, side: str, answer: Callable[[Batch], Tensor]
) -> None:
    """Two more columns of padding change no answer.

    The histories are cut by as much, because a model may not read more columns than it is trained
    on.
    """
    width = batch.history.shape[1]
    kept = max(1, width - 2)
    real = batch.history != model.n_items
    some = real.any(1).nonzero()[:ROWS, 0].tolist()
    if model.reads != "history" or width == kept or not some:
        return
    items = [batch.history[row][real[row]][:kept].tolist() for row in some]
    time = batch.time
    times = None if time is None else [time[row][real[row]][:kept].tolist() for row in some]
    users, n_items = batch.user[some].tolist(), model.n_items

    def told(side: str, extra: int) -> Tensor:
        own = padded(items, n_items, side=side, extra=extra, users=users, times=times)
        return answer(own.to(batch.label.device))

    expected = told("right", 0)
    for one in dict.fromkeys(("right", side)):
        what = f"answers with {width - kept} more columns of padding on the {one}"
        _require_same(
            told(one, width - kept), expected, what, f"; leave out items of the number {n_items}"
        )


def _require_same(found: Tensor, expected: Tensor, what: str, told: str = "") -> None:
    """Require numbers that differ by rounding alone, measured by the largest."""
    size = float(expected.abs().max())
    apart = float((found - expected).abs().max())
    require(
        apart <= WRONG * size,
        f"{what} differ by {apart:.3g}, where the largest number is {size:.3g}{told}",
    )
