"""A shop whose true next-item distribution is known.

A user is in one of M moods (archetypes). A wish of a user in mood m with history h is item i with
probability

    w_m(i | h) = (1 - noise) ((1 - stickiness) taste_m(i) + stickiness pull_h(i)) + noise / N
    taste_m(i) = tastes[m, category_i] within_i
    pull_h(i)  = the last item's category by popularity, or one of its complements, and with a
                 smaller weight the same of the item before it

A user interacts with no item twice. The shop shows a wished item with probability exposure_i. If it
is not shown, nothing is logged and the user wishes again. So the next logged item of a user in mood
m has the distribution

    P_m(i | h) = w_m(i | h) exposure_i / Z_m(h),   over the items that are not in h

and a popular item is logged more often than it is wished for. Before each wish the mood is sampled
again with probability `drift`. The mood is hidden, but it has only M values. So the forward
recursion of a hidden Markov model gives its distribution P(m | h) exactly, and with it the best
prediction that any model could make:

    P(i | h) = sum_m P(m | h) P_m(i | h)

The simulation (`log`) samples wishes and rejects them as described; the prediction (`truth`)
samples nothing. Both use only the parameters (here) and the effect of the last two items
(`wishes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from softrec.data.vocabulary import Vocabulary
from softrec.errors import RecipeError

_SHOP = 1  # the first word of a seed, so that shop 0 shares no random number with users 0


@dataclass(frozen=True)
class Shop:
    """The parameters of a simulated shop with N items, C categories and M archetypes.

    `make_shop` makes it from a few parameters. Items have the same numbers in the vocabulary of the
    simulated log, in its sequences, and in the columns of `next_item`. A split keeps the numbers.
    `Interactions.compact` and a file without some of the items change them; then
    `shop.items.numbers(log.items.raw)` returns the shop's number for each number of the log.
    """

    category: np.ndarray  # (N,) int64
    within: np.ndarray  # (N,) the probability of the item within its category
    exposure: np.ndarray  # (N,) the probability that a wished item is shown
    tastes: np.ndarray  # (M, C) each archetype's distribution over the categories
    prior: np.ndarray  # (M,) the probability of each archetype
    complements: np.ndarray  # (N, S) int64; an item named twice counts twice
    complement_weight: np.ndarray  # (S,) sums to 1
    stickiness: float  # the weight of the last items in a wish; the rest is taste
    complementarity: float  # the weight of complements in the effect of the last items
    memory: float  # the weight of the item before the last in that effect
    drift: float  # the probability of a new mood before a wish
    noise: float  # the fraction of wishes that are uniform over the catalogue

    @property
    def n_items(self) -> int:
        """Return the size N of the catalogue."""
        return len(self.category)

    @property
    def popularity(self) -> np.ndarray:
        """Return the mean taste, (N,), which sums to 1, without noise, last items and exposure."""
        return (self.prior @ self.tastes)[self.category] * self.within

    @cached_property
    def items(self) -> Vocabulary:
        """Return the raw ids of all items in the shop's order: `sku-0000`, `sku-0001`, ..."""
        width = max(4, len(str(self.n_items - 1)))
        return Vocabulary(pl.Series("raw", [f"sku-{i:0{width}d}" for i in range(self.n_items)]))


