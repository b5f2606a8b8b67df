"""Matrix products of float32 numbers with factors rounded to bfloat16, where that is faster.

A processor with AMX or AVX512-BF16 multiplies bfloat16 numbers several times faster than float32
and adds them in float32. So only the factors of a product lose digits: parameters, activations,
sums, statistics, gradients and the optimiser stay in float32, and there is no copy of the model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from softrec.training.module import Validate
from softrec.types import Encoder

LOGGER = logging.getLogger(__name__)
ROUNDED = "bf16"
UNITS = {  # by the function of torch.cpu that tells whether the processor has it
    "_is_amx_tile_supported": "AMX",
    "_is_avx512_bf16_supported": "AVX512-BF16",
}


@cache
def bf16_unit() -> str | None:
    """Return what multiplies bfloat16 numbers in this processor, or None."""
    for function, name in UNITS.items():
        if getattr(torch.cpu, function, lambda: False)():
            return name
    return None


def of_trainer(precision: Any) -> Any:
    """Return the precision of Lightning's trainer: with "bf16" the numbers are float32."""
    return "32-true" if precision == ROUNDED else precision


@contextmanager
def products(precision: Any, device: torch.device, unit: str | None = None) -> Iterator[None]:
    """A context in which products have factors of bfloat16, if `precision` is "bf16".

    A line says whether they have: elsewhere than on a processor with such a unit they have not.

    Args:
        precision: of the training.
        device: on which it trains.
        unit: of the processor, as `bf16_unit` returns it.
    """
    if precision != ROUNDED:
        yield
        return
    if device.type != "cpu" or unit is None:
        where = "this processor" if device.type == "cpu" else f"a {device.type} device"
        LOGGER.info("precision bf16: not used on %s, products are computed in float32", where)
        yield
        return
    LOGGER.info("precision bf16: products by %s, sums in float32", unit)
    with _precision("medium"):
        yield


def exactly(validate: Validate, precision: Any) -> Validate:
    """Return a validation that computes its products as outside of `products`."""
    if precision != ROUNDED:
        return validate
    outside = torch.get_float32_matmul_precision()

    def validated(encoder: Encoder) -> dict[str, float]:
        with _precision(outside):
            return validate(encoder)

    return validated


@contextmanager
def _precision(name: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
