"""run.json: the facts of a run, read and checked, with the other files of its folder."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from softrec.errors import RunError
from softrec.experiments.store.folders import RUN
from softrec.experiments.store.integrity import changed
from softrec.files import OWN, read_facts

FORMAT = 2
UNSEALED = 1  # the format before run.json had hashes


class ChangedRunError(RunError):
    """A file of a run folder was changed after it was written."""


class UncheckedRunWarning(UserWarning):
    """A run folder is used without checking its files."""


REMEDY = "train it again, or use it as it is with --trust (in Python open_run(..., trust=True))"


def facts_of(path: Path, *, trust: bool) -> dict[str, Any]:
    """Return the content of run.json.

    Args:
        path: of the file.
        trust: do not check it.

    Raises:
        ChangedRunError: if it is damaged, was changed, or has another format.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except PermissionError as error:
        raise unreadable(path) from error
    except (ValueError, OSError) as error:
        raise ChangedRunError(f"{path} is damaged ({error}); train it again") from error
    came = facts.get("format") if isinstance(facts, dict) else type(facts).__name__
    if came not in (FORMAT, UNSEALED):
        raise ChangedRunError(
            f"{path} has format {came}, but this softrec reads {FORMAT}; train it again"
        )
    if came == FORMAT and not trust:
        try:
            read_facts(path)
        except ValueError as error:
            raise ChangedRunError(f"{path} was changed: {error}; {REMEDY}") from error
    return {name: value for name, value in facts.items() if name != OWN}


def check_files(folder: Path, facts: dict[str, Any]) -> None:
    """Refuse a run whose files were changed.

    Args:
        folder: of the run.
        facts: the content of its run.json.

    Raises:
        ChangedRunError: if one was.
    """
    if facts["format"] == UNSEALED:
        warnings.warn(
            f"{folder} is from a version of softrec that stored no hashes; its files are used "
            "without a check",
            UncheckedRunWarning,
            stacklevel=3,
        )
        return
    try:
        complaint = changed(folder, facts["files"])
    except PermissionError as error:
        raise unreadable(Path(error.filename)) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ChangedRunError(
            f"{folder / RUN.result} has no list of files; train it again"
        ) from error
    if complaint is not None:
        raise ChangedRunError(f"{complaint}; {REMEDY}")


def unreadable(path: Path) -> RunError:
    """Return the error about a file that may not be read."""
    return RunError(f"you have no permission to read {path}; ask its owner for it")