def make_shop(
    n_items: int = 1000,
    n_categories: int = 20,
    n_archetypes: int = 24,
    interests: int = 3,
    *,
    skew: float = 1.0,
    stickiness: float = 0.5,
    complementarity: float = 0.5,
    n_complements: int = 5,
    memory: float = 0.3,
    drift: float = 0.05,
    noise: float = 0.05,
    exposure_floor: float = 0.2,
    seed: int = 0,
) -> Shop:
    """Return a random shop with the given parameters.

    Args:
        n_items: items of the catalogue.
        n_categories: categories, filled at random with at least one item each.
        n_archetypes: the number of moods; at each time a user is in one of them.
        interests: the number of categories that an archetype likes.
        skew: exponent of Zipf's law, for the items of a category and for the categories of an
            archetype; 0 is a uniform distribution.
        stickiness: the weight of the last two items in a wish; the rest is the archetype's taste.
        complementarity: the weight of complements in the effect of the last two items; the rest is
            other items of the same category.
        n_complements: the number of complements of an item, all in one other category; the s-th
            has a weight in proportion to 1 / s.
        memory: the weight of the item before the last in the effect of the last two items.
        drift: the probability of a new mood before a wish.
        noise: the fraction of wishes that are uniform over the catalogue; above 0, so that there
            is always an item to wish for.
        exposure_floor: the probability that an unpopular item is shown when it is wished for. An
            item is shown with probability floor + (1 - floor) sqrt(popularity / highest
            popularity); with 1 every item is shown.
        seed: of the shop; the users have their own seed.

    Raises:
        RecipeError: if a parameter is out of its range.

    Example:
        >>> small = make_shop(n_items=60, n_categories=4, interests=2)
        >>> small.tastes.shape, int((small.tastes[0] > 0).sum())
        ((24, 4), 2)
    """
    require(n_items >= 2, "n_items", n_items, "at least 2")
    require(1 <= n_categories <= n_items, "n_categories", n_categories, "from 1 to n_items")
    require(n_archetypes >= 1, "n_archetypes", n_archetypes, "at least 1")
    require(1 <= interests <= n_categories, "interests", interests, "from 1 to n_categories")
    require(n_complements >= 1, "n_complements", n_complements, "at least 1")
    require(0 <= skew < np.inf, "skew", skew, "0 or more")
    require(0 <= memory < 1, "memory", memory, "from 0 to below 1")
    require(seed >= 0, "seed", seed, "0 or more")
    weights = {"stickiness": stickiness, "complementarity": complementarity, "drift": drift}
    for name, weight in weights.items():
        require(0 <= weight <= 1, name, weight, "from 0 to 1")
    for name, weight in {"noise": noise, "exposure_floor": exposure_floor}.items():
        require(0 < weight <= 1, name, weight, "above 0 and at most 1")

    rng = np.random.default_rng([_SHOP, seed])
    extra = rng.integers(n_categories, size=n_items - n_categories)
    category = rng.permutation(np.concatenate([np.arange(n_categories), extra]))
    within = _probability_within(rng, category, skew)
    tastes = _tastes(rng, n_archetypes, n_categories, interests, skew)
    prior = np.full(n_archetypes, 1 / n_archetypes)
    popularity = (prior @ tastes)[category] * within
    return Shop(
        category=category,
        within=within,
        exposure=exposure_floor + (1 - exposure_floor) * np.sqrt(popularity / popularity.max()),
        tastes=tastes,
        prior=prior,
        complements=_draw_complements(rng, category, n_categories, n_complements),
        complement_weight=_zipf(n_complements, 1.0),
        memory=memory,
        noise=noise,
        **weights,
    )


def _zipf(n: int, skew: float) -> np.ndarray:
    """Return probabilities of ranks 1 .. n in proportion to rank ** -skew, Zipf's law, (n,)."""
    weight = np.arange(1, n + 1, dtype=np.float64) ** -skew
    return weight / weight.sum()


def _probability_within(rng: np.random.Generator, category: np.ndarray, skew: float) -> np.ndarray:
    """Return probabilities within each category, (N,), by Zipf's law over a random order."""
    counts = np.bincount(category)
    order = np.lexsort((rng.random(len(category)), category))
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(category))
    rank[order] = np.arange(len(category)) - starts[category[order]] + 1
    weight = rank**-skew
    return weight / np.bincount(category, weights=weight)[category]


def _tastes(
    rng: np.random.Generator, n_archetypes: int, n_categories: int, interests: int, skew: float
) -> np.ndarray:
    """Return each archetype's distribution over categories, (M, C), 0 except its interests."""
    # The largest of log p + Gumbel noise are a sample from p without replacement.
    score = rng.gumbel(size=(n_archetypes, n_categories))
    score -= skew * np.log(np.arange(1, n_categories + 1))
    chosen = np.argsort(-score, axis=1)[:, :interests]
    tastes = np.zeros((n_archetypes, n_categories))
    drawn = rng.dirichlet(np.ones(interests), size=n_archetypes)
    np.put_along_axis(tastes, chosen, drawn, axis=1)
    return tastes


def _draw_complements(
    rng: np.random.Generator, category: np.ndarray, n_categories: int, n_complements: int
) -> np.ndarray:
    """Return each item's complements, (N, S), uniform over one other category."""
    ring = rng.permutation(n_categories)
    partner = np.empty(n_categories, dtype=np.int64)
    partner[ring] = np.roll(ring, -1)
    counts = np.bincount(category, minlength=n_categories)
    shelf, starts = np.argsort(category, kind="stable"), np.cumsum(counts) - counts
    wanted = partner[category][:, None]
    place = rng.integers(counts[wanted], size=(len(category), n_complements))
    return shelf[starts[wanted] + place]


def require(holds: bool | np.bool_, name: str, value: object, wanted: str) -> None:
    """Refuse a parameter that is out of its range.

    Raises:
        RecipeError: if `holds` is false; the message has name, range and value.
    """
    if not holds:
        raise RecipeError(f"{name} must be {wanted}; got {value}")
