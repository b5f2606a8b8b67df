"""The user tower of an encoder, as a graph: histories in, user vectors out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from softrec.errors import RunError, one_line
from softrec.extras import optional
from softrec.types import Batch, Encoder

if TYPE_CHECKING:
    import onnx
else:
    onnx = optional("onnx", "an export")

INPUTS = ("history", "time")
OUTPUTS = ("users", "interests", "interest_logits")
NOISY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
LARGEST = 1 << 30
"""Bytes of weights up to which they are inside the ONNX file; one file may have 2 GiB."""


class UserTower(nn.Module):
    """What an encoder does for one prediction at the end of each history.

    Args:
        model: any encoder, in evaluation mode.
    """

    def __init__(self, model: Encoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, history: Tensor, time: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the user vectors (B, D) or (B, K, D), and predicted interests with their logits.

        Args:
            history: (B, L) int64, padded with N.
            time: (B, L) int64, for models that need it.
        """
        nobody = torch.zeros_like(history[:, 0])
        found = self.model(Batch(history, nobody, nobody, nobody, time=time))
        return (found.users, *(found.interests or ()))


def traced(model: Encoder, length: int) -> ExportedProgram:
    """Return the graph of the user tower, for any number and length of histories.

    Args:
        model: in evaluation mode, on the CPU.
        length: the longest history.

    Raises:
        RunError: if torch.export cannot follow the model.
    """
    width = min(length, 3)
    history = torch.arange(2 * width).view(2, width) % model.n_items
    given = (history, history.clone()) if model.needs_times else (history,)
    # A dimension of 1 is a constant for torch.export.
    sizes: dict[int, Any] = {0: Dim("batch")}
    if length > 1:
        sizes[1] = Dim("length", min=1, max=length)
    shapes = {name: sizes for name, _ in zip(INPUTS, given, strict=False)}
    tower = UserTower(model).eval()
    failures = []
    for strict in (False, True):
        try:
            with torch.no_grad(), quiet():
                program = torch.export.export(
                    tower, given, dynamic_shapes=shapes, strict=strict,
                    prefer_deferred_runtime_asserts_over_guards=True,
                )  # fmt: skip
            return _without_places(program)
        except Exception as error:  # of a model of the user, anything
            failures.append(error)
    raise RunError(
        f"{model.name} cannot be exported: torch.export says {_reason(failures[0])}; let its "
        "operations not depend on the numbers of a batch (x.shape[0] for len(x), masks for "
        "branches), or serve the run itself"
    ) from failures[0]


def write_onnx(program: ExportedProgram, name: str, path: Path) -> None:
    """Write a graph of `traced` as ONNX, checked by onnx.

    Weights of more than 1 GiB are in a file of their own beside it.

    Raises:
        RunError: if an operation has no form in ONNX.
    """
    inputs, outputs = (
        names[: len(there)]
        for names, there in (
            (INPUTS, program.graph_signature.user_inputs),
            (OUTPUTS, program.graph_signature.user_outputs),
        )
    )
    try:
        with torch.no_grad(), quiet():
            made: Any = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=inputs, output_names=outputs
            )
            apart = sum(part.nbytes for part in program.state_dict.values()) > LARGEST
            made.save(path, external_data=apart)
            _tidy(path)
            onnx.checker.check_model(str(path))
    except Exception as error:
        raise RunError(
            f"{name} cannot be exported to ONNX: {_reason(error)}; use operations that ONNX has, "
            "or serve the run itself"
        ) from error


def _without_places(program: ExportedProgram) -> ExportedProgram:
    """Return the graph without the places in the code that made it: paths of this machine."""
    for module in program.graph_module.modules():
        if isinstance(module, GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


def _tidy(path: Path) -> None:
    """Write "batch" and "length" for the names of dynamic sizes, which torch numbers."""
    model = onnx.load(str(path), load_external_data=False)
    sizes = [size.dim_param for size in model.graph.input[0].type.tensor_type.shape.dim]
    names = {old: new for old, new in zip(sizes, ("batch", "length"), strict=True) if old}
    for values in (model.graph.input, model.graph.output, model.graph.value_info):
        for value in values:
            for size in value.type.tensor_type.shape.dim:
                if size.dim_param in names:
                    size.dim_param = names[size.dim_param]
    onnx.save(model, str(path))


def _reason(error: BaseException) -> str:
    """Return the first cause of an error of torch in a few words."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if not line.endswith("!")), type(error).__name__)
    constraint = next((line for line in lines if line.startswith("- You marked")), told)
    return one_line(constraint.removeprefix("- "), 200)


@contextmanager
def quiet() -> Iterator[None]:
    """A context without the warnings and notes of torch's exporters, which are not for users."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
