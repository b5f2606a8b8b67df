"""From a recipe to its data: read, cleaned and split."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from softrec.data import sessions, sources, splits
from softrec.data.aside import LeakageWarning, warn_of_leaks
from softrec.data.batches import examples
from softrec.data.interactions import Interactions
from softrec.data.named import no_source
from softrec.data.reading import read_parts
from softrec.data.sources import Parts
from softrec.data.splits import Split
from softrec.errors import DataError, RecipeError
from softrec.evaluation.asked import Asked, sentence_of
from softrec.experiments.build.model import notices
from softrec.experiments.build.on_disk import split_on_disk, stays_on_disk
from softrec.experiments.build.shop import simulated
from softrec.experiments.tables import log_lacking, tables_of
from softrec.experiments.views import data_text
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.data import MEMORY, SHOP, DataSettings, parse_step

CLEANING: dict[str, Callable[[Interactions, float], Interactions]] = {
    "drop-duplicates": lambda log, _: log.drop_duplicates(),
    "min-weight": lambda log, least: log.min_weight(least),
    "k-core": lambda log, k: log.k_core(int(k)),
    "min-user": lambda log, least: log.min_counts(user=int(least)),
    "min-item": lambda log, least: log.min_counts(item=int(least)),
    "pieces": lambda log, length: log.pieces(int(length)),
}

LOGGER = logging.getLogger(__name__)


def load_logged(
    recipe: Recipe,
    data_dir: Path | None = None,
    log: Interactions | None = None,
) -> Split:
    """Return the data of a recipe, and log what was read and left out, and what will be ranked.

    Its tables of items and users are checked, because they are read again only where a run ends.

    Args:
        recipe: says which data; some of the messages depend on its model.
        data_dir: a folder with public data sets, searched before the cache and any download.
        log: the log, if it is in memory.
    """
    split = load_split(recipe.data, data_dir) if log is None else split_of(log, recipe.data)
    asked = Asked.of(split, recipe.evaluation.mask_seen)
    asks = sentence_of(asked.facts(recipe.evaluation.negatives))
    for line in (data_text(split), *notices(recipe.model, split), asks):
        LOGGER.info(line)
    log_lacking(recipe.data, tables_of(recipe.data, split), split)
    return split


def load_split(spec: DataSettings, data_dir: Path | None = None) -> Split:
    """Read, clean and split the log that `spec` names.

    Args:
        spec: the data part of a recipe.
        data_dir: a folder with public data sets, searched before the cache and any download.
    """
    return _asked(_loaded(spec, data_dir), spec)


def _loaded(spec: DataSettings, data_dir: Path | None) -> Split:
    if spec.valid is not None and spec.test is not None:
        return _given_files(spec.source, spec.valid, spec.test, spec)
    if spec.source == SHOP:
        return _split(simulated(spec), spec, {"cold": "keep"})
    if spec.source in sources.SOURCES and not Path(spec.source).exists():
        return _public(spec, data_dir)
    if spec.source.startswith(MEMORY):
        raise DataError(
            "this log was given as a table in memory and is not in a file; give it again, as a "
            "table or a file"
        )
    if not Path(spec.source).exists():
        raise no_source(spec.source, sources.names())
    _check_short_users(spec, spec.split)
    if stays_on_disk(spec):
        return _told(split_on_disk(spec))
    return _split(cleaned(Interactions.read(spec.source, **_reading(spec)), spec), spec, {})


def _check_short_users(spec: DataSettings, kind: str | None) -> None:
    """Refuse a choice about short users where no split is of each user."""
    if kind in ("time", sessions.NAME) and spec.short_users:
        raise RecipeError(
            "data.short_users is for splits of each user, but a split by time divides the "
            "whole log; leave it out, or use leave-last-out or user-ratio"
        )


def _told(split: Split) -> Split:
    """Return a split that was read as it is; warn of what its making would have warned of."""
    warn_of_leaks(split.train, split.valid, split.test, split.name, stacklevel=5)
    return sessions.warn_of_few_users(split) if split.name == "time" else split


def split_of(log: Interactions, spec: DataSettings) -> Split:
    """Clean and split a log that has been read already."""
    return _asked(_split(cleaned(log, spec), spec, {}), spec)


def _asked(split: Split, spec: DataSettings) -> Split:
    """Return the split with the relevant items and the order of histories of `spec`."""
    split = replace(split, relevant=spec.relevant, seed=spec.split_seed)
    if spec.first_items is not None:
        split = split.cold_start(spec.first_items)
    if spec.order == "shuffled":
        split = split.shuffled(spec.split_seed)
    return with_noise(split, spec)


def with_noise(split: Split, spec: DataSettings) -> Split:
    """Return the split with the false positives of `spec` in its training part, and no others."""
    return split.contaminated(spec.false_positives, spec.contamination)


def _reading(spec: DataSettings) -> dict[str, Any]:
    return {
        "user": spec.user, "item": spec.item, "time": spec.time, "weight": spec.weight,
        "header": spec.header, "text_ids": spec.text_ids,
    }  # fmt: skip


def _given_files(train: str, valid: str, test: str, spec: DataSettings) -> Split:
    files = (train, valid, test)
    for one, other in combinations(files, 2):
        if Path(one).exists() and Path(other).exists() and Path(one).samefile(other):
            raise DataError(
                f"{one} is given for two parts of the log, but a model must not be tested on what "
                "it was trained on; give each part a file of its own"
            )
    columns = {k: v for k, v in _reading(spec).items() if k not in ("header", "text_ids")}
    tables, times = read_parts(files, columns, header=spec.header, text_ids=spec.text_ids)
    for (one, first), (other, second) in combinations(zip(files, tables, strict=True), 2):
        if first.equals(second):
            raise DataError(
                f"{one} and {other} have the same events; give each part of the log events of its "
                "own"
            )
    return splits.given(*Interactions.together(tables, times), cold=spec.cold_items or "drop")


def _public(spec: DataSettings, data_dir: Path | None) -> Split:
    source = sources.get(spec.source)
    parts = sources.load(spec.source, data_dir)
    protocol: dict[str, Any] = dict(source.split)
    if protocol.get("every_position") and spec.split in (None, "given"):
        raise DataError(
            f"the published test part of {spec.source} is evaluated at every position of new "
            f"sessions, which is not supported; use --split {sessions.NAME}, which asks for the "
            "last item of each test session"
        )
    if protocol.get("every_position") and spec.split == sessions.NAME:
        return _published_sessions(parts, spec, protocol)
    if parts.published is None or spec.split not in (None, "given"):
        with warnings.catch_warnings():
            if spec.split in (None, protocol["split"]):  # as published; the report notes it
                warnings.simplefilter("ignore", LeakageWarning)
            return _split(cleaned(parts.whole, spec), spec, protocol)
    if spec.clean or spec.short_users:
        name = "clean" if spec.clean else "short_users"
        raise RecipeError(
            f"data.{name} would change the published parts of {spec.source}; leave it out, or "
            "choose another split of the whole log, for instance --split user-ratio"
        )
    train, test = parts.published
    cold = spec.cold_items or protocol.get("cold", "keep")
    return splits.carved(train, test, valid=spec.valid_fraction, seed=spec.split_seed, cold=cold)


def _published_sessions(parts: Parts, spec: DataSettings, protocol: dict[str, Any]) -> Split:
    """Return published sessions, which are in the order of time; the last to train validate."""
    if spec.clean or spec.short_users:
        raise RecipeError(
            f"data.clean and data.short_users would change the published sessions of {spec.source}"
        )
    assert parts.published is not None
    train, test = parts.published
    trained = np.flatnonzero(train.user_counts)
    part = np.where(test.user_counts > 0, 2, 0)
    part[trained[-max(1, round(spec.valid_fraction * len(trained))) :]] = 1
    cold = spec.cold_items or protocol.get("cold", "keep")
    return sessions.of_whole_sequences(parts.whole, part, cold=cold)


def cleaned(log: Interactions, spec: DataSettings) -> Interactions:
    """Apply the cleaning steps of `spec` in order."""
    for name, number in map(parse_step, spec.clean):
        log = CLEANING[name](log, number)
    return log


def _split(log: Interactions, spec: DataSettings, protocol: dict[str, Any]) -> Split:
    """Split as the recipe says, else by the protocol of the data set, else leave-last-out."""
    kind = spec.split or protocol.get("split") or "leave-last-out"
    cold = spec.cold_items or protocol.get("cold", "drop")
    short = spec.short_users or protocol.get("short", "keep")
    _check_short_users(spec, kind)
    fractions = {"valid": spec.valid_fraction, "test": spec.test_fraction}
    if kind == "time":
        return sessions.warn_of_few_users(splits.by_time(log, **fractions, cold=cold))
    if kind == sessions.NAME:
        return sessions.by_session_time(log, **fractions, moment=spec.session_moment, cold=cold)
    if kind == "user-ratio":
        return splits.by_user_ratio(log, **fractions, seed=spec.split_seed, short=short, cold=cold)
    if kind == "leave-last-out":
        return splits.leave_last_out(log, short=short, cold=cold)
    raise DataError(
        f"{spec.source} cannot be split by {kind!r}; choose --split leave-last-out, time, "
        f"{sessions.NAME} or user-ratio"
    )


def label_counts(recipe: Recipe, log: Interactions) -> np.ndarray:
    """Return how often each item is a label of an epoch, (N,) int64, as the windows cut a log."""
    spec, rows = recipe.training, log.sequences
    if spec.windows != "interactions" and not (rows.lengths > 1).any():
        return np.zeros(log.n_items, dtype=np.int64)
    data = examples(rows, spec.windows, spec.length, stride=spec.stride)
    return data.label_counts(log.n_items)
