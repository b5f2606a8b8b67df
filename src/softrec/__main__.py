"""The entry point of `softrec` and `python -m softrec`."""

from __future__ import annotations

import os
import signal

from softrec.cli.before import leave


def main() -> None:
    """Run the command line; Ctrl-C while modules are loading ends it with one line of text."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)  # else something, such as nohup, has set a handler
    # What torch's C++ part warns of, such as a possibly needless search in `ddp`, is not for users.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from softrec.cli import main as cli

    cli.main()


if __name__ == "__main__":
    main()
