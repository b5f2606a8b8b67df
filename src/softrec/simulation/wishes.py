"""The probability of each item for a user in a known mood: as a wish, and as the next event.

`past` is a table (b, L) of b histories, oldest item first, with N as padding on the left. `shown`
(N,) is the probability that an item is shown when it is wished for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from softrec.simulation.shop import Shop, require

CELLS = 1 << 19  # numbers in one block of probabilities; few enough to stay in the cache


class Pull(NamedTuple):
    """The effect of the last two items of b histories on the next wish, as probabilities."""

    taste: np.ndarray  # (b,) the probability that the wish comes from taste
    category: np.ndarray  # (b, C) the probability of browsing each category
    items: np.ndarray  # (b, 2 S) the complements
    weight: np.ndarray  # (b, 2 S) the probability of each


def pull_of(shop: Shop, past: np.ndarray) -> Pull:
    """Return the effect of the last two items of `past` on the next wish.

    Of a history with one item, only that item has an effect; of an empty one, only taste.
    """
    recent, there = _without_padding(shop, past[:, :-3:-1])
    weight = np.array([1 - shop.memory, shop.memory])[: recent.shape[1]] * there
    total = weight.sum(axis=1, keepdims=True)
    weight = shop.stickiness * np.divide(weight, total, out=weight, where=total > 0)
    category = np.zeros((len(past), shop.tastes.shape[1]))
    row = np.arange(len(past))[:, None]
    np.add.at(category, (row, shop.category[recent]), (1 - shop.complementarity) * weight)
    paired = shop.complementarity * weight[:, :, None] * shop.complement_weight
    items = shop.complements[recent]
    flat = (len(past), recent.shape[1] * len(shop.complement_weight))
    return Pull(1 - weight.sum(axis=1), category, items.reshape(flat), paired.reshape(flat))


def wish_probability(shop: Shop, pull: Pull, item: np.ndarray) -> np.ndarray:
    """Return w_m(item | h), (b, M)."""
    category = shop.category[item]
    taste = pull.taste[:, None] * shop.tastes.T[category]
    by_category = taste + pull.category[np.arange(len(item)), category][:, None]
    paired = (pull.weight * (pull.items == item[:, None])).sum(axis=1)
    by_item = by_category * shop.within[item][:, None] + paired[:, None]
    return (1 - shop.noise) * by_item + shop.noise / shop.n_items


def shown_mass(shop: Shop, pull: Pull, past: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return Z_m(h), the sum of w_m(i | h) shown_i over the items not in h, (b, M)."""
    by_category = _unseen(shop, shop.within * shown, past)
    taste = pull.taste[:, None] * (by_category @ shop.tastes.T)
    is_new = ~(pull.items[:, :, None] == past[:, None, :]).any(axis=2)
    paired = (pull.weight * shown[pull.items] * is_new).sum(axis=1)
    pulled = (pull.category * by_category).sum(axis=1) + paired
    uniform = _unseen(shop, shown, past).sum(axis=1) / shop.n_items
    return (1 - shop.noise) * (taste + pulled[:, None]) + shop.noise * uniform[:, None]


def next_item_given(
    shop: Shop, belief: np.ndarray, past: np.ndarray, shown: np.ndarray
) -> np.ndarray:
    """Return sum_m belief_m w_m(i | h) shown_i / Z_m(h) over the items not in h, (b, N).

    Args:
        shop: the parameters.
        belief: (b, M) how probable each mood is.
        past: (b, L) the histories.
        shown: (N,) the probability that an item is shown.
    """
    pull = pull_of(shop, past)
    scaled = belief / shown_mass(shop, pull, past, shown)
    total = scaled.sum(axis=1, keepdims=True)
    by_category = pull.taste[:, None] * (scaled @ shop.tastes) + total * pull.category
    chances = by_category[:, shop.category]
    chances *= (1 - shop.noise) * shop.within
    row = np.arange(len(past))[:, None]
    np.add.at(chances, (row, pull.items), (1 - shop.noise) * total * pull.weight)
    chances += shop.noise / shop.n_items * total
    chances *= shown
    items, there = _without_padding(shop, past)
    rows, _ = np.nonzero(there)
    chances[rows, items[there]] = 0.0
    return chances


def block_size(shop: Shop, block: int | None) -> int:
    """Return how many rows of N probabilities to keep in memory at a time."""
    if block is None:
        return max(64, CELLS // shop.n_items)
    require(block >= 1, "block", block, "at least 1")
    return block


def _unseen(shop: Shop, amount: np.ndarray, past: np.ndarray) -> np.ndarray:
    """Return the sum of `amount` (N,) over each category's items not in `past`, (b, C)."""
    n_categories = shop.tastes.shape[1]
    whole = np.bincount(shop.category, weights=amount, minlength=n_categories)
    items, there = _without_padding(shop, past)
    cell = np.arange(len(past))[:, None] * n_categories + shop.category[items]
    seen = np.bincount(
        cell[there], weights=amount[items[there]], minlength=len(past) * n_categories
    )
    return np.maximum(whole - seen.reshape(len(past), n_categories), 0.0)


def _without_padding(shop: Shop, past: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the items with padding replaced by item 0, and where there is no padding."""
    there = past < shop.n_items
    return np.where(there, past, 0), there
