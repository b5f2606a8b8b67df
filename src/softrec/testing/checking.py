"""Requirements with messages, for all contract tests."""

from __future__ import annotations

import torch
from torch import Tensor


def require(condition: bool, message: str) -> None:
    """Raise `AssertionError` unless `condition` holds; unlike `assert`, also under `python -O`."""
    if not condition:
        raise AssertionError(message)


def require_close(
    actual: Tensor, expected: Tensor, what: str, *, rtol: float = 1e-5, atol: float = 1e-6
) -> None:
    """Raise `AssertionError` unless shapes are equal and numbers are equal within a tolerance."""
    require(
        actual.shape == expected.shape,
        f"{what}: expected shape {tuple(expected.shape)}, got {tuple(actual.shape)}",
    )
    torch.testing.assert_close(
        actual.detach().double(),
        expected.detach().double(),
        rtol=rtol,
        atol=atol,
        msg=lambda text: f"{what}: {text}",
    )
