"""The contract of a softmax loss, and of a function that computes it (a pass)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from softrec.losses.reference import plain
from softrec.losses.softmax import (
    Loss,
    ObjectiveValue,
    SoftmaxLoss,
    SoftmaxProblem,
    SoftTarget,
    loss_of,
)
from softrec.losses.streaming import streamed
from softrec.targets.dense import DenseTarget
from softrec.testing import oracles
from softrec.testing.briefly import check_values
from softrec.testing.checking import require, require_close
from softrec.testing.oracles import Oracle
from softrec.types import ItemVectors, Target

Pass = Callable[..., ObjectiveValue]
"""A function like `streamed`: (problem, loss, soft, weight)."""
WEIGHTS = (0.0, 1e-6, 0.3, 1.0)
ODDS = (-1e4, -80.0, -14.0, 0.0, 14.0, 80.0, 1e4)  # log-odds of the label


def over_all(shared: Pass) -> Callable[..., ObjectiveValue]:
    """Return a function that computes the loss over the full catalogue by a pass."""

    def loss(
        parts: Loss,
        users: Tensor,
        items: ItemVectors,
        label: Tensor,
        target: Target | None,
        weight: float,
        **options: Any,
    ) -> ObjectiveValue:
        soft = None if target is None else SoftTarget(target, label)
        return shared(SoftmaxProblem(users, items, label), parts, soft, weight, **options)

    return loss


@dataclass(frozen=True)
class SoftmaxCase:
    """The inputs of a softmax loss over the full catalogue."""

    users: Tensor  # (P, D)
    items: ItemVectors  # (N, D), (N,) or None
    label: Tensor  # (P,)
    probs: Tensor  # (P, N), the soft target as a table

    def to(self, dtype: torch.dtype) -> SoftmaxCase:
        """Return the case with its numbers rounded to another dtype."""
        bias = None if self.items.bias is None else self.items.bias.to(dtype)
        items = ItemVectors(self.items.vectors.to(dtype), bias)
        return SoftmaxCase(self.users.to(dtype), items, self.label, self.probs.to(dtype))

    def table(self) -> Tensor:
        """Return the logits, (P, N) float64."""
        return oracles.logits(self.users, self.items)


@dataclass(frozen=True)
class Outcome:
    """The values and gradients of a loss, detached."""

    values: Tensor  # (P,)
    users: Tensor
    vectors: Tensor
    bias: Tensor | None

    @property
    def all(self) -> dict[str, Tensor]:
        """Return the values and gradients by name."""
        named = {
            "value": self.values,
            "gradient of the users": self.users,
            "gradient of the item vectors": self.vectors,
            "gradient of the bias": self.bias,
        }
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def random_case(
    seed: int,
    rows: int = 9,
    n_items: int = 13,
    dim: int = 4,
    *,
    spread: float = 2.0,
    bias: bool = True,
    dtype: torch.dtype = torch.float64,
) -> SoftmaxCase:
    """Return a random case; the logits are normal with standard deviation about `spread`."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    items = ItemVectors(normal(n_items, dim), normal(n_items) if bias else None)
    case = SoftmaxCase(
        spread * normal(rows, dim) / dim**0.5,
        items,
        torch.randint(n_items, (rows,), generator=generator),
        normal(rows, n_items).mul(2).softmax(1),
    )
    return case.to(dtype)


def from_logits(logits: Tensor, label: Tensor, probs: Tensor) -> SoftmaxCase:
    """Return a case whose logits are exactly the given table, (P, N): users are unit vectors."""
    users = torch.eye(len(logits), dtype=logits.dtype)
    bias = torch.zeros(logits.shape[1], dtype=logits.dtype)
    return SoftmaxCase(users, ItemVectors(logits.T.contiguous(), bias), label, probs)


def extreme_case(odds: float, dtype: torch.dtype = torch.float32) -> SoftmaxCase:
    """Return a case with log-odds of the label near +-`odds`, and with s_y from 0 to 1."""
    n_items, label, probabilities = 5, 2, (0.0, 0.3, 1.0)
    rows = [[0.5, -0.5, odds, 0.0, 1.0]] * len(probabilities)
    probs = [[(1 - probability) / (n_items - 1)] * n_items for probability in probabilities]
    for row, probability in zip(probs, probabilities, strict=True):
        row[label] = probability
    labels = torch.full((len(rows),), label)
    return from_logits(torch.tensor(rows, dtype=dtype), labels, torch.tensor(probs, dtype=dtype))


def outcome_of(case: SoftmaxCase, parts: Loss, weight: float, shared: Pass) -> Outcome:
    """Return the values of the weighted sum of `parts` and the gradient of its mean."""
    leaves = [case.users, case.items.vectors]
    if case.items.bias is not None:
        leaves.append(case.items.bias)
    users, vectors, *bias = (leaf.detach().clone().requires_grad_() for leaf in leaves)
    items = ItemVectors(vectors, bias[0] if bias else None)
    target = DenseTarget(case.probs)
    value = over_all(shared)(parts, users, items, case.label, target, weight)
    _check_value(value, parts)
    gradients = torch.autograd.grad(value.total, [users, vectors, *bias])
    values = loss_of(parts).total(value.parts)
    return Outcome(values, gradients[0], gradients[1], gradients[2] if bias else None)


