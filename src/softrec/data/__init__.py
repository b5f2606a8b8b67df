"""Logs, splits, batches, public data sets and the simulated shop."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softrec.data.batches import Examples, TrainingBatches, examples
    from softrec.data.interactions import Interactions, Sequences
    from softrec.data.sessions import by_session_time
    from softrec.data.sources import SOURCES, Parts, RemoteFile, Source
    from softrec.data.splits import Cases, Split, by_time, by_user_ratio, given, leave_last_out
    from softrec.data.vocabulary import Vocabulary

__all__ = [
    "SOURCES",
    "Cases",
    "Examples",
    "Interactions",
    "Parts",
    "RemoteFile",
    "Sequences",
    "Source",
    "Split",
    "TrainingBatches",
    "Vocabulary",
    "by_session_time",
    "by_time",
    "by_user_ratio",
    "examples",
    "given",
    "leave_last_out",
]

# Imported on first use: batches need torch, the names of the public data sets do not.
HOME = {
    "batches": ("Examples", "TrainingBatches", "examples"),
    "interactions": ("Interactions", "Sequences"),
    "sessions": ("by_session_time",),
    "sources": ("SOURCES", "Parts", "RemoteFile", "Source"),
    "splits": ("Cases", "Split", "by_time", "by_user_ratio", "given", "leave_last_out"),
    "vocabulary": ("Vocabulary",),
}


def __getattr__(name: str) -> Any:
    for module, names in HOME.items():
        if name == module:
            return import_module(f"softrec.data.{module}")
        if name in names:
            return getattr(import_module(f"softrec.data.{module}"), name)
    raise AttributeError(f"module 'softrec.data' has no attribute {name!r}")
