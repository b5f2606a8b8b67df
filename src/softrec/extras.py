"""Optional packages, each installed by an extra.

They are imported where they are used, so that softrec works without them: it trains, evaluates and
recommends.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from softrec.errors import SoftrecError

EXTRAS = {"faiss": "neighbours", "fastapi": "serve", "gensim": "item2vec",
          "huggingface_hub": "hub", "matplotlib": "report",
          "mlflow": "mlflow", "onnx": "export", "onnxruntime": "export", "onnxscript": "export",
          "optuna": "tune", "prometheus_client": "serve", "pyarrow": "arrow", "ray": "ray",
          "scipy": "baselines", "sklearn": "text", "tensorboard": "tensorboard",
          "usearch": "usearch", "uvicorn": "serve", "wandb": "wandb"}  # fmt: skip
"""Name of a package -> name of the smallest extra that installs it."""

SILENT = {"huggingface_hub": ("HF_HUB_DISABLE_TELEMETRY", "1"),
          "mlflow": ("MLFLOW_DISABLE_TELEMETRY", "true"),
          "onnxruntime": ("ORT_DISABLE_TELEMETRY", "1"),
          "ray": ("RAY_USAGE_STATS_ENABLED", "0")}  # fmt: skip
"""Name of a package that sends statistics of its use to its makers -> what keeps it from that."""


def has(package: str) -> bool:
    """Return whether a package is installed, without importing it."""
    try:
        return find_spec(package) is not None
    except ValueError:  # raised for an imported package that has no spec
        return False


def optional(module: str, purpose: str) -> Any:
    """Return a module of a package of `EXTRAS` that is imported when something of it is used.

    Args:
        module: its name.
        purpose: what needs it, for the error.

    Example:
        >>> float(optional("scipy.special", "an interval").expit(0.0))
        0.5
    """
    return _Optional(module, purpose)


class _Optional(ModuleType):
    """A module that is imported on first use."""

    def __init__(self, module: str, purpose: str) -> None:
        super().__init__(module)
        self._purpose = purpose

    def __getattr__(self, name: str) -> Any:
        found = getattr(require(self.__name__, self._purpose), name)
        setattr(self, name, found)
        return found


def require_report() -> None:
    """Refuse what ends with a report, before anything is trained, if it could not be written.

    Raises:
        SoftrecError: if a package is missing.
    """
    for package in ("matplotlib", "scipy"):
        require(package, "a report", extra="report")


def require(package: str, purpose: str, *, extra: str = "") -> ModuleType:
    """Import a package of `EXTRAS` and return it.

    A package of `SILENT` sends nothing to its makers, unless its variable was set before.

    Args:
        package: its name, or the name of a module in it.
        purpose: what needs it, for the error.
        extra: the extra to install; by default that of `EXTRAS`.

    Raises:
        SoftrecError: if it cannot be imported; the error names the extra.

    Example:
        >>> require("faiss", "the target").__name__
        'faiss'
    """
    top = package.partition(".")[0]
    if top in SILENT:
        os.environ.setdefault(*SILENT[top])  # read when it is imported
    try:
        import_module(top)
        return import_module(package)
    except ImportError as error:
        raise SoftrecError(
            f"{purpose} needs {top}, which cannot be imported ({error}); "
            f'install it with: pip install "softrec[{extra or EXTRAS[top]}]"'
        ) from error
