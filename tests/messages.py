"""What errors say, on one page: tests name the kind of an error, `messages.txt` keeps its words.

A test writes `with refused(DataError):` where others write `pytest.raises(DataError, match=...)`.
The message must be, letter by letter, the one that `messages.txt` keeps for the test; of examples
that hypothesis makes only the kind is held. What libraries and the system say may change with
their versions: there `pytest.raises(KIND)` is enough. `warned` does the same for warnings. Where
words are meant to change,

    python -m pytest --write-messages tests/data/test_splits.py

writes those of the files that were run, and the difference is what a reader of the change reviews.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest

NAMES = r"here are [\w+-]+(, [\w+=-]+){2,}"
FILE = Path(__file__).with_name("messages.txt")


def read(file: Path = FILE) -> dict[str, str]:
    """Return the messages by the test they come up in."""
    lines = file.read_text().splitlines() if file.exists() else []
    return dict(zip(lines[::3], (line.strip() for line in lines[1::3]), strict=True))


def written(messages: dict[str, str]) -> str:
    """Return the text of a file of messages: a test, its message, an empty line."""
    return "".join(f"{test}\n    {text}\n\n" for test, text in sorted(messages.items()))


class Book:
    """What is kept, and what came up."""

    def __init__(self) -> None:
        self.kept = read()
        self.found: dict[str, str] = {}
        self.write = False
        self.folder = Path("nowhere")
        self.said: dict[str, list[str]] = defaultdict(list)

    def key(self, text: str) -> str:
        """Return the name of the test that runs; of its second message with a 2 behind it."""
        test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0].removeprefix("tests/")
        said = self.said[test]
        if text not in said:
            said.append(text)
        place = said.index(text) + 1
        return test if place == 1 else f"{test} {place}"

    def check(self, error: BaseException | Warning) -> None:
        """Hold a message against the one that is kept, or note it."""
        if hypothesis.currently_in_test_context():
            return  # one test, hundreds of messages, and others with another version of it
        folder = rf"{re.escape(str(self.folder))}(/popen-gw\d+)?/[^/\s'\"]+"
        first = (str(error).splitlines() or [""])[0]  # of several lines that torch says
        said = re.sub(r"(127\.0\.0\.1):\d+", r"\1:PORT", re.sub(folder, "FOLDER", first))
        said = re.sub(
            r"([-:])[0-9a-f]{8,}\b", r"\1HASH", said
        )  # of weights, which a new torch may change
        said = re.sub(NAMES, "here are NAMES", said)  # which grow with each new member
        if isinstance(error, AssertionError):  # what a contract measured, to the last digit
            said = re.sub(r"\d+\.\d+(e-?\d+)?", "NUMBER", said)
        text = f"{type(error).__name__}: {said}"
        key = self.key(text)
        self.found[key] = text
        if not self.write:
            assert text == self.kept.get(key), f"other words than messages.txt has for {key}"

    def save(self, file: Path = FILE) -> None:
        """Write what came up in place of all that is kept of the same files of tests."""
        files = {key.partition("::")[0] for key in self.found}
        others = {k: text for k, text in self.kept.items() if k.partition("::")[0] not in files}
        file.write_text(written(others | self.found))


BOOK = Book()


@contextmanager
def refused(kind: type[BaseException]) -> Iterator[pytest.ExceptionInfo]:
    """Expect an error of this kind, with the words that `messages.txt` keeps for the test."""
    with pytest.raises(kind) as caught:
        yield caught
    BOOK.check(caught.value)


@contextmanager
def warned(kind: type[Warning]) -> Iterator[pytest.WarningsRecorder]:
    """Expect a warning of this kind, with the words that `messages.txt` keeps for the test."""
    with pytest.warns(kind) as caught:
        yield caught
    BOOK.check(next(w.message for w in caught if issubclass(w.category, kind)))
