"""One safetensors file of whole tensors that several processes write, each its own rows.

So a file does not tell by how many processes it was written, and any number of them can read it:
each reads its own rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

from softrec.parallel.tables import Part
from softrec.parallel.world import everyone, part, rank, size

TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
READ = 2**20  # numbers that are read at a time where rows are picked
ALIGNED = 8  # bytes; safetensors wants its header to be a multiple of it


def write_together(path: Path, tensors: Mapping[str, Tensor], parts: Mapping[str, Part]) -> None:
    """Write a file, one process after the other, and rename it when all have written.

    Args:
        path: the file, on a disk that all processes see; it is replaced.
        tensors: by name; the first process writes those that all have.
        parts: which rows of a tensor this process has. Rows that none has are zeros.
    """
    header, begins, total = _layout(tensors, parts)
    fresh = path.with_name(f"{path.name}.part")
    for turn in range(size()):
        if rank() == turn and part()[0] == 0:
            with fresh.open("r+b" if turn else "wb") as file:
                if not turn:
                    file.write(header)
                    file.truncate(len(header) + total)
                for name, tensor in tensors.items():
                    own = parts.get(name)
                    if own is not None or not turn:
                        width = tensor.numel() // len(tensor) if own is not None else 0
                        before = 0 if own is None else own.start * width * tensor.itemsize
                        _write(file, len(header) + begins[name] + before, tensor)
        everyone(None)  # has written
    if rank() == 0:
        fresh.replace(path)
    everyone(None)


def read_rows(path: Path, name: str, own: Part | None) -> Tensor:
    """Return the own rows of a tensor in a file; all of them without a part."""
    with safe_open(path, "pt") as kept:
        if own is None:
            return kept.get_tensor(name)
        return kept.get_slice(name)[own.start : own.stop]


def read_some(path: Path, name: str, rows: Tensor) -> Tensor:
    """Return some rows of a tensor in a file, (n, ...), in any order; it is read in blocks.

    Args:
        path: the file.
        name: of the tensor.
        rows: (n,) int64.
    """
    ordered, order = rows.sort()
    with safe_open(path, "pt") as kept:
        whole = kept.get_slice(name)
        count, *width = whole.get_shape()
        size = max(1, READ // max(1, torch.Size(width).numel()))
        found = whole[0:1].new_empty(len(rows), *width)
        for begin in range(0, count, size):
            edges = torch.searchsorted(ordered, torch.tensor([begin, begin + size])).tolist()
            if edges[0] < edges[1]:
                some = slice(*edges)
                found[order[some]] = whole[begin : begin + size][ordered[some] - begin]
    return found


def names_in(path: Path) -> Iterable[str]:
    """Return the names of the tensors in a file."""
    with safe_open(path, "pt") as kept:
        return list(kept.keys())


def _layout(
    tensors: Mapping[str, Tensor], parts: Mapping[str, Part]
) -> tuple[bytes, dict[str, int], int]:
    """Return the header of a file, where each tensor begins after it, and the bytes of all."""
    entries: dict[str, Any] = {}
    begins, begin = {}, 0
    for name, tensor in sorted(tensors.items(), key=lambda one: (-one[1].itemsize, one[0])):
        shape = list(tensor.shape)
        if name in parts:
            shape[0] = parts[name].rows
        length = torch.Size(shape).numel() * tensor.itemsize
        begins[name], stop = begin, begin + length
        entries[name] = {
            "dtype": TYPES[tensor.dtype], "shape": shape, "data_offsets": [begin, stop],
        }  # fmt: skip
        begin = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    return len(text).to_bytes(8, "little") + text, begins, begin


def _write(file: BinaryIO, place: int, tensor: Tensor) -> None:
    file.seek(place)
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    plain.view(torch.uint8).numpy().tofile(file)
