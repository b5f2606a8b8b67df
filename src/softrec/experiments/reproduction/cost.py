"""Estimates the longest time of a training, so that the cheapest trainings are run first.

The estimate is for one core that multiplies matrices at RATE, and for all epochs of a recipe; early
stopping mostly ends a training earlier. It is only good enough to order trainings and to warn.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from softrec.candidates import CandidatesSettings, DrawnSettings
from softrec.data import sources
from softrec.data.interactions import Interactions
from softrec.data.sources.base import Counts
from softrec.data.splits import Split
from softrec.experiments.build.model import ROWS
from softrec.experiments.reproduction.cells import training_of
from softrec.experiments.stages import chain_of
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.data import SHOP
from softrec.recipe.specs.models import is_counted, reads_graph

RATE = 3e10  # operations per second, in products of matrices
GATHERED = 16  # factor if candidates are gathered for each row
PER_ITEM = 48  # operations per item of a history, in units of dim^2: some layers, both directions
PASSES = 6  # operations for a product and its two gradients
COUNTING = 2e-5  # seconds per event, for a simple baseline with all its settings
WIDTH = 64  # for a model without this setting


def minutes(recipe: Recipe, done: Collection[str] = (), split: Split | None = None) -> float:
    """Return the estimated minutes of a recipe and its stages; NaN if its data are unknown.

    Args:
        recipe: what is to be trained.
        done: the stages that are finished and take no time, see `training_of`.
        split: the data, if they were read; those of a file are unknown before.
    """
    counts = _counts(recipe) if split is None else _counts_of(split.clean)
    if counts is None:
        return math.nan
    stages = [stage for stage in chain_of(recipe)[:-1] if training_of(stage) not in done]
    return sum(_seconds(each, counts) for each in (*stages, recipe)) / 60


def _counts(recipe: Recipe) -> Counts | None:
    data = recipe.data
    if data.source == SHOP:
        shop = data.shop
        users, longest = shop.get("n_users", 4000), shop.get("max_length", 24)
        return Counts(users, shop.get("n_items", 1000), users * longest)
    return sources.SOURCES[data.source].counts if data.source in sources.SOURCES else None


def _counts_of(log: Interactions) -> Counts:
    return Counts(log.n_users, log.n_items, len(log))


def _seconds(recipe: Recipe, counts: Counts) -> float:
    if is_counted(recipe.model.name):
        return COUNTING * counts.events
    training = recipe.training
    windows, length = training.windows, training.length
    dim = recipe.model.settings.get("dim") or WIDTH
    histories = counts.events if windows in ("prefixes", "sliding") else _users(recipe, counts)
    examples = histories if windows == "last" else counts.events
    rows = training.batch_size or ROWS
    output = PASSES * examples * dim * _scored(recipe.candidates, counts.items, rows)
    if windows == "interactions":
        inside = 0.0
    else:
        inside = PER_ITEM * histories * min(length, counts.events / counts.users) * dim**2
    if reads_graph(recipe.model.name):
        steps = examples / rows
        inside += steps * PASSES * 2 * counts.events * dim * recipe.model.settings.get("layers", 3)
    trainings = 1 if training.refit == "none" else 2
    return trainings * training.epochs * (output + inside) / RATE


def _users(recipe: Recipe, counts: Counts) -> float:
    """Return the number of sequences; with the cleaning step `pieces` each piece is one."""
    pieces = [float(s.partition("=")[2]) for s in recipe.data.clean if s.startswith("pieces=")]
    return max(counts.users, counts.events / pieces[-1]) if pieces else counts.users


def _scored(candidates: CandidatesSettings, items: int, batch: int) -> float:
    """Return how many items a label is scored against; gathered items count more."""
    if not isinstance(candidates, DrawnSettings):
        return items
    number = candidates.number_of(items)
    if number is None:
        return batch
    return number * (GATHERED if getattr(candidates, "per_row", False) else 1)
