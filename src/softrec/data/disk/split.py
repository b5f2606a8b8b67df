"""Splits of a log in files: the same events in the same parts as those of a log in memory.

A user's events are in order, and each part of them is one stretch, so that everything before a part
is in order, too. It is written once, like the parts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from softrec.data.aside import SetAside, check_fractions, empty_part, no_times, short_problem
from softrec.data.cold import Choice, cold_problem, lost_part
from softrec.data.disk.order_statistics import quantiles_higher
from softrec.data.disk.rows import Rows, Writer, read_ids, write_ids
from softrec.data.interactions import Interactions
from softrec.data.noise import Contamination
from softrec.data.splits import (
    NO_PART,
    SHORT,
    TEST,
    TRAIN,
    VALID,
    Split,
)
from softrec.errors import DataError
from softrec.files import read_facts, write_facts

FACTS = "split.json"
PLACES = {"train": (TRAIN,), "valid": (VALID,), "test": (TEST,), "before": (TRAIN, VALID),
          "whole": (TRAIN, VALID, TEST)}  # fmt: skip
"""What is written, and the parts that it has."""
NAMES = {"train": "training", "valid": "validation", "test": "test"}

Roles = Callable[[slice, slice], np.ndarray]
"""From users and their events to the part of each of these, (e,) uint8."""


@dataclass(frozen=True)
class StoredSplit(Split):
    """A split of a log in files.

    Attributes:
        history: the training and validation part as one log.
        everything: all parts as one log.
        facts: all that its files depend on, by which they are found again.
        folder: of the files.
    """

    history: Interactions | None = None
    everything: Interactions | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def __reduce__(self) -> Any:
        """Pickle where the files are, and not what they hold."""
        asked = {"relevant": self.relevant, "seed": self.seed}
        return _opened, (self.folder, self.facts, asked)

    def before(self, part: Literal["valid", "test"]) -> Interactions:
        """Return the events before `part` as one log."""
        assert self.history is not None
        return self.train if part == "valid" else self.history

    def whole(self) -> Interactions:
        """Return all parts as one log, in the order of events."""
        assert self.everything is not None
        return self.everything

    def cold_start(self, first_items: int) -> Split:
        """Refuse: it would be a log of its own."""
        raise in_memory_only("data.first_items")

    def shuffled(self, seed: int = 0) -> Split:
        """Refuse: it would be a log of its own."""
        raise in_memory_only("data.order: shuffled")

    def contaminated(self, share: float, how: Contamination = "replace") -> Split:
        """Refuse false positives, which would make a log of their own."""
        if share:
            raise in_memory_only("data.false_positives")
        return self


def in_memory_only(what: str) -> DataError:
    """Return the error about what a log in files cannot have."""
    return DataError(
        f"{what} is for a log in memory, and this one is on disk; leave it out, or hold the log in "
        "memory: --set data.on_disk=false"
    )


def last_out(rows: Rows, short: Choice) -> Roles:
    """Return the roles of `softrec.data.splits.leave_last_out`."""

    def roles(users: slice, _: slice) -> np.ndarray:
        ends = rows.offsets[users.start + 1 : users.stop + 1] - rows.offsets[users.start]
        lengths = np.diff(ends, prepend=0)
        role = np.full(int(ends[-1]) if len(ends) else 0, TRAIN, dtype=np.uint8)
        long = ends[lengths >= SHORT]
        role[long - 1], role[long - 2] = TEST, VALID
        if short == "drop":
            role[np.repeat(lengths < SHORT, lengths)] = NO_PART
        return role

    return roles


def by_moments(rows: Rows, valid: float, test: float) -> Roles:
    """Return the roles of `softrec.data.splits.by_time`.

    Raises:
        DataError: if there are no times, or a part would be empty.
    """
    if "time" not in rows.columns:
        raise no_times()
    check_fractions(valid, test)
    time = rows.columns["time"]
    first, second = quantiles_higher(time, [1 - valid - test, 1 - test])

    def roles(_: slice, some: slice) -> np.ndarray:
        return (time[some] >= first) + (time[some] >= second).astype(np.uint8)

    return roles


def write_split(
    log: Path, out: Path, name: str, roles: Roles, short: Choice | None, cold: Choice
) -> None:
    """Write the parts of a log to a folder.

    Args:
        log: the folder of the log.
        out: the folder.
        name: of the split.
        roles: the part of each event.
        short: what to do with users with fewer than 3 events; None if the split does not care.
        cold: what to do with items without a training event.

    Raises:
        DataError: if a part is empty, or there is what is not to be.
    """
    rows = Rows.read(log)
    users, items = read_ids(log)
    counts = np.zeros((4, len(items)), dtype=np.int64)
    for who, some in rows.blocks():
        role = roles(who, some)
        places = role.astype(np.int64) * len(items) + rows.columns["item"][some]
        counts += np.bincount(places, minlength=counts.size).reshape(counts.shape)
    lengths = np.diff(rows.offsets)
    few = np.flatnonzero((lengths > 0) & (lengths < SHORT))
    problems = [short_problem(users, few, name)] if len(few) and short == "error" else []
    for part, role in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        if not counts[role].any():
            problems.append(empty_part(NAMES[part], name, len(rows), rows.n_users))
            raise DataError("; and ".join(problems))
    aside = SetAside()
    if short is not None:
        aside = SetAside(short_users=len(few), short="drop" if short == "drop" else "keep")
    unseen = counts[TRAIN] == 0
    lost = np.flatnonzero(unseen & (counts[VALID] + counts[TEST] > 0))
    if len(lost) and cold == "error":
        problems.append(cold_problem(lost, items))
    if problems:
        raise DataError("; and ".join(problems))
    facts = asdict(aside)
    if len(lost):
        cold_events = int(counts[[VALID, TEST]][:, lost].sum())
        facts |= {"cold_items": len(lost), "cold_events": cold_events, "cold": cold}
        for part, role in (("valid", VALID), ("test", TEST)) if cold == "drop" else ():
            if not counts[role][~unseen].any():
                raise lost_part(NAMES[part])
    out.mkdir(parents=True, exist_ok=True)
    write_ids(out, users, items)
    _write_parts(rows, roles, unseen if cold == "drop" else np.zeros_like(unseen), out)
    write_facts(out / FACTS, {"name": name, "aside": facts})


def _write_parts(rows: Rows, roles: Roles, dropped: np.ndarray, out: Path) -> None:
    """Write all that `PLACES` names; events of dropped items beyond training are in no part."""
    sizes = rows.n_users, len(rows.item_counts)
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(Writer(out / name, rows.columns, *sizes)) for name in PLACES
        }
        for who, some in rows.blocks():
            role = roles(who, some)
            columns = {kind: values[some] for kind, values in rows.columns.items()}
            role[(role > TRAIN) & dropped[columns["item"]]] = NO_PART
            for name, has in PLACES.items():
                left = np.isin(role, has)
                writers[name].add({kind: values[left] for kind, values in columns.items()})


def read_split(folder: Path, about: dict[str, Any]) -> StoredSplit:
    """Return the split that `write_split` wrote.

    Args:
        folder: of the split.
        about: all that its files depend on.
    """
    facts: dict[str, Any] = read_facts(folder / FACTS)
    ids = read_ids(folder)
    parts = {name: Rows.read(folder / name).log(*ids, about.get("times")) for name in PLACES}
    return StoredSplit(
        parts["train"], parts["valid"], parts["test"], facts["name"], SetAside(**facts["aside"]),
        history=parts["before"], everything=parts["whole"], facts=about, folder=folder,
    )  # fmt: skip


def _opened(folder: Path, about: dict[str, Any], asked: dict[str, Any]) -> StoredSplit:
    return replace(read_split(folder, about), **asked)
