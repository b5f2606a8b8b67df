"""Ends a program in the middle, as by Ctrl-C."""

from contextlib import contextmanager

import pytest


@contextmanager
def killed(holder, name, call):
    """Expect that what is done ends in one call of `holder.name`, counted from 1."""
    done, calls = getattr(holder, name), []

    def counted(*arguments, **named):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return done(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holder, name, counted)
        with pytest.raises(KeyboardInterrupt):
            yield
