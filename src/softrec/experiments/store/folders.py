"""The folder that a command makes: held by one process, marked as ours, replaced in one step.

Work in progress lies in OUT.part, which carries a mark (`softrec.json`); a folder without it is
never touched. OUT gets its name when it is complete. An old OUT that is replaced waits inside
OUT.part until the new one has its name, so that a kill at any point loses neither.
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

from softrec.errors import RecipeError, RunError
from softrec.files import read_facts, write_facts, write_text
from softrec.renamed import current
from softrec.training.alone import alone

UNFINISHED = ".part"
MARK = "softrec.json"
REPLACED = ".replaced"


@dataclass(frozen=True)
class Kind:
    """A kind of folder.

    Attributes:
        name: what it is called.
        asked: the file with what is to be made.
        result: the file that a finished one has.
        fields: of the result, that distinguish it from a file of somebody else.
        other: how an unfinished one of something else is called.
        current: what was asked, in the present names of its fields.
    """

    name: str
    asked: str
    result: str
    fields: frozenset[str]
    other: str
    current: Callable[[str], str]


def _current_recipe(text: str) -> str:
    return yaml.safe_dump(current(yaml.safe_load(text), warn=False), sort_keys=False)


def _current_recipes(text: str) -> str:
    return json.dumps(current(json.loads(text), warn=False), indent=1)


RUN = Kind("run", "recipe.yaml", "run.json", frozenset({"format", "recipe"}),
           "an unfinished run of another recipe", _current_recipe)  # fmt: skip
COMPARISON = Kind("comparison", "comparison.json", "results.json",
                  frozenset({"variants", "baseline"}),
                  "an unfinished comparison of other recipes", _current_recipes)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """An output folder that this process holds; see `reserved`."""

    out: Path
    kind: Kind

    @property
    def part(self) -> Path:
        """Return the folder of the work in progress."""
        return unfinished(self.out)

    def check_free(self, asked: str, *, overwrite: bool) -> None:
        """Refuse to lose a finished folder, the progress of something else, or what is not ours.

        Raises:
            RunError: with the remedy.
        """
        if self.out.exists() and not overwrite:
            raise RunError(
                f"{self.out} exists already; choose another --out, or replace it with --overwrite"
            )
        if self.out.exists() and not is_ours(self.out, self.kind):
            raise RunError(
                f"{self.out} is not a {self.kind.name}, and --overwrite replaces only a "
                f"{self.kind.name}; choose another --out, or delete it yourself"
            )
        if not overwrite and self._begun() not in (None, asked):
            raise RunError(
                f"{self.part} contains {self.kind.other}; delete it, choose another --out, or "
                "remove it with --overwrite"
            )

    def begin(self, asked: str, data: Mapping[str, Any], *, overwrite: bool) -> Path:
        """Return the folder to work in: made now, or one that was begun for the same.

        Args:
            asked: what is to be made, as text.
            data: facts about the data it is made from.
            overwrite: drop what was begun for something else.

        Raises:
            RunError: if something else was begun, or the folder cannot be made.
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
        """Give the work in progress its name, in the place of what was there before."""
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
        """Return what the work in progress was begun for, if there is any."""
        asked = self.part / self.kind.asked
        if not asked.exists():
            return None
        text = asked.read_text(encoding="utf-8")
        try:
            return self.kind.current(text)
        except (ValueError, yaml.YAMLError, RecipeError):  # not what we wrote
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
        """Put right what a kill in `finish` left, and refuse a folder that is not ours."""
        if self.part.is_symlink() or (self.part.exists() and not is_marked(self.part, self.kind)):
            raise RunError(
                f"{self.part} is the folder for the work in progress, but the existing one was "
                "not made by softrec; move it away, or choose another --out"
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
    """Hold an output folder: no other process, and no other thread of this one, makes it.

    The lock is the system's and goes with the process, however it ends.

    Args:
        out: the folder to be made.
        kind: what is to be made.
        inputs: files and folders that are read; the output must not touch them.

    Raises:
        RunError: if another process holds it, if it names no folder that could be made, or if a
            folder that is not ours stands in the way.
        TrainingError: if another thread of this process trains.
    """
    place = Place(checked_output(out, inputs), kind)
    with alone(), _parents(place), held(place.out):
        place.heal()
        yield place


@contextmanager
def held(out: Path, *, wait: bool = False, suffix: str = ".softrec.lock") -> Iterator[None]:
    """A context in which no other process holds `out`; its folder must exist.

    Args:
        out: what is held; the lock lies beside it, hidden, and is removed.
        wait: for another process to let go, instead of an error.
        suffix: of the lock's name.
    """
    path = out.with_name(f".{out.name}{suffix}")
    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"another process is writing {out}; wait until it has finished, or choose another --out"
        ) from error
    except OSError as error:
        raise _cannot_make(unfinished(out), error) from error
    try:
        yield
    finally:
        with suppress(OSError):  # where open files cannot be removed, an empty one stays
            path.unlink()
        lock.release()


def checked_output(out: str | Path, inputs: Iterable[str | Path] = ()) -> Path:
    """Return the path of an output folder, after a check that it can be one.

    Raises:
        RunError: if it is empty, `~`, a file, a symbolic link, a name of our own, or touches one
            of `inputs`.
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
    """Refuse an output that is an input, lies inside one, or holds one.

    Raises:
        RunError: with both names.
    """
    if not Path(given).exists():  # the name of a data set, or told elsewhere
        return
    own, read = out.resolve(), Path(given).resolve()
    how = "is" if own == read else "lies in" if read in own.parents else "holds"
    if own == read or read in own.parents or own in read.parents:
        raise RunError(f"the output {out} {how} {given}, which is read; choose another place")


def unfinished(out: Path) -> Path:
    """Return the folder of the work in progress."""
    return out.with_name(out.name + UNFINISHED)


def is_ours(folder: Path, kind: Kind) -> bool:
    """Tell whether a finished folder was made by softrec: it is marked, or has such a result."""
    if not folder.is_dir():
        return False
    try:
        facts = json.loads((folder / kind.result).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        facts = {}
    made = isinstance(facts, dict) and kind.fields <= facts.keys()
    return made or ((folder / kind.result).exists() and is_marked(folder, kind))


def is_marked(folder: Path, kind: Kind) -> bool:
    """Tell whether a folder carries our mark, or holds nothing but an unfinished one."""
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
    """Remove a folder of ours; its mark goes last, so that a kill leaves it ours."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARK:
            path.unlink()
    (folder / MARK).unlink(missing_ok=True)
    folder.rmdir()


IN_WORDS = {
    "fingerprint": "other items",
    "events_fingerprint": "other events, or another order, or other times",
    "set_aside": "other users and items set aside",
    "protocol": "other relevant items or another order",
}


def difference(own: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """Return in words what facts about data differ, of those that both have."""
    different = [name for name in given if name in own and own[name] != given[name]]
    said = [IN_WORDS.get(n, f"{n} {own[n]} and now {given[n]}") for n in different]
    return "; ".join(said) or None


@contextmanager
def _parents(place: Place) -> Iterator[None]:
    """Make the folders above an output, and remove them again if nothing comes of it."""
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


def _cannot_make(part: Path, error: OSError) -> RunError:
    return RunError(f"cannot make {part}: {error.strerror}; choose another --out")
