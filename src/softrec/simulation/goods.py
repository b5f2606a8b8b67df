"""What the items of a simulated shop are called, what they cost, and how many there are."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl

from softrec.simulation.shop import Shop

_GOODS = 3  # the first word of a seed, so that nothing here shares a random number with the shop
KINDS = {
    "shoes": "boot sandal sneaker loafer", "hats": "cap beanie beret bonnet",
    "shirts": "shirt blouse polo tunic", "coats": "coat jacket parka cape",
    "bags": "backpack satchel tote pouch", "lamps": "lamp lantern spotlight nightlight",
    "chairs": "chair stool armchair bench", "tables": "table desk sideboard trolley",
    "pans": "pan pot wok kettle", "dishes": "plate bowl mug saucer",
    "knives": "knife cleaver peeler grater", "tea": "tea chai matcha infusion",
    "sweets": "chocolate toffee fudge nougat", "spreads": "jam honey marmalade chutney",
    "books": "novel atlas cookbook almanac", "paper": "notebook diary sketchbook calendar",
    "toys": "puzzle kite doll yoyo", "games": "chess domino jigsaw quiz",
    "garden": "spade rake trowel hoe", "plants": "fern cactus orchid ivy",
    "bikes": "bicycle tricycle scooter tandem", "camping": "tent hammock stove tarp",
    "linen": "towel blanket pillow quilt", "soap": "soap shampoo lotion balm",
    "music": "guitar drum flute ukulele", "sound": "radio speaker headphone turntable",
    "clocks": "clock watch timer hourglass", "painting": "brush easel canvas palette",
    "tools": "hammer wrench saw drill", "winter": "sledge scarf mitten skate",
}  # fmt: skip
"""The categories, and what their items are called."""
LOOKS = (
    "Amber", "Blue", "Classic", "Crimson", "Dotted", "Folding", "Golden", "Green", "Grey",
    "Little", "Nordic", "Plain", "Rustic", "Silver", "Striped", "Velvet",
)  # fmt: skip


def item_table(shop: Shop) -> pl.DataFrame:
    """Return the table of the items of a shop: id, title, category, price and stock.

    The same shop has the same table. Titles differ; about one item in twelve is out of stock.

    Example:
        >>> from softrec.simulation.shop import make_shop
        >>> item_table(make_shop(n_items=60, n_categories=4)).columns
        ['id', 'title', 'category', 'price', 'stock']
    """
    rng = np.random.default_rng([_GOODS, shop.n_items, shop.tastes.shape[1]])
    names, used = list(KINDS), Counter[str]()
    titles = np.empty(shop.n_items, dtype=object)
    for category in range(shop.tastes.shape[1]):
        items = np.flatnonzero(shop.category == category)
        nouns = KINDS[names[category % len(names)]].split()
        titles[items] = _titles(nouns, len(items), used, rng)
    usual = rng.lognormal(3.0, 0.8, shop.tastes.shape[1])
    price = usual[shop.category] * rng.lognormal(0.0, 0.4, shop.n_items)
    stock = rng.poisson(20, shop.n_items) * (rng.random(shop.n_items) > 1 / 12)
    kinds = [_again(names[c % len(names)], c // len(names)) for c in shop.category]
    return pl.DataFrame(
        {
            "id": shop.items.raw,
            "title": titles.tolist(),
            "category": kinds,
            "price": np.round(np.ceil(price) - 0.01, 2),
            "stock": stock,
        }
    )


def _titles(
    nouns: list[str], number: int, used: Counter[str], rng: np.random.Generator
) -> list[str]:
    """Return different titles: a look and a noun, with a number where it was used before."""
    pairs = [f"{look} {noun}" for noun in nouns for look in LOOKS]
    titles: list[str] = []
    for place in np.resize(rng.permutation(len(pairs)), number):
        titles.append(_again(pairs[place], used[pairs[place]]))
        used[pairs[place]] += 1
    return titles


def _again(name: str, times: int) -> str:
    """Return a name that was used before: `boot`, `boot 2`, `boot 3`."""
    return f"{name} {times + 1}" if times else name
