"""Ctrl-C or SIGTERM ends a training after a checkpoint of the step at hand."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from softrec import parallel

ENDS: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""The signals that end a program, and the handlers with which they do. A program with handlers of
its own, or one that is not to be interrupted, keeps them."""
TOLD = b"stopping after this step or validation, with a checkpoint; once more stops at once\n"


class Interruption:
    """A context in which a training first hears of a signal after its step, or its validation.

    It then stores a checkpoint and raises KeyboardInterrupt, with which Lightning ends in order;
    the signal itself is sent again when the context ends. A second signal is not delayed. With
    several processes, of which each would have to stop in the same step, and in a thread, nothing
    is delayed.

    Example:
        >>> with Interruption() as interruption:
        ...     interruption.asked is None
        True
    """

    def __init__(self) -> None:
        self.asked: int | None = None  # the signal
        self.delayed: list[int] = []

    def __enter__(self) -> Interruption:
        if parallel.size() == 1 and threading.current_thread() is threading.main_thread():
            self.delayed = [n for n, end in ENDS.items() if signal.getsignal(n) == end]
        self.listen()
        return self

    def __exit__(self, *error: Any) -> None:
        for number in self.delayed:
            signal.signal(number, ENDS[number])
        if self.asked is not None:
            signal.raise_signal(self.asked)

    def listen(self) -> None:
        """Take the place of handlers; Lightning puts its own there when a training starts."""
        for number in self.delayed:
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            signal.signal(number, ENDS[number])
            signal.raise_signal(number)
        self.asked = number
        # Not print: its stream may be in use by what the signal came between.
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, TOLD)
