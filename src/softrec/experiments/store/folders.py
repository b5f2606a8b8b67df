"""The output folder of a command: locked by one process, with a marker file, replaced in one step.

Work in progress is in OUT.part, which has a marker file (`softrec.json`). A folder without the
marker is never changed. OUT.part is renamed to OUT when it is complete. An old OUT that is replaced
is first moved into OUT.part, so that a kill at any moment loses neither.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from softrec.errors import RecipeError, RunError, one_line
from softrec.experiments.store.changes import changes, changes_of_rows, difference
from softrec.files import read_facts, write_facts, write_text
from softrec.renamed import current
from softrec.training.alone import alone

UNFINISHED = ".part"
MARK = "softrec.json"
REPLACED = ".replaced"
LOCK = ".softrec.lock"  # the end of the hidden name of a lock file


@dataclass(frozen=True)
class Kind:
    """A kind of folder.

    Attributes:
        name: of the kind, for messages.
        command: that makes it, for messages.
        asked: the name of the file with the recipes.
        result: the name of the file that only a finished folder has.
        fields: of the result; they distinguish it from a file of another program.
        other: words for an unfinished folder of other recipes, for messages.
        current: replaces former names in the text of the recipes.
        option: of the command that names the folder, for messages.
    """

    name: str
    command: str
    asked: str
    result: str
    fields: frozenset[str]
    other: str
    current: Callable[[str], str]
    option: str = "--out"


def _current_recipe(text: str) -> str:
    return yaml.safe_dump(current(yaml.safe_load(text), warn=False), sort_keys=False)


def _current_recipes(text: str) -> str:
    return json.dumps(current(json.loads(text), warn=False), indent=1)


RUN = Kind("run", "fit", "recipe.yaml", "run.json", frozenset({"format", "recipe"}),
           "an unfinished run of another recipe", _current_recipe)  # fmt: skip
COMPARISON = Kind("comparison", "compare", "comparison.json", "results.json",
                  frozenset({"variants", "baseline"}),
                  "an unfinished comparison of other recipes", _current_recipes)  # fmt: skip
STUDY = Kind("study", "tune", "search.json", "study.json", frozenset({"trials", "space"}),
             "an unfinished study of another search", _current_recipes)  # fmt: skip
EXPORT = Kind("model export", "export", "recipe.yaml", "manifest.json",
              frozenset({"format", "tower"}),
              "an unfinished export of another run", _current_recipe, option="--to")  # fmt: skip


KINDS = RUN, COMPARISON, STUDY, EXPORT


@dataclass(frozen=True)
class Place:
    """An output folder that this process has locked; see `reserved`."""

    out: Path
    kind: Kind

    @property
    def part(self) -> Path:
        """Return the folder of the work in progress."""
        return unfinished(self.out)

    def check_free(self, asked: str, *, overwrite: bool) -> None:
        """Refuse to replace a finished folder, unfinished work of other recipes, or other files.

        Raises:
            RunError: if something is there that would be lost.
        """
        if self.out.exists() and not overwrite:
            raise RunError(
                f"{self.out} exists already; choose another {self.kind.option}, or replace it with "
                "--overwrite"
            )
        if self.out.exists() and not is_ours(self.out, self.kind):
            raise RunError(
                f"{self.out} is not a {self.kind.name}, and --overwrite replaces only a "
                f"{self.kind.name}; choose another {self.kind.option}, or delete it yourself"
            )
        begun = self._begun()
        if not overwrite and begun not in (None, asked):
            raise RunError(
                f"{self.part} contains {self.kind.other}{_told(begun, asked)}; delete it, choose "
                f"another {self.kind.option}, or remove it with --overwrite"
            )

    def begin(self, asked: str, data: Mapping[str, Any], *, overwrite: bool) -> Path:
        """Return the folder to work in: a new one, or an unfinished one of the same recipes.

        Args:
            asked: the recipes, as text.
            data: facts about the data.
            overwrite: remove unfinished work of other recipes or data.

        Raises:
            RunError: if there is unfinished work of other data, or the folder cannot be made.
        """
        begun = self._begun()
        other = None
        if begun is not None:
            kept = read_facts(self.part / MARK)["data"]
            other = difference(kept, json.loads(json.dumps(dict(data))))
            if other is not None and not overwrite:
                raise RunError(
                    f"{self.part} was begun on other data ({other}); give the same log again, "
                    "delete the folder to start again, or remove it with --overwrite"
                )
        if other is not None or begun not in (None, asked):
            remove(self.part)
            begun = None
        if begun is None:
            self._make(asked, data)
        return self.part

    def finish(self) -> None:
        """Rename the work in progress to its final name, and remove the folder that it replaces."""
        if self.out.exists():
            self.out.rename(self.part / REPLACED)
        self.part.rename(self.out)
        if (self.out / REPLACED).exists():
            shutil.rmtree(self.out / REPLACED)

    def drop(self) -> None:
        """Remove the work in progress."""
        if self.part.exists():
            remove(self.part)

    def _begun(self) -> str | None:
        """Return the recipes of the work in progress, if there is any."""
        asked = self.part / self.kind.asked
        if not asked.exists():
            return None
        text = asked.read_text(encoding="utf-8")
        try:
            return self.kind.current(text)
        except (ValueError, yaml.YAMLError, RecipeError):  # not a file that softrec wrote
            return text

    def _make(self, asked: str, data: Mapping[str, Any]) -> None:
        try:
            self.part.mkdir(exist_ok=True)
            facts = {"made_by": "softrec", "version": version("softrec"), "kind": self.kind.name}
            write_facts(self.part / MARK, {**facts, "data": dict(data)})
            write_text(self.part / self.kind.asked, asked)
        except OSError as error:
            raise _cannot_make(self.part, error) from error

    def heal(self) -> None:
        """Finish what a kill inside `finish` left, and refuse a folder that is not softrec's."""
        if self.part.is_symlink() or (self.part.exists() and not is_marked(self.part, self.kind)):
            raise RunError(
                f"{self.part} is the folder for the work in progress, but the existing one was "
                f"not made by softrec; move it away, or choose another {self.kind.option}"
            )
        if (self.part / REPLACED).exists():
            if self.out.exists():
                shutil.rmtree(self.part / REPLACED)
            else:
                (self.part / REPLACED).rename(self.out)
        if (self.out / REPLACED).exists() and is_marked(self.out, self.kind):
            shutil.rmtree(self.out / REPLACED)


