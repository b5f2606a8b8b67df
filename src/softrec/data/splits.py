"""Splits of a log into training, validation and test part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from softrec.data.aside import (
    SHORT,
    Leak,
    LeakageWarning,
    SetAside,
    check_fractions,
    empty_part,
    leak_of,
    no_cold_start,
    no_times,
    short_problem,
    warn_of_leaks,
)
from softrec.data.cases import (
    Cases,
    Relevant,
    chosen_events,
    in_random_order,
    log_in_random_order,
    rows_of,
)
from softrec.data.cold import Choice, check_cold
from softrec.data.interactions import Interactions, Sequences
from softrec.data.noise import Contamination, contaminated
from softrec.errors import DataError

__all__ = [
    "Cases",
    "LeakageWarning",
    "Order",
    "Relevant",
    "SetAside",
    "Split",
    "by_time",
    "by_user_ratio",
    "carved",
    "check_cold",
    "given",
    "leave_last_out",
    "rows_of",
]

Order = Literal["log", "shuffled"]
NOISE = ("false_positives", "contamination")
TRAIN, VALID, TEST, NO_PART = range(4)
"""The part of an event: 0, and 1 more from each border on that it is beyond."""


@dataclass(frozen=True)
class Split:
    """The three parts of a log, with the same vocabularies, and the relevant items of two parts.

    Attributes:
        train: the training part.
        valid: the validation part, on which models and epochs are chosen.
        test: the test part.
        name: of the kind of split.
        aside: the users and items that are left out.
        relevant: which events of a user in validation and test are the relevant items.
        order: of the histories; "shuffled" is a control, see `shuffled`.
        seed: of random relevant items, and of a shuffled order.
        context: events that are in the histories of validation and test alone.
        first_items: how many items of a history are known, see `cold_start`; None for all.
        logged: the training part without false positives; None if it has none.
        false_positives: the share of false positives in the training part, see `contaminated`.
        contamination: how they got there.
        judged: the split before held-out events were added to its training part, see `for_refit`.
    """

    train: Interactions
    valid: Interactions
    test: Interactions
    name: str
    aside: SetAside = SetAside()
    relevant: Relevant = "all"
    order: Order = "log"
    seed: int = 0
    context: Interactions | None = None
    first_items: int | None = None
    logged: Interactions | None = None
    false_positives: float = 0.0
    contamination: Contamination = "replace"
    judged: Split | None = None

    @property
    def clean(self) -> Interactions:
        """Return the training part as it was logged, without false positives."""
        return self.train if self.logged is None else self.logged

    def protocol(self) -> dict[str, Any]:
        """Return the settings of what is asked about, if they are not the defaults."""
        own = {n: getattr(self, n) for n in ("relevant", "order", "first_items", *NOISE)}
        changed = {name: value for name, value in own.items() if value != getattr(Split, name)}
        return {**changed, "seed": self.seed} if changed else {}

    def under(self, protocol: Mapping[str, Any]) -> Split:
        """Return the split with the settings of `protocol`, which were applied to its parts."""
        asked = {n: value for n, value in protocol.items() if n not in NOISE}
        share, how = (protocol.get(name, getattr(Split, name)) for name in NOISE)
        return replace(self, **asked).contaminated(share, how)

    def notes(self) -> list[str]:
        """Return a sentence for each setting in `protocol`."""
        lines = []
        if self.relevant != "all":
            seed = f" (seed {self.seed})" if self.relevant == "random" else ""
            lines.append(
                "of each user's events in validation and in test one is asked about, the "
                f"{self.relevant} one{seed}"
            )
        if self.order == "shuffled":
            lines.append(
                "a control, no result: the histories of training and evaluation are in random "
                f"order (seed {self.seed})"
            )
        if self.first_items is not None:
            lines.append(
                f"a cold start: of each user the first {self.first_items} training items are known"
            )
        if self.false_positives:
            place = "in the place of" if self.contamination == "replace" else "added to"
            lines.append(
                f"false positives: a random item {place} {self.false_positives:.3g} of each user's "
                f"training events (seed {self.seed}); validation and test are as logged"
            )
        return lines

    def cold_start(self, first_items: int) -> Split:
        """Return a split in which only the first training items of each user are known.

        They are trained on, and are the whole history of validation and test, whose relevant items
        stay the same.

        Raises:
            DataError: if histories have events that no user is trained on.

        Source: Cheng et al., SIGIR 2021, Table 3.
        """
        if self.context is not None:
            raise no_cold_start(self.name)
        starts = self.train.sequences.offsets[:-1][self.train.ordered["user"].to_numpy()]
        early = pl.Series(np.arange(len(self.train)) - starts < first_items)
        train = replace(self.train, frame=self.train.ordered.filter(early))
        return replace(self, train=train, first_items=first_items)

    def shuffled(self, seed: int = 0) -> Split:
        """Return a control in which all histories, of training and evaluation, are shuffled.

        The labels are the same: each user's last training item, and the relevant items of
        validation and test. A model that is as good on the control does not use the order.
        """
        train = log_in_random_order(self.train, seed)
        return replace(self, train=train, order="shuffled", seed=seed)

    def contaminated(self, share: float, how: Contamination = "replace") -> Split:
        """Return a split with false positives in the training part, and in nothing else.

        Histories and relevant items of validation and test stay the same, so that the same is asked
        at every share. The other changes of the training part come before this one.
        """
        clean = self.clean
        if (share, how) == (self.false_positives, self.contamination):
            return self
        if not share:
            return replace(
                self, train=clean, logged=None, false_positives=0.0, contamination="replace"
            )
        train = contaminated(clean, share, how, self.seed)
        return replace(self, train=train, logged=clean, false_positives=share, contamination=how)

    @property
    def parts(self) -> dict[str, Interactions]:
        """Return all parts of the log by name, the training part first, without false positives."""
        found = {"train": self.clean, "valid": self.valid, "test": self.test}
        return found if self.context is None else {**found, "context": self.context}

    def whole(self) -> Interactions:
        """Return all parts as one log, the training part first."""
        frames = [part.frame for part in self.parts.values()]
        return replace(self.train, frame=pl.concat(frames))

    def known(self) -> Sequences:
        """Return all items of each user in any part, (U rows), with repetitions."""
        return self.whole().sequences

    def untrained_users(self) -> int:
        """Return how many users of the test cases have validation events but no training event."""
        train, valid, test = (part.user_counts > 0 for part in (self.train, self.valid, self.test))
        return int((~train & valid & test).sum())

    def leak(self) -> Leak | None:
        """Return how much the split leaks; None if it does not, or if there are no times."""
        return leak_of(self.clean, self.valid, self.test, self.name)

    def new_users(self) -> int:
        """Return how many users have test events but no earlier event: they have no case."""
        known, tested = self.before("test").user_counts > 0, self.test.user_counts > 0
        return int((~known & tested).sum())

    def asked_users(self, part: Literal["valid", "test"]) -> int:
        """Return how many users have events both before a part and in it."""
        return int(((self.before(part).user_counts > 0) & (self.parts[part].user_counts > 0)).sum())

    def cases(self, part: Literal["valid", "test"]) -> Cases:
        """Return the cases of `part`: histories end where the part begins.

        A history for the test part includes the validation part. Users without a history or
        without an event in the part are left out. An item that occurs twice for a user in the part
        is one relevant item. If only one event of each user is `relevant`, the other events of the
        part are neither relevant nor in the history.
        """
        before = self.before(part).sequences
        after = self.parts[part].sequences
        user = np.flatnonzero((before.lengths > 0) & (after.lengths > 0))
        if not len(user):
            instead = "give other events to judge, with --newest-by last or a larger --newest"
            raise DataError(
                f"no user has both a history and an event in the {part} part of the {self.name} "
                "split, so there is nothing to evaluate; "
                + (instead if self.name == "newest" else "choose another split")
            )
        history = rows_of(before, user)
        if self.order == "shuffled":
            history = in_random_order(history, self.seed)
        return Cases(user, history, chosen_events(after, user, self.relevant, self.seed))

    def before(self, part: Literal["valid", "test"]) -> Interactions:
        """Return the events before `part` as one log: the histories of its cases."""
        cut = part == "valid" or self.first_items is not None
        known = [self.clean] if cut else [self.clean, self.valid]
        known += [] if self.context is None else [self.context]
        return replace(self.train, frame=pl.concat([log.frame for log in known]))

    def held_out(self, part: Literal["valid", "test"]) -> Sequences:
        """Return the items of each user in `part` and in later parts, (U rows)."""
        frames = [self.valid.frame, self.test.frame] if part == "valid" else [self.test.frame]
        return replace(self.train, frame=pl.concat(frames)).sequences


def leave_last_out(log: Interactions, *, short: Choice = "keep", cold: Choice = "drop") -> Split:
    """Split each user: the last event for test, the one before for validation, the rest to train.

    Warns if times show that training events of some users come after test events of others. Use
    `by_time` if that matters.

    Args:
        log: the whole log.
        short: what to do with users with fewer than 3 events: "keep" them in the training part,
            "drop" them, or "error".
        cold: what to do with items without a training event: see `check_cold`.
    """
    counts = log.user_counts
    ends = np.cumsum(counts)[counts >= SHORT]
    role = np.full(len(log), TRAIN, dtype=np.uint8)
    role[ends - 1] = TEST
    role[ends - 2] = VALID
    role = _without_short(role, np.repeat(counts < SHORT, counts), short)
    return _split(log, log.ordered, role, "leave-last-out", cold, short)


def by_time(
    log: Interactions, *, valid: float = 0.1, test: float = 0.1, cold: Choice = "drop"
) -> Split:
    """Split the whole log at two moments, so that no training event is later than a test event.

    Args:
        log: a log with times.
        valid: the fraction of events in the validation part, before the test part.
        test: the fraction of events in the test part, the latest ones.
        cold: what to do with items without a training event: see `check_cold`.
    """
    if not log.has_time:
        raise no_times()
    check_fractions(valid, test)
    time = log.frame["time"].to_numpy()
    moments = np.quantile(time, [1 - valid - test, 1 - test], method="higher")
    role = (time >= moments[0]) + (time >= moments[1]).astype(np.uint8)
    return _split(log, log.frame, role, "time", cold)


def by_user_ratio(
    log: Interactions,
    *,
    valid: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    short: Choice = "keep",
    cold: Choice = "drop",
) -> Split:
    """Hold out random fractions of each user's events for validation and for test.

    Each part has at least one event of each user. The parts keep the order of the log. Warns if
    times show that training events come after test events.

    Args:
        log: the whole log.
        valid: the fraction of each user's events in the validation part.
        test: the fraction of each user's events in the test part.
        seed: of the random choice.
        short: what to do with users with fewer than 3 events: see `leave_last_out`.
        cold: what to do with items without a training event: see `check_cold`.
    """
    check_fractions(valid, test)
    lengths, place = _shuffled_places(log, seed)
    user = log.frame["user"].to_numpy()
    n_test = np.clip(np.floor(lengths * test), 1, np.maximum(1, lengths - 2))
    n_valid = np.clip(np.floor(lengths * valid), 1, np.maximum(1, lengths - 1 - n_test))
    role = (place < (n_test + n_valid)[user]) + (place < n_test[user]).astype(np.uint8)
    role = _without_short(role, (lengths < SHORT)[user], short)
    return _split(log, log.frame, role, "user-ratio", cold, short)


def carved(
    train: Interactions,
    test: Interactions,
    *,
    valid: float = 0.1,
    seed: int = 0,
    cold: Choice = "keep",
) -> Split:
    """Keep a published test part; validate on a random fraction of each user's training events.

    So nothing is chosen on the test part. A user's only training event stays in the training part.
    By default cold items are misses, as in the papers that published the parts.
    """
    if not 0 < valid < 1:
        raise DataError(f"the fraction for validation must lie between 0 and 1, got {valid}")
    lengths, place = _shuffled_places(train, seed)
    count = np.where(lengths > 1, np.maximum(1, np.floor(lengths * valid)), 0)
    held = place < count[train.frame["user"].to_numpy()]
    return given(train.where(~held), train.where(held), test, cold=cold)


def _shuffled_places(log: Interactions, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of events of each user, (U,), and a random place for each event, (E,)."""
    user = log.frame["user"].to_numpy()
    lengths = log.user_counts
    shuffled = np.random.default_rng(seed).permutation(len(user))
    order = shuffled[np.argsort(user[shuffled], kind="stable")]
    place = np.empty(len(user), dtype=np.int64)
    place[order] = np.arange(len(user)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return lengths, place


def given(
    train: Interactions, valid: Interactions, test: Interactions, *, cold: Choice = "drop"
) -> Split:
    """Use three logs with the same vocabularies (see `Interactions.together`) as the parts.

    Warns if times show that training events come after test events.
    """
    warn_of_leaks(train, valid, test, "given", stacklevel=3)
    return check_cold(Split(train, valid, test, "given"), cold)


def _without_short(role: np.ndarray, short_user: np.ndarray, short: Choice) -> np.ndarray:
    """Return the part of each event; events of short users are in training or in no part."""
    role[short_user] = NO_PART if short == "drop" else TRAIN
    return role


def _split(
    log: Interactions,
    frame: pl.DataFrame,
    role: np.ndarray,
    name: str,
    cold: Choice,
    short: Choice | None = None,
) -> Split:
    """Return the split given by `role`; all problems of the log are reported at once."""
    few = np.flatnonzero((log.user_counts > 0) & (log.user_counts < SHORT))
    problems = []
    if len(few) and short == "error":
        problems.append(short_problem(log.users, few, name))
    train, valid, test = (
        replace(log, frame=frame.filter(role == part)) for part in (TRAIN, VALID, TEST)
    )
    for part, kind in ((train, "training"), (valid, "validation"), (test, "test")):
        if not len(part):
            problems.append(empty_part(kind, name, len(log), log.n_users))
            raise DataError("; and ".join(problems))
    aside = SetAside()
    if short is not None:
        aside = SetAside(short_users=len(few), short="drop" if short == "drop" else "keep")
    split = check_cold(Split(train, valid, test, name, aside), cold, problems)
    warn_of_leaks(split.train, split.valid, split.test, name, stacklevel=4)
    return split
