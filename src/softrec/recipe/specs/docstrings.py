"""Parts of a docstring: its first paragraph, its arguments, its source."""

from __future__ import annotations

import inspect
import re
from typing import Any


def summary(thing: Any) -> str:
    """Return the first paragraph of a docstring, in one line.

    Example:
        >>> summary(summary)
        'Return the first paragraph of a docstring, in one line.'
    """
    return _joined(_text(thing).partition("\n\n")[0])


def source(thing: Any) -> str:
    """Return the paragraph that begins with "Source:", in one line; "" if there is none."""
    return paragraph(thing, "Source")


def paragraph(thing: Any, title: str) -> str:
    """Return the paragraph of a docstring that begins with a title and a colon, in one line.

    Example:
        >>> def shifted(by):
        ...     '''Return it moved.
        ...
        ...     Defaults: those of
        ...     nobody.
        ...     '''
        >>> paragraph(shifted, "Defaults"), paragraph(shifted, "Source")
        ('those of nobody.', '')
    """
    found = re.search(rf"^{title}: (.*?)(?:\n\n|\Z)", _text(thing), re.MULTILINE | re.DOTALL)
    return _joined(found[1]) if found else ""


def described_arguments(thing: Any) -> dict[str, str]:
    """Return the descriptions of the arguments in the `Args:` of a docstring, each in one line.

    Example:
        >>> def shifted(by):
        ...     '''Return it moved.
        ...
        ...     Args:
        ...         by: how far,
        ...             in steps.
        ...     '''
        >>> described_arguments(shifted)
        {'by': 'how far, in steps'}
    """
    found = re.search(r"^Args:\n((?:    .*\n?|\n)+)", _text(thing), re.MULTILINE)
    if found is None:
        return {}
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", found[1], re.MULTILINE)
    return {name: _joined(text).removesuffix(".") for name, text in entries}


def _text(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__ or "")  # its own docstring, not an inherited one


def _joined(text: str) -> str:
    return " ".join(text.split())