@contextmanager
def reserved(out: str | Path, kind: Kind, inputs: Iterable[str | Path] = ()) -> Iterator[Place]:
    """A context in which an output folder is locked against other processes and threads.

    It is a lock of the operating system, which ends with the process in any case. Of several
    processes that train together the first one has it.

    Args:
        out: the folder to make.
        kind: of the folder.
        inputs: files and folders that are read; the output must not contain or be inside them.

    Raises:
        RunError: if another process has locked it, if the folder cannot be made, or if there is a
            folder in its place that softrec did not make.
        TrainingError: if another thread of this process trains.
    """
    from softrec.parallel import rank  # with torch, which is not needed to look at folders

    place = Place(checked_output(out, inputs), kind)
    if rank():
        yield place
        return
    with alone(), _parents(place), held(place.out):
        place.heal()
        yield place


class HeldError(RunError):
    """Another process has locked a folder."""


def lock_of(out: Path, suffix: str = LOCK) -> Path:
    """Return the file that is there while a process has locked `out`."""
    return out.with_name(f".{out.name}{suffix}")


@contextmanager
def held(out: Path, *, wait: bool = False, suffix: str = LOCK) -> Iterator[None]:
    """A context in which this process has locked `out`; the parent folder must exist.

    Args:
        out: the path to lock; the lock is a hidden file next to it, which is removed afterwards.
        wait: wait for another process to release the lock, instead of an error.
        suffix: of the name of the lock file.
    """
    path = lock_of(out, suffix)
    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout as error:
        raise HeldError(
            f"another process is writing {out}; wait until it has finished, or choose another --out"
        ) from error
    except OSError as error:
        raise _cannot_make(unfinished(out), error) from error
    try:
        yield
    finally:
        with suppress(OSError):  # if open files cannot be removed, an empty file is left
            path.unlink()
        lock.release()


