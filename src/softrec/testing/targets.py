"""The contract of a target."""

from __future__ import annotations

import torch
from torch import Tensor

from softrec.testing import oracles
from softrec.testing.checking import require, require_close
from softrec.types import Target

DIM = 5


def check_target(target: Target, n_items: int, rows: int, *, by_subtraction: bool = False) -> None:
    """Check that `target` is a distribution over the items and that its methods agree.

    All methods are compared with the table of its probabilities: `mean_item` and its gradient,
    `without`, whose mass must be accurate also if it is small (except `by_subtraction`), `within`,
    and `among`.

    Args:
        target: a target for `rows` predictions.
        n_items: size N of the catalogue; it should be small, because every item is checked.
        rows: the number P of predictions of the target; more than 1, to distinguish (P, D) from the
            (1, D) of a target that is the same for all rows.
        by_subtraction: whether `without` may subtract more than what remains, as its default does,
            and a mixture of targets that use the default.

    Raises:
        AssertionError: if the target breaks a rule.
    """
    require(rows > 1, f"expected at least 2 rows, got {rows}")
    generator = torch.Generator().manual_seed(n_items * 1000 + rows)
    vectors = torch.randn(n_items, DIM, generator=generator, dtype=torch.float64)
    table = oracles.dense(target, rows, n_items)
    _check_distribution(table)
    _check_prob_of(target, table, generator)
    _check_mean_item(target, table, vectors)
    _check_gradient(target, table, vectors, generator)
    _check_without(target, table, vectors, generator, by_subtraction)
    _check_within(target, table, generator)
    _check_among(target, table, generator)


def _check_distribution(table: Tensor) -> None:
    require(bool(table.isfinite().all()), "prob_of is NaN or infinite for some item")
    require(bool((table >= 0).all()), "prob_of is below 0 for some item")
    require_close(table.sum(1), torch.ones(len(table)), "the sum of prob_of over all items")


def _check_prob_of(target: Target, table: Tensor, generator: torch.Generator) -> None:
    """The answer for a row does not depend on the items of the other rows."""
    rows, n_items = table.shape
    for _ in range(3):
        items = torch.randint(n_items, (rows,), generator=generator)
        answer = target.prob_of(items)
        require(answer.is_floating_point(), f"prob_of gives {answer.dtype}, no float")
        require(not answer.requires_grad, "a target is detached, but prob_of requires grad")
        expected = table[torch.arange(rows), items]
        require_close(answer, expected, "prob_of, asked for different items at once", atol=1e-7)
    check_several(target, torch.randint(n_items, (rows, 3), generator=generator))


def check_several(target: Target, items: Tensor) -> None:
    """Check that `prob_of` answers for several items a row, as candidates of each row need.

    Raises:
        AssertionError: if it does not.
    """
    told = f"prob_of of several items a row, {tuple(items.shape)}"
    try:
        answer = target.prob_of(items)
    except (RuntimeError, IndexError, ValueError) as error:
        raise AssertionError(
            f"{told}, fails: {error}; it takes items (P,) or (P, M), so that what a row has is "
            "compared as (P, 1)"
        ) from error
    got = tuple(answer.shape)
    require(got == tuple(items.shape), f"{told}: expected numbers of this shape, got {got}")


def _check_mean_item(target: Target, table: Tensor, vectors: Tensor) -> None:
    rows = len(table)
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        given = vectors.to(dtype)
        mean = target.mean_item(given)
        name = f"mean_item of {dtype} vectors"
        require(mean.dtype == dtype, f"{name} is {mean.dtype}")
        require(not mean.requires_grad, f"a target is detached, but {name} requires grad")
        shapes = ((rows, DIM), (1, DIM))
        require(tuple(mean.shape) in shapes, f"{name}: expected {shapes}, got {tuple(mean.shape)}")
        expected = table @ given.double()
        whole = mean.expand(rows, -1)
        require_close(whole, expected, name, rtol=tolerance, atol=tolerance)
    column = target.mean_item(vectors[:, :1])
    require(column.shape[1] == 1, "mean_item of one column (a bias) must give one column")


