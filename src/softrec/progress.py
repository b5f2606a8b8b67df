"""Progress of a run: messages, by `logging`, and bars.

Every line is a record of level INFO of a logger below "softrec", so that a program which uses the
library hears it, or not, as it hears other libraries. `telling` is what the command line, `fit` and
`compare` show lines and bars with.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm import tqdm

LOGGER = logging.getLogger("softrec")
_bars: ContextVar[bool | None] = ContextVar("softrec_bars", default=None)


class LineHandler(logging.Handler):
    """Hands the text of each record to a function; a bar on the same screen makes room.

    Args:
        write: called with one line of text at a time.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__()
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        with tqdm.external_write_mode():
            self.write(record.getMessage())


def to_stderr(line: str) -> None:
    """Write a line to the error stream, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@contextmanager
def telling(
    progress: bool | None = None, write: Callable[[str], object] = to_stderr
) -> Iterator[None]:
    """A context in which lines are written, and bars shown or not.

    Args:
        progress: None writes lines, and shows bars in a terminal or notebook; True shows bars
            anywhere; False writes no lines and shows no bars.
        write: called with one line of text at a time. A program that has a handler of its own on
            the logger "softrec" keeps that one instead.

    Example:
        >>> with telling(write=print):
        ...     LOGGER.info("epoch %d", 1)
        epoch 1
    """
    shown = _bars.set(progress)
    handler = LineHandler(write)
    ours = progress is not False and not LOGGER.handlers
    level, propagate = LOGGER.level, LOGGER.propagate
    if ours:
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)
        LOGGER.propagate = False  # else a handler of the root logger would write each line again
    try:
        yield
    finally:
        _bars.reset(shown)
        if ours:
            LOGGER.removeHandler(handler)
            LOGGER.setLevel(level)
            LOGGER.propagate = propagate


def shows_bars() -> bool:
    """Tell whether to show bars: as `telling` says, else where one can be drawn and is seen."""
    asked = _bars.get()
    return sys.stderr.isatty() or _in_notebook() if asked is None else asked


def _in_notebook() -> bool:
    """Tell whether this is the kernel of a notebook, whose streams are no terminals."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"
