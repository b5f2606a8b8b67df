"""Optional packages, each installed by an extra.

They are imported where they are used, so that softrec works without them.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from softrec.errors import SoftrecError

EXTRAS = {"faiss": "neighbours", "gensim": "item2vec", "optuna": "tune",
          "tensorboard": "tensorboard"}  # fmt: skip
"""Name of a package -> name of the extra that installs it."""


def has(package: str) -> bool:
    """Return whether a package is installed, without importing it."""
    try:
        return find_spec(package) is not None
    except ValueError:  # raised for an imported package that has no spec
        return False


def require(package: str, purpose: str) -> ModuleType:
    """Import a package of `EXTRAS` and return it.

    Args:
        package: its name, or the name of a module in it.
        purpose: what needs it, for the error.

    Raises:
        SoftrecError: if it cannot be imported; the error names the extra.

    Example:
        >>> require("faiss", "the target").__name__
        'faiss'
    """
    top = package.partition(".")[0]
    try:
        import_module(top)
        return import_module(package)
    except ImportError as error:
        raise SoftrecError(
            f"{purpose} needs {top}, which cannot be imported ({error}); "
            f'install it with: pip install "softrec[{EXTRAS[top]}]"'
        ) from error