def _check_gradient(
    target: Target, table: Tensor, vectors: Tensor, generator: torch.Generator
) -> None:
    """Only W has a gradient of `mean_item`, and `add_mean_gradient` adds exactly this gradient."""
    leaf = vectors.clone().requires_grad_()
    mean = target.mean_item(leaf)
    means = (table if len(mean) == len(table) else table[:1]) @ vectors
    require_close(mean, means, "mean_item", rtol=1e-5, atol=1e-6)
    rows = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
    for reached in _leaves(mean):
        require(reached is leaf, "the gradient of mean_item reaches more than the vectors")
    (gradient,) = torch.autograd.grad(mean, leaf, rows)
    gradient = gradient.to_dense() if gradient.is_sparse else gradient
    expected = table.T @ rows if len(rows) == len(table) else table[:1].T @ rows
    require_close(gradient, expected, "the gradient of mean_item")
    before = torch.randn(vectors.shape, generator=generator, dtype=torch.float64)
    out = before.clone()
    with torch.no_grad():
        target.add_mean_gradient(rows, out)
    require_close(out - before, gradient, "what add_mean_gradient adds to its buffer")


def _check_without(
    target: Target,
    table: Tensor,
    vectors: Tensor,
    generator: torch.Generator,
    by_subtraction: bool,
) -> None:
    """`without` is right for each item, and for -1, where no item is left out."""
    rows, n_items = table.shape
    top = table.argmax(1)
    places = [top, torch.full_like(top, -1)]
    places += [torch.randint(-1, n_items, (rows,), generator=generator) for _ in range(3)]
    for place in places:
        column, inside = place.clamp(min=0)[:, None], place[:, None] >= 0
        kept = torch.where(inside, 0, table.gather(1, column))
        expected = table.scatter(1, column, kept)
        rest, surplus, mass = target.without(place)
        name = f"without({place.tolist()})"
        for what, number in (("surplus", surplus), ("mass", mass)):
            require(number.shape == (rows,), f"{name}: expected a {what} of ({rows},)")
        lost = 1e-6 if by_subtraction else 1e-12
        require_close(mass, expected.sum(1), f"the mass of {name}", rtol=1e-5, atol=lost)
        require(
            by_subtraction or bool((surplus <= 1.001 * mass + 1e-12).all()),
            f"{name} takes off more than it leaves: the difference cancels",
        )
        require(bool((surplus[place < 0] == 0).all()), f"{name} takes off something at -1")
        left = oracles.dense(rest, rows, n_items)
        off = torch.where(inside, surplus.double()[:, None], 0)
        left = left - torch.zeros_like(left).scatter(1, column, off)
        require_close(left, expected, name, rtol=1e-5, atol=1e-7)
        _check_gradient(rest, oracles.dense(rest, rows, n_items), vectors, generator)


def _check_within(target: Target, table: Tensor, generator: torch.Generator) -> None:
    """`within` every second item is right up to a factor per row, and so is its `without`.

    Its `without` may be by subtraction: few targets are more accurate over some of the items.
    """
    rows, n_items = table.shape
    items = torch.arange(n_items % 2, n_items, 2)
    part = target.within(items, n_items)
    some = oracles.dense(part, rows, len(items))
    vectors = torch.randn(len(items), DIM, generator=generator, dtype=torch.float64)
    mass = table[:, items].sum(1, keepdim=True)
    factor = some.sum(1, keepdim=True) / torch.where(mass > 0, mass, 1)
    require_close(some, table[:, items] * factor, "within some of the items", atol=1e-7)
    _check_gradient(part, some, vectors, generator)
    _check_without(part, some, vectors, generator, by_subtraction=True)


def _check_among(target: Target, table: Tensor, generator: torch.Generator) -> None:
    """`among` is right up to a factor per row, with 0 for hidden items."""
    rows, n_items = table.shape
    label = torch.randint(n_items, (rows,), generator=generator)
    items = torch.randint(n_items, (rows, 3), generator=generator)
    hidden = torch.rand(rows, 3, generator=generator) < 0.4
    label_prob, probs = target.among(label, items, hidden)
    found = torch.cat([label_prob[:, None], probs], 1).double()
    expected = torch.cat([label[:, None], items], 1)
    expected = table.gather(1, expected)
    expected[:, 1:].masked_fill_(hidden, 0)
    mass = expected.sum(1, keepdim=True)
    factor = found.sum(1, keepdim=True) / torch.where(mass > 0, mass, 1)
    require_close(found, expected * factor, "among label and items", atol=1e-7)


def _leaves(tensor: Tensor) -> list[Tensor]:
    """Return the leaves of the graph of `tensor` that accumulate gradients."""
    found: list[Tensor] = []
    stack = [tensor.grad_fn]
    known = set()
    while stack:
        node = stack.pop()
        if node is None or node in known:
            continue
        known.add(node)
        if type(node).__name__ == "AccumulateGrad":
            found.append(node.variable)  # pyright: ignore[reportAttributeAccessIssue]
        stack += [after for after, _ in node.next_functions]
    return found
