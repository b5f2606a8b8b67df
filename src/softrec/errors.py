"""The errors a user can mend. Each says what was expected, what came, and what to do about it."""

from __future__ import annotations


class SoftrecError(Exception):
    """Base of every error that is the input's fault, not the program's.

    The command line prints its text in one line and exits with 2; `--debug` shows the traceback.
    """


class DataError(SoftrecError):
    """A log, a split or a data set cannot be used as it is."""


class RecipeError(SoftrecError):
    """A recipe or an option asks for something that does not exist or does not fit."""


class RunError(SoftrecError):
    """A run folder is missing, incomplete, or belongs to other data."""


class TrainingError(SoftrecError):
    """Training cannot go on, for instance because the loss is no longer a number."""


def shown(values: object, limit: int = 3) -> str:
    """Return the first few of `values` for a message: `'a', 'b', 'c' (and 7 more)`."""
    listed = list(values)  # pyright: ignore[reportArgumentType]
    text = ", ".join(repr(value) for value in listed[:limit])
    return text if len(listed) <= limit else f"{text} (and {len(listed) - limit:,} more)"
