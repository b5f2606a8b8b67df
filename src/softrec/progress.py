"""Progress of a run: messages by `logging`, and progress bars.

Every line is a record of level INFO of a logger below "softrec", so that a program which uses the
library can show or hide it as with other libraries. The command line, `fit` and `compare` show
lines and bars by `telling`.
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
    """Passes the text of each record to a function; progress bars are cleared while it writes.

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
    """A context in which messages are written, and progress bars are shown or not.

    Args:
        progress: None writes lines, and shows bars in a terminal or notebook; True shows bars
            anywhere; False writes no lines and shows no bars.
        write: called with one line of text at a time. If a program has set its own handler on the
            logger "softrec", that one is used instead.

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
        LOGGER.propagate = (
            False  # else a handler of the root logger would write each line a second time
        )
    try:
        yield
    finally:
        _bars.reset(shown)
        if ours:
            LOGGER.removeHandler(handler)
            LOGGER.setLevel(level)
            LOGGER.propagate = propagate


def shows_bars() -> bool:
    """Return whether to show bars: as set by `telling`, else in a terminal or notebook."""
    asked = _bars.get()
    return sys.stderr.isatty() or _in_notebook() if asked is None else asked


def _in_notebook() -> bool:
    """Return whether this is the kernel of a notebook, whose streams are not terminals."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"
