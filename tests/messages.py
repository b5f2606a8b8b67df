"""What errors say, on one page: tests name the kind of an error, `messages.txt` keeps its words.

A test writes `with refused(DataError):` where others write `pytest.raises(DataError, match=...)`.
The message must be, letter by letter, the one that `messages.txt` keeps for the test. Where words
are meant to change,

    python -m pytest --write-messages tests/data/test_splits.py

writes those of the files that were run, and the difference is what a reader of the change reviews.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

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
        self.times: Counter[str] = Counter()

    def key(self) -> str:
        """Return the name of the test that runs; of its second message with a 2 behind it."""
        test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0].removeprefix("tests/")
        self.times[test] += 1
        return test if self.times[test] == 1 else f"{test} {self.times[test]}"

    def check(self, error: BaseException) -> None:
        """Hold a message against the one that is kept, or note it."""
        key = self.key()
        folder = rf"{re.escape(str(self.folder))}(/popen-gw\d+)?/[^/\s'\"]+"
        said = re.sub(r"(127\.0\.0\.1):\d+", r"\1:PORT", re.sub(folder, "FOLDER", str(error)))
        said = re.sub(r"-[0-9a-f]{8}\b", "-HASH", said)  # of weights, which a new torch may change
        text = f"{type(error).__name__}: {said}"
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
