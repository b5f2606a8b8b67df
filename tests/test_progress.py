"""Lines by `logging`: shown where they are asked for, once, and never in another's way."""

import logging

import pytest

from softrec.progress import LOGGER, telling

BELOW = logging.getLogger("softrec.training.lines")


@pytest.mark.parametrize(
    ("progress", "told"), [(True, "a line\n"), (None, "a line\n"), (False, "")]
)
def test_lines_are_written_unless_told_to_be_quiet(progress, told, capsys):
    """Also beside a bar, which is gone when a log is read afterwards."""
    with telling(progress):
        BELOW.info("a line")
    assert capsys.readouterr() == ("", told)


def test_a_library_says_nothing_unasked(capsys):
    BELOW.info("a line")
    assert capsys.readouterr() == ("", "")


def test_afterwards_all_is_as_it_was_even_after_an_error():
    before = (list(LOGGER.handlers), LOGGER.level, LOGGER.propagate)
    with pytest.raises(KeyboardInterrupt), telling():
        raise KeyboardInterrupt
    assert (LOGGER.handlers, LOGGER.level, LOGGER.propagate) == before


def test_a_root_logger_does_not_write_each_line_again(caplog, capsys):
    with caplog.at_level(logging.INFO), telling():
        BELOW.info("a line")
    assert caplog.messages == []
    assert capsys.readouterr().err == "a line\n"
    with caplog.at_level(logging.INFO):
        BELOW.info("without us")
    assert caplog.messages == ["without us"]


def test_a_handler_of_the_program_is_kept_instead_of_ours(capsys, monkeypatch):
    heard = []

    class Own(logging.Handler):
        def emit(self, record):
            heard.append((record.name, record.getMessage()))

    monkeypatch.setattr(logging.getLogger("softrec"), "handlers", [Own()])
    LOGGER.setLevel(logging.INFO)
    try:
        with telling():
            BELOW.info("%d %%", 3)
    finally:
        LOGGER.setLevel(logging.NOTSET)
    assert heard == [("softrec.training.lines", "3 %")]
    assert capsys.readouterr().err == ""
