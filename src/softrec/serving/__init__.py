"""From a trained model to recommendations."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softrec.serving.catalogue import Catalogue
    from softrec.serving.exported import ExportedRecommender
    from softrec.serving.recommender import Recommender
    from softrec.serving.rules import Rules

__all__ = [
    "Catalogue",
    "ExportedRecommender",
    "Recommender",
    "Rules",
]

# Imported on first use: a recommender of a run needs torch, one of an export does not.
HOME = {"Catalogue": "catalogue", "ExportedRecommender": "exported", "Recommender": "recommender",
        "Rules": "rules"}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in HOME:
        return getattr(import_module(f"softrec.serving.{HOME[name]}"), name)
    raise AttributeError(f"module 'softrec.serving' has no attribute {name!r}")
