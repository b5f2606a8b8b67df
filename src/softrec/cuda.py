"""What a CUDA device needs: float32 as on a processor, and the same numbers each time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from softrec.errors import TrainingError


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """A context in which work on a CUDA device gives the same numbers each time.

    Sums over rows with the same number are otherwise added in the order in which threads arrive.
    Elsewhere nothing changes: a processor repeats its numbers anyway.

    Raises:
        TrainingError: if an operation can not be repeated.
    """
    if device.type != "cuda":
        yield
        return
    # Read when cuBLAS starts; without it torch refuses matrix products in this context.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    memory: Any = torch.utils.deterministic
    before = torch.get_deterministic_debug_mode(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False  # a pass over each new tensor, for nothing here
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise TrainingError(
            f"{str(error).split('.')[0]}; train with training.deterministic=false, and the same "
            "seed does not give exactly the same numbers"
        ) from error
    finally:
        torch.set_deterministic_debug_mode(before[0])
        memory.fill_uninitialized_memory = before[1]


@contextmanager
def float32(device: torch.device) -> Iterator[None]:
    """A context in which cuDNN computes GRUs and convolutions in float32, as products are.

    By default torch lets cuDNN, but not matrix products, round factors to the 10 bits of TF32. Here
    `torch.set_float32_matmul_precision` decides for both.
    """
    if device.type != "cuda" or torch.get_float32_matmul_precision() != "highest":
        yield
        return
    switches = _switches()
    before = [getattr(owner, name) for owner, name, _ in switches]
    try:
        for owner, name, value in switches:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(switches, before, strict=True):
            setattr(owner, name, value)


def _switches() -> list[tuple[object, str, object]]:
    """Return what turns TF32 off: (owner, attribute, value); torch 2.9 has one per operation."""
    cudnn = torch.backends.cudnn
    parts = [getattr(cudnn, name, None) for name in ("rnn", "conv")]
    if all(hasattr(part, "fp32_precision") for part in parts):
        return [(part, "fp32_precision", "ieee") for part in parts]
    return [(cudnn, "allow_tf32", False)]
