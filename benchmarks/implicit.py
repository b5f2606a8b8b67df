"""The library implicit, as the other side of rankings and recommendations, if it is installed."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

from benchmarks.timing import Row


def _found() -> Any:
    try:
        importlib.import_module("implicit.cpu.topk")
        pools = importlib.import_module("threadpoolctl").ThreadpoolController()
    except ImportError:
        return None
    # It has threads of its own, in which those of OpenBLAS are in the way, as it says itself.
    pools.select(internal_api="openblas").limit(limits=1)
    return importlib.import_module("implicit")


IMPLICIT = _found()


def without(row: Row) -> Row:
    """Return a row with the note that the other side is missing."""
    note = "implicit is not installed, so there is no row beside it (pip install implicit)"
    return replace(row, notes=(*row.notes, note))
