"""Initialises a model from the weights of a finished run, on the same data or on newer data.

Rows of tables belong to users and items, and are matched by raw id. Users and items that are
unknown to the run are initialised at random, or from their neighbours (`rows`). Which entries of a
model are such tables is found by building the model for more items or users: they are the entries
that become larger.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import torch
from torch import Tensor

from softrec.data.interactions import Interactions
from softrec.data.refit import for_refit
from softrec.data.splits import Split
from softrec.data.vocabulary import UNKNOWN, Vocabulary
from softrec.errors import RunError
from softrec.experiments.build.model import build_model
from softrec.experiments.build.rows import Kind, fill_new_rows, own_new_rows
from softrec.experiments.runs import Run, describe, open_run
from softrec.experiments.store.changes import difference
from softrec.models.prior import without_prior
from softrec.parallel import everyone, mesh
from softrec.parallel.stored import names_in, read_rows, read_some
from softrec.parallel.tables import parts_of
from softrec.recipe.specs.models import MODELS, ModelSettings
from softrec.recipe.specs.training import NewRows
from softrec.settings import Trained
from softrec.types import Encoder

Vocabularies = dict[Kind, Vocabulary]
KINDS: tuple[Kind, ...] = ("items", "users")
LOGGER = logging.getLogger(__name__)


def begin(
    encoder: Encoder, start: Trained, split: Split, *, seed: int, new_rows: NewRows = "fresh"
) -> None:
    """Initialise `encoder` from a finished run.

    Args:
        encoder: a model for the users and items of `split`.
        start: the folder of the run.
        split: the data that the encoder will be trained on.
        seed: of the random rows of users and items that are unknown to the run.
        new_rows: "fresh" leaves these rows random, "neighbours" makes them of their neighbours.

    Raises:
        RunError: if the model of the run does not fit, or none of the items is in the run.
        DataError: if the ids are of another kind.
    """
    assert isinstance(start, str)  # recipes of runs have been resolved
    run = open_run(start)
    _log_leaks(run, split)
    try:
        if parts_of(encoder):
            _begin_rows(encoder, run, split, new_rows)
            return
        other = _own(run) if _same_ids(run, split) else _moved(run, split, seed, new_rows)
        encoder.initialise_from(other)
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"the model cannot be initialised from the {run.recipe.model.name} in {start}: {error}"
        ) from error


def _begin_rows(encoder: Encoder, run: Run, split: Split, new_rows: NewRows) -> None:
    """Initialise an encoder whose tables are in shards: each process reads its own rows.

    Raises:
        RunError: if none of the items is in the run.
        ValueError: if the run has another model.
    """
    if MODELS[run.recipe.model.name] is not type(encoder):
        raise ValueError(f"{encoder.name} in shards is initialised from {encoder.name} alone")
    path, parts = run.folder / "model.safetensors", parts_of(encoder)
    kept = {name.removeprefix("encoder."): name for name in names_in(path)}  # inside of a prior
    own = {n: name for n, name in kept.items() if not n.startswith("prior.")}
    places = torch.from_numpy(_known_places(run, split)["items"])
    state, fresh, filled = dict[str, Tensor](), encoder.state_dict(), 0
    for name, kept_as in own.items():
        part, read = parts.get(name), partial(read_some, path, kept_as)
        if part is None:
            state[name] = read_rows(path, kept_as, None)
            continue
        numbers = places[part.start : part.stop]
        known = numbers != UNKNOWN
        table = state[name] = fresh[name].clone()
        table[known] = read(numbers[known]).to(table.dtype)
        if new_rows == "neighbours":
            filled = own_new_rows(table, part, places.numpy(), split.train, read)
    encoder.load_state_dict(state)
    unknown = int((places == UNKNOWN).sum())
    if unknown:
        of_all = sum(everyone(filled)[: mesh().shards])
        LOGGER.info(
            "training.start: %s of %s items are unknown to %s and are initialised %s",
            f"{unknown:,}", f"{len(places):,}", run.folder,
            _first_rows({"items": of_all} if new_rows == "neighbours" else {}),
        )  # fmt: skip


def _log_leaks(run: Run, split: Split) -> None:
    """Log how many held-out events the run was trained on; on its own split there are none.

    Of validation events it is logged where the run was fitted once more, and knows them.
    """
    if split.judged is not None:
        return  # it was logged before the training that was judged
    same = difference(run.facts["data"], describe(split)) is None
    if run.refit == "none" and same:
        return
    own = run.split()
    known = (own if run.refit == "none" else for_refit(own, run.refit)).clean
    told = {"test": split.test} | ({} if run.refit == "none" else {"validation": split.valid})
    for part, asked in told.items():
        seen = _seen(asked, known)
        if seen:
            LOGGER.info(
                f"training.start: {seen:,} of {len(asked):,} {part} events "
                f"{'is' if seen == 1 else 'are'} among those that {run.folder} "
                f"was trained on, so the {part} metrics look better than they are"
            )


def _seen(asked: Interactions, known: Interactions) -> int:
    """Return how many events are known; false positives are no events."""
    numbers = {
        "user": known.users.numbers(asked.users.raw)[asked.frame["user"]],
        "item": known.items.numbers(asked.items.raw)[asked.frame["item"]],
    }
    keys = [*numbers, *(["time"] if known.has_time and asked.has_time else [])]
    trained = known.frame.with_columns(pl.col(*numbers).cast(pl.Int64))
    return asked.frame.with_columns(**numbers).join(trained, on=keys, how="semi").height


def _vocabularies(log: Interactions) -> Vocabularies:
    return {"items": log.items, "users": log.users}


def _places(old: Vocabularies, new: Vocabularies) -> dict[Kind, np.ndarray]:
    """Return the number in the old vocabulary of each user and item, or `UNKNOWN`."""
    return {kind: own.numbers(new[kind].raw) for kind, own in old.items()}


def _known_places(run: Run, split: Split) -> dict[Kind, np.ndarray]:
    """Return the number in a run of each user and item of `split`, or `UNKNOWN`.

    Raises:
        RunError: if all items are unknown.
    """
    new = _vocabularies(split.train)
    places = _places(_vocabularies(run.log), new)
    if (places["items"] == UNKNOWN).all():
        raise RunError(
            f"{run.folder} knows none of the items of this log, such as {new['items'].raw[0]!r}; "
            "name a run of the same catalogue, with ids as they are in this log"
        )
    return places


def _same_ids(run: Run, split: Split) -> bool:
    given = _vocabularies(split.train)
    return all(own.raw.equals(given[kind].raw) for kind, own in _vocabularies(run.log).items())


def _own(run: Run) -> Encoder:
    """Return the encoder of a run without its prior, which is counted again, and temperature."""
    encoder = without_prior(run.encoder())
    encoder.learn_temperature(None)
    return encoder


def _moved(run: Run, split: Split, seed: int, new_rows: NewRows) -> Encoder:
    """Return the model of `run` for the users and items of `split`."""
    spec, length = run.model_settings, run.recipe.training.length
    old, places = _vocabularies(run.log), _known_places(run, split)
    trained, moved = _own(run), build_model(spec, split.train, length, seed=seed)
    assert isinstance(moved, Encoder)
    state, weights = moved.state_dict(), trained.state_dict()
    tables = tables_of(spec, split.train, length)
    for name, weight in weights.items():
        kind = tables.get(name)
        fresh = state[name]
        state[name] = weight if kind is None else _rows(weight, fresh, places[kind], old[kind])
    filled = fill_new_rows(state, tables, places, split.train) if new_rows == "neighbours" else {}
    moved.load_state_dict(state)
    counts = [
        f"{(numbers == UNKNOWN).sum():,} of {len(numbers):,} {kind}"
        for kind, numbers in places.items()
        if kind in tables.values()
    ]
    LOGGER.info(
        "training.start: %s are unknown to %s and are initialised %s",
        " and ".join(counts),
        run.folder,
        _first_rows(filled),
    )
    return moved


def _first_rows(filled: Mapping[Kind, int]) -> str:
    if not filled:
        return "at random"
    counts = [f"{filled[kind]:,} {kind}" for kind in KINDS if kind in filled]
    return f"from their neighbours ({' and '.join(counts)}), or at random"


def _rows(trained: Tensor, fresh: Tensor, places: np.ndarray, old: Vocabulary) -> Tensor:
    """Return `fresh` with the rows of known users or items; rows for padding are at the end."""
    table = fresh.to(trained.dtype, copy=True)
    known = np.flatnonzero(places != UNKNOWN)
    table[torch.from_numpy(known)] = trained[torch.from_numpy(places[known])]
    table[len(places) :] = trained[len(old) :]
    return table


def tables_of(spec: ModelSettings, log: Interactions, length: int) -> dict[str, Kind]:
    """Return the entries of a model's state that have a row for each item, or for each user."""

    def rows(n_items: int, n_users: int) -> dict[str, int]:
        def ids(count: int) -> Vocabulary:
            return Vocabulary(pl.Series("raw", range(count)))

        small = replace(log, frame=log.frame.head(0), users=ids(n_users), items=ids(n_items))
        model = build_model(spec, small, length, seed=0)
        return {name: len(part) for name, part in model.state_dict().items() if part.dim()}

    few, more_items, more_users = rows(3, 3), rows(4, 3), rows(3, 4)
    found: dict[str, Kind] = {}
    for name, count in few.items():
        if more_items[name] > count:
            found[name] = "items"
        if more_users[name] > count:
            found[name] = "users"
    return found
