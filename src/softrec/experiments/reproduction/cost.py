"""How long a training may take at the most, so that the cheapest come first.

The estimate is of one core that multiplies matrices at RATE, for all epochs of a recipe; patience
mostly ends it earlier. It orders and warns, and says nothing of another machine to the minute.
"""

from __future__ import annotations

import math

from softrec.candidates import CandidatesSettings, DrawnSettings
from softrec.data import sources
from softrec.data.sources.base import Counts
from softrec.experiments.stages import chain_of
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.data import SHOP
from softrec.recipe.specs.models import is_counted, reads_graph

RATE = 3e10  # operations a second, in products of matrices
GATHERED = 16  # times as long where the candidates of each row are gathered
PER_ITEM = 48  # operations for an item of a history, by dim^2: some layers, both directions
PASSES = 6  # operations for a product and its two gradients
COUNTING = 2e-5  # seconds for an event, of a simple baseline with all its settings
WIDTH = 64  # of a model whose settings do not say it


def minutes(recipe: Recipe) -> float:
    """Return the most minutes that a recipe and its stages take; NaN if its data are not known."""
    counts = _counts(recipe)
    if counts is None:
        return math.nan
    return sum(_seconds(stage, counts) for stage in chain_of(recipe)) / 60


def _counts(recipe: Recipe) -> Counts | None:
    data = recipe.data
    if data.source == SHOP:
        shop = data.shop
        users, longest = shop.get("n_users", 4000), shop.get("max_length", 24)
        return Counts(users, shop.get("n_items", 1000), users * longest)
    return sources.SOURCES[data.source].counts if data.source in sources.SOURCES else None


def _seconds(recipe: Recipe, counts: Counts) -> float:
    if is_counted(recipe.model.name):
        return COUNTING * counts.events
    training = recipe.training
    windows, length = training.windows, training.length
    dim = recipe.model.settings.get("dim") or WIDTH
    histories = counts.events if windows in ("prefixes", "sliding") else _users(recipe, counts)
    examples = counts.users if windows == "last" else counts.events
    examples = histories if windows == "last" else examples
    output = PASSES * examples * dim * _scored(recipe.candidates, counts.items, training.batch_size)
    if windows == "interactions":
        inside = 0.0
    else:
        inside = PER_ITEM * histories * min(length, counts.events / counts.users) * dim**2
    if reads_graph(recipe.model.name):
        steps = examples / training.batch_size
        inside += steps * PASSES * 2 * counts.events * dim * recipe.model.settings.get("layers", 3)
    return training.epochs * (output + inside) / RATE


def _users(recipe: Recipe, counts: Counts) -> float:
    """Return how many sequences there are: pieces are users of their own."""
    pieces = [float(s.partition("=")[2]) for s in recipe.data.clean if s.startswith("pieces=")]
    return max(counts.users, counts.events / pieces[-1]) if pieces else counts.users


def _scored(candidates: CandidatesSettings, items: int, batch: int) -> float:
    """Return how many items a label is scored against, gathered ones weighed."""
    if not isinstance(candidates, DrawnSettings):
        return items
    number = candidates.number_of(items)
    if number is None:
        return batch
    return number * (GATHERED if getattr(candidates, "per_row", False) else 1)