def checked_output(out: str | Path, inputs: Iterable[str | Path] = ()) -> Path:
    """Return the path of an output folder, after checking that it can be one.

    Raises:
        RunError: if it is empty, `~`, a file, a symbolic link or a name that softrec uses itself,
            or if it is, contains or is inside one of `inputs`.
    """
    text, out = str(out), Path(out)
    if not text.strip() or "\0" in text or out.name in ("", ".."):
        raise RunError(f"{text!r} does not name a new folder; give --out a name such as runs/first")
    if out.parts[0].startswith("~"):
        raise RunError(
            f"the shell did not replace ~ in {text}; put a space before it, as in --out {text}, "
            "or write out the name of the folder"
        )
    if out.name.endswith(UNFINISHED):
        raise RunError(
            f"{out} has an ending that softrec uses for work in progress; choose another --out"
        )
    if out.is_symlink():
        raise RunError(f"{out} is a symbolic link; give the folder itself, or another --out")
    if out.is_file():
        raise RunError(f"{out} is a file; choose another --out")
    for given in inputs:
        check_apart(out, given)
        check_apart(unfinished(out), given)
    return out


def check_apart(out: Path, given: str | Path) -> None:
    """Refuse an output that is an input, is inside one, or contains one.

    Raises:
        RunError: if it does.
    """
    if not Path(given).exists():  # the name of a data set, or an error that is raised elsewhere
        return
    own, read = out.resolve(), Path(given).resolve()
    how = "is" if own == read else "lies in" if read in own.parents else "holds"
    if own == read or read in own.parents or own in read.parents:
        raise RunError(f"the output {out} {how} {given}, which is read; choose another place")


def unfinished(out: Path) -> Path:
    """Return the folder of the work in progress."""
    return out.with_name(out.name + UNFINISHED)


def none_finished(out: Path, kind: Kind, *, or_export: bool = False) -> RunError:
    """Return the error about a folder without a result; it names unfinished work.

    Args:
        out: the folder.
        kind: that was expected.
        or_export: whether an export would do, too.
    """
    begun = unfinished(out)
    again = (
        f"; an unfinished {kind.name} is in {begun}: run the same `softrec {kind.command}` again "
        "to continue it"
    )
    other = next((each for each in KINDS if is_ours(out, each)), None)
    hint = again if begun.exists() else f"; it is a {other.name}" if other else ""
    place = one_line(str(out), 300)
    nor = f" and no export (no {EXPORT.result})" if or_export else ""
    return RunError(f"there is no finished {kind.name} in {place} (no {kind.result}){nor}{hint}")


def is_ours(folder: Path, kind: Kind) -> bool:
    """Return whether softrec made a finished folder: it has the marker or such a result."""
    if not folder.is_dir():
        return False
    try:
        facts = json.loads((folder / kind.result).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        facts = {}
    made = isinstance(facts, dict) and kind.fields <= facts.keys()
    return made or ((folder / kind.result).exists() and is_marked(folder, kind))


def is_marked(folder: Path, kind: Kind) -> bool:
    """Return whether a folder has the marker, or contains only an unfinished marker."""
    if not folder.is_dir():
        return False
    try:
        facts = read_facts(folder / MARK)
    except FileNotFoundError:
        return all(path.name.startswith(f"{MARK}.") for path in folder.iterdir())
    except (OSError, ValueError):
        return False
    return facts.get("made_by") == "softrec" and facts.get("kind") == kind.name


def remove(folder: Path) -> None:
    """Remove a folder of softrec, the marker last, so that after a kill it is still marked."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARK:
            path.unlink()
    (folder / MARK).unlink(missing_ok=True)
    folder.rmdir()


@contextmanager
def _parents(place: Place) -> Iterator[None]:
    """Make the folders above an output, and remove them again after an error."""
    above = place.out.absolute().parents
    missing = [folder for folder in above if not folder.exists()]
    try:
        place.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_make(place.part, error) from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty
            for folder in missing:
                folder.rmdir()
        raise


def _told(begun: str, asked: str) -> str:
    """Return what differs between the recipes of unfinished work and those asked for."""
    load = yaml.safe_load if asked[:1] not in ("[", "{") else json.loads
    told_of = changes_of_rows if asked[:1] == "[" else changes
    try:
        told = told_of(load(begun), load(asked))
    except (ValueError, LookupError, TypeError, yaml.YAMLError):  # not a file that softrec wrote
        return ""
    return f" ({told})" if told else ""


def _cannot_make(part: Path, error: OSError) -> RunError:
    return RunError(f"cannot make {part}: {error.strerror}; choose another --out")
