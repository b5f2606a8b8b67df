import re
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import FILE, Book, read, refused, warned, written
from softrec.errors import LONGEST, DataError

HERE = Path(__file__).parent


def test_each_message_is_of_a_test_that_exists_and_is_one_line():
    for key, text in read().items():
        file, _, test = key.partition("::")
        name = re.split(r"[\[ ]", test)[0]
        assert re.search(rf"^def {name}\(", (HERE / file).read_text(), re.MULTILINE), key
        assert len(text) <= LONGEST + 40, key
    assert written(read()) == FILE.read_text()


def test_other_words_are_noticed():
    with pytest.raises(AssertionError), refused(DataError):
        raise DataError("words that nobody kept")
    with pytest.raises(AssertionError), warned(UserWarning):
        warnings.warn("words that nobody kept", stacklevel=1)


def test_another_kind_is_noticed():
    with pytest.raises(TypeError), refused(DataError):
        raise TypeError


@given(st.integers())
def test_of_generated_examples_the_kind_alone_is_held(number):
    with refused(DataError):
        raise DataError(f"no words are kept of {number}")


def test_messages_of_other_files_stay_when_some_are_written(tmp_path):
    book = Book()
    book.kept = {"a.py::test_one": "x: 1", "a.py::test_gone": "x: 2", "b.py::test[c d]": "x: 3"}
    book.found = {"a.py::test_one": "y: 4"}
    book.save(tmp_path / "kept.txt")
    assert read(tmp_path / "kept.txt") == {"a.py::test_one": "y: 4", "b.py::test[c d]": "x: 3"}
