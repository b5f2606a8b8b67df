"""The folder of an export, and what its manifest says. Needs no torch.

    EXPORT/
      manifest.json      format, versions, model, length, inputs and outputs, hash and size of files
      user_tower.onnx    histories (B, L) -> user vectors, for ONNX Runtime
      user_tower.pt2     the same, for torch.export.load
      items.safetensors  vectors (N, D) and, if there is one, bias (N,)
      items.arrow        the same as a table: id, title and other columns of the table of the items,
                         bias, vector as a fixed-size list
      prior.safetensors  of a model with a prior: its counted tables (N, N) by rows, 0.offsets,
                         0.columns and 0.values, and 1. of a second one; the manifest has `terms`,
                         the strength and recency of each, and floor, last and items of both
      catalogue.parquet  the table of the items, if there is one
      users.parquet      user, history (numbers of items), times or vector if the model needs them
      parity.json        how far the export is from the model
      index.json         exact against approximate, see `softrec.serving.index`; the chosen index
                         beside it, index.faiss or index.usearch
      recipe.yaml        the recipe of the run

A score is the inner product of a user vector and an item vector, plus the bias of the item; with
several vectors of a user the highest one. A prior adds numbers to the scores of some items, see
`softrec.serving.prior`. Items are numbered in the order of `items.arrow`, and the number N pads
histories, on the right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softrec.errors import RunError, one_line
from softrec.files import changed, read_facts

FORMAT = 2  # of 1 a prior was another, and all else the same
MANIFEST = "manifest.json"
ONNX = "user_tower.onnx"
PT2 = "user_tower.pt2"
VECTORS = "items.safetensors"
ITEMS = "items.arrow"
USERS = "users.parquet"
PRIOR = "prior.safetensors"
CATALOGUE = "catalogue.parquet"
PARITY = "parity.json"
INDEX = "index.json"


def is_export(folder: Path) -> bool:
    """Return whether a folder has the manifest of an export."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path, *, trust: bool = False) -> dict[str, Any]:
    """Return the manifest of an export, after a check that no file was changed.

    Args:
        folder: of the export.
        trust: do not check the files.

    Raises:
        RunError: if there is no export of this format, or a file is missing or was changed.
    """
    path = folder / MANIFEST
    try:
        facts = json.loads(path.read_text("utf-8")) if trust else read_facts(path)
    except FileNotFoundError as error:
        raise RunError(
            f"there is no export in {folder} (no {MANIFEST}); make one with softrec export RUN "
            f"--to {folder}"
        ) from error
    except (ValueError, OSError) as error:
        raise RunError(
            f"{path} cannot be used ({one_line(str(error), 200)}); export the run again"
        ) from error
    came = facts.get("format") if isinstance(facts, dict) else type(facts).__name__
    if came != FORMAT and not (came == 1 and facts.get("prior") is None):
        raise RunError(
            f"{path} has format {came!r}, but this softrec reads {FORMAT}; export the run again"
        )
    if not trust:
        _check_files(folder, facts["files"])
    return facts


def _check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    complaint = changed(folder, files)
    if complaint is not None:
        raise RunError(f"{complaint}; export the run again")
