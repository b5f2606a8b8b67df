"""Errors that a user can fix: each says what was expected, what was found, and how to fix it."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 500  # characters of an error
MISTAKES = (RuntimeError, LookupError, ArithmeticError, TypeError, ValueError, AttributeError)
"""What code from outside raises by mistake; it is told in one line, with the name of the code."""


class SoftrecError(Exception):
    """Base of all errors that are caused by the input and not by the program.

    The text is one line of at most 500 characters; of a longer text the middle is left out. The
    command line prints it and exits with code 2; `--debug` shows the traceback.
    """

    def __init__(self, text: object = "") -> None:
        super().__init__(one_line(str(text)))


class DataError(SoftrecError):
    """A log, a split or a data set cannot be used as it is."""


class RecipeError(SoftrecError):
    """A recipe or an option asks for something that does not exist or does not fit.

    Attributes:
        field: the field of the recipe that is wrong, such as "training.lr"; "" if the error is not
            about a single field.
    """

    def __init__(self, text: object = "", field: str = "") -> None:
        super().__init__(text)
        self.field = field


class RulesError(SoftrecError):
    """Business rules of a recommendation cannot be used as they are."""


class RunError(SoftrecError):
    """A run folder is missing, incomplete, or belongs to other data."""


class TrainingError(SoftrecError):
    """Training cannot continue, for instance because there is no such accelerator."""


class DivergedError(TrainingError):
    """The loss or the weights of a training became NaN or infinite."""


def shown(values: object, limit: int = 3, *, of: int | None = None) -> str:
    """Return the first few of `values` for a message: `'a', 'b', 'c' (and 7 more)`.

    Args:
        values: what is shown; of very many, the first ones.
        limit: how many are shown.
        of: how many there are, if `values` are the first ones.
    """
    listed = list(values)  # pyright: ignore[reportArgumentType]
    more = (len(listed) if of is None else of) - len(listed[:limit])
    text = ", ".join(one_line(repr(value), 80) for value in listed[:limit])
    return text if more <= 0 else f"{text} (and {more:,} more)"


def number_of(number: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun, or with noun and verb, as `several` has them.

    Example:
        >>> number_of(1, "user"), number_of(2000, "item is", "items are")
        ('1 user', '2,000 items are')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def one_line(text: str, limit: int = LONGEST) -> str:
    r"""Return `text` as one printable line; the middle of a text longer than `limit` is left out.

    Example:
        >>> one_line("a word\nand another", limit=16)
        'a word ... other'
    """
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    if len(line) <= limit:
        return line
    end = limit // 3  # the end says how to fix the error
    return f"{line[: limit - end - 5]} ... {line[-end:]}"


def no_such(what: str, came: object, there: Iterable[str]) -> str:
    """Return a message: the name is unknown, which name may have been meant, and all names.

    Example:
        >>> no_such("model", "sasrex", ["gru4rec", "sasrec"])
        "no model 'sasrex', did you mean sasrec? There are gru4rec, sasrec"
    """
    known = list(there)
    near = get_close_matches(str(came)[:LONGEST], known, n=1)
    listed = f"There are {', '.join(known)}" if known else "There are none"
    meant = f", did you mean {near[0]}? {listed}" if near else f"; {listed[0].lower()}{listed[1:]}"
    return f"no {what} {one_line(repr(came), 80)}{meant}"


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# Messages of libraries in other languages if the disk is full.
FULL_WORDS = ("No space left on device", "StorageFull", "os error 28", "File too large")


def of_the_system(error: Exception) -> str | None:
    """Return a message for an error of the operating system; None for other errors.

    Args:
        error: an exception that no other code has handled.
    """
    text = " ".join(str(error).split())
    number = error.errno if isinstance(error, OSError) else None
    if number in FULL or any(words in text for words in FULL_WORDS):
        return (
            f"{text}; free some space and run the same command again: it continues where it stopped"
        )
    if not isinstance(error, OSError):
        return None
    name = one_line(str(error.filename), 200)
    where = f"{name}: {error.strerror}" if error.filename else text
    if number in FORBIDDEN:
        return f"{where}; get the permission, or choose another place"
    if number == errno.ENAMETOOLONG:
        return f"{where}; choose a shorter name"
    return f"{where}; --debug shows where the error occurred"
