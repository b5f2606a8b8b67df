"""The entry point of `softrec` and `python -m softrec`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

INTERRUPTED = 130


def main() -> None:
    """Run the command line; Ctrl-C while modules are loading ends it with one line of text."""
    loading = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if loading:  # else something, such as nohup, has set a handler already
        signal.signal(signal.SIGINT, _leave)
    from softrec.cli import main as cli

    cli.preload()
    if loading:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


def _leave(*_: Any) -> None:
    """End at once, because an exception inside half loaded modules would print tracebacks."""
    os.write(sys.stderr.fileno(), b"interrupted; nothing was done yet\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