def oracle_outcome(
    case: SoftmaxCase, oracle: Oracle, weight: float, coefficient: float = 1.0
) -> Outcome:
    """Return the values and gradients of a definition over whole tables in float64."""
    exact = case.to(torch.float64)
    leaves = [exact.users, exact.items.vectors]
    if exact.items.bias is not None:
        leaves.append(exact.items.bias)
    users, vectors, *bias = (leaf.detach().clone().requires_grad_() for leaf in leaves)
    table = oracles.logits(users, ItemVectors(vectors, bias[0] if bias else None))
    values = coefficient * oracle(table, case.label, exact.probs, weight)
    gradients = torch.autograd.grad(values.mean(), [users, vectors, *bias])
    return Outcome(values.detach(), gradients[0], gradients[1], gradients[2] if bias else None)


def _check_value(value: ObjectiveValue, parts: Loss) -> None:
    names = loss_of(parts).names
    require(list(value.parts) == names, f"expected parts {names}, got {value.parts}")
    require(value.total.dim() == 0, f"the total must be one number, got {value.total.shape}")
    for name, part in value.parts.items():
        require(not part.requires_grad, f"part {name} must be detached")


def check_loss(loss: SoftmaxLoss, oracle: Oracle) -> None:
    """Check a loss on (z_y, R) and (s_y, E) against its definition over whole tables.

    It checks that there is one finite value per example, and with the plain and with the streamed
    pass value and gradient at ordinary and at
    extreme logits, for weights from 0 to 1; that adding a constant to all logits changes nothing;
    and that the gradient in the logits sums to 0.

    Args:
        loss: one value per example from the statistics of the model and the target's answers.
        oracle: the same loss as a function of (logits, label, soft target, weight).

    Raises:
        AssertionError: if the loss breaks a rule; the message names it.
    """
    for weight in WEIGHTS:
        check_values(loss_of({"loss": (loss, 1.0)}), weight)
    check_pass({"loss": (loss, 1.0)}, oracle, plain)
    check_pass({"loss": (loss, 1.0)}, oracle, streamed)


def check_pass(parts: Loss, oracle: Oracle, shared: Pass) -> None:
    """Check a loss as a pass computes it; `oracle` is the definition of its weighted sum.

    Raises:
        AssertionError: if the pass breaks a rule; the message names it.
    """
    for weight in WEIGHTS:
        for seed, (rows, n_items, bias) in enumerate([(9, 13, True), (1, 2, True), (4, 7, False)]):
            case = random_case(seed, rows, n_items, bias=bias)
            _check_agrees(case, parts, oracle, weight, shared, 1e-8)
        _check_shift(random_case(7), parts, weight, shared)
        _check_extremes(parts, oracle, weight, shared)


def _check_agrees(
    case: SoftmaxCase,
    parts: Loss,
    oracle: Oracle,
    weight: float,
    shared: Pass,
    tolerance: float,
) -> None:
    actual = outcome_of(case, parts, weight, shared).all
    expected = oracle_outcome(case, oracle, weight).all
    require(actual.keys() == expected.keys(), f"expected {list(expected)}, got {list(actual)}")
    for name, tensor in actual.items():
        what = f"{name} at weight {weight} ({case.users.dtype})"
        require(bool(torch.isfinite(tensor).all()), f"{what} is not finite")
        large = name in ("value", "gradient of the users")  # these errors grow with the logits
        size = float(case.table().abs().max()) if large else 1.0
        atol = max(tolerance, 4 * torch.finfo(case.users.dtype).eps * size)
        require_close(tensor, expected[name], what, rtol=tolerance, atol=atol)


def _check_shift(
    case: SoftmaxCase, parts: Loss, weight: float, shared: Pass, constant: float = 37.0
) -> None:
    bias = case.items.bias
    if bias is None:
        raise AssertionError("the shift goes through the bias: the case needs one")
    shifted = replace(case, items=ItemVectors(case.items.vectors, bias + constant))
    before = outcome_of(case, parts, weight, shared)
    after = outcome_of(shifted, parts, weight, shared)
    for name, tensor in before.all.items():
        what = f"{name} after adding {constant} to all logits"
        require_close(after.all[name], tensor, what, rtol=1e-8, atol=1e-8)
    total = after.all["gradient of the bias"].sum()
    require_close(total, torch.zeros(()), "the sum of the gradient in the logits", atol=1e-10)


def _check_extremes(parts: Loss, oracle: Oracle, weight: float, shared: Pass) -> None:
    """In single precision, numbers as large as the logits may differ in a few last bits."""
    for odds in ODDS:
        for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 4e-6)):
            case = extreme_case(odds, dtype)
            _check_agrees(case, parts, oracle, weight, shared, tolerance)
