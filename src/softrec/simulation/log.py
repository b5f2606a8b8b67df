"""The simulated log: users wish for items, and shown items that are new to them are logged."""

from __future__ import annotations

import numpy as np

from softrec.data.interactions import Interactions, Sequences
from softrec.limits import LIMITS
from softrec.simulation.shop import Shop, require
from softrec.simulation.wishes import block_size, next_item_given, pull_of

_USERS = 2  # the first word of a seed, so that users 0 share no random number with shop 0
_EPOCH, _YEAR, _GAP = 1_704_067_200, 365 * 86_400, 3 * 86_400  # seconds


def simulate(
    shop: Shop,
    n_users: int = 4000,
    min_length: int = 8,
    max_length: int = 24,
    *,
    seed: int = 0,
    open_test: bool = True,
    times: bool = False,
) -> Interactions:
    """Return the log of users who wish for items and interact with the items that are shown.

    The vocabulary has the whole catalogue, including items that do not occur. So split with
    `cold="keep"` or `cold="drop"`, because a rare item may have no training event.

    Args:
        shop: the parameters.
        n_users: how many users.
        min_length: the fewest events of a user; their number is uniform.
        max_length: the most events of a user.
        seed: of the users; the shop has its own.
        open_test: show all items at each user's last event, like a small randomised experiment.
            The test event of leave-last-out then is what the user wished for, and its true
            distribution is `next_item(..., exposed=False)`. Without it, the last event is biased
            by exposure like all others, and its true distribution has `exposed=True`.
        times: add times (seconds) to the log. Without times the order of rows is the order of
            events, and leave-last-out does not warn of leakage.

    Returns:
        A log with users 0 .. n_users-1 and the shop's items.

    Raises:
        RecipeError: if the lengths do not fit the catalogue.

    Example:
        >>> from softrec.simulation.shop import make_shop
        >>> simulate(make_shop(n_items=60, n_categories=4), n_users=30).n_users
        30
    """
    require(n_users >= 1, "n_users", n_users, "at least 1")
    require(seed >= 0, "seed", seed, "0 or more")
    require(1 <= min_length <= max_length, "min_length", min_length, "from 1 to max_length")
    require(
        max_length <= shop.n_items,
        "max_length",
        max_length,
        f"at most {shop.n_items:,}, the number of items, because users do not interact with an "
        "item twice",
    )
    rng = np.random.default_rng([_USERS, seed])
    lengths = rng.integers(min_length, max_length, n_users, endpoint=True)
    mood = rng.choice(len(shop.prior), n_users, p=shop.prior)
    table = np.full((n_users, max_length), shop.n_items)  # all end at the right
    events = _Events(shop, rng)
    for column in range(max_length):
        rows = np.flatnonzero(max_length - lengths <= column)
        moved = rows[rng.random(len(rows)) < shop.drift]
        mood[moved] = rng.choice(len(shop.prior), len(moved), p=shop.prior)
        is_open = open_test and column == max_length - 1
        shown = np.ones(shop.n_items) if is_open else shop.exposure
        table[rows, column] = events.next(mood[rows], table[rows, :column], shown)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Interactions.from_sequences(
        Sequences(offsets, table[table < shop.n_items]),
        times=_times(rng, offsets) if times else None,
        items=shop.items,
    )


class _Events:
    """Samples the next event of users: wishes are sampled until one is accepted.

    Args:
        shop: the parameters.
        rng: the random numbers.
    """

    def __init__(self, shop: Shop, rng: np.random.Generator) -> None:
        self.shop = shop
        self.rng = rng
        # The items by category, the end of each category, and cumulative probabilities: those of
        # category c run from c to c + 1, so that one sorted array is enough.
        self.by_category = np.argsort(shop.category, kind="stable")
        self.ends = np.cumsum(np.bincount(shop.category, minlength=shop.tastes.shape[1]))
        cumulated = np.cumsum(shop.within[self.by_category])
        before = np.concatenate([[0.0], cumulated])[np.concatenate([[0], self.ends[:-1]])]
        category = shop.category[self.by_category]
        self.cumulated = category + np.clip(cumulated - before[category], 0, 1)

    def next(self, mood: np.ndarray, past: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Return the next logged item of each row, (b,): the first wish that is shown and new."""
        shop, rng = self.shop, self.rng
        found = np.full(len(past), shop.n_items)
        pull = pull_of(shop, past)
        by_category = pull.taste[:, None] * shop.tastes[mood] + pull.category
        options = (1 - shop.noise) * np.concatenate([by_category, pull.weight], axis=1).cumsum(1)
        waiting = np.arange(len(past))
        for _ in range(LIMITS.wishes):
            if not len(waiting):
                return found
            wish = self._wish(options[waiting], pull.items[waiting])
            new = ~(past[waiting] == wish[:, None]).any(axis=1)
            done = new & (rng.random(len(waiting)) < shown[wish])
            found[waiting[done]] = wish[done]
            waiting = waiting[~done]
        for rows in np.array_split(waiting, 1 + len(waiting) // block_size(shop, None)):
            certain = np.eye(len(shop.prior))[mood[rows]]
            chances = next_item_given(shop, certain, past[rows], shown)
            # An exponential race: item i comes first with probability chances_i.
            found[rows] = np.argmax(chances / rng.exponential(size=chances.shape), axis=1)
        return found

    def _wish(self, options: np.ndarray, complements: np.ndarray) -> np.ndarray:
        """Return one wish per row, (b,).

        Args:
            options: (b, C + 2 S) cumulative probabilities of the categories and the complements;
                the remaining probability is that of a uniform wish.
            complements: (b, 2 S) items.
        """
        n_categories = self.shop.tastes.shape[1]
        wish = self.rng.integers(self.shop.n_items, size=len(options))
        option = (options <= self.rng.random(len(options))[:, None]).sum(axis=1)
        browsing = np.flatnonzero(option < n_categories)
        wish[browsing] = self._browse(option[browsing])
        pairing = np.flatnonzero((option >= n_categories) & (option < options.shape[1]))
        wish[pairing] = complements[pairing, option[pairing] - n_categories]
        return wish

    def _browse(self, category: np.ndarray) -> np.ndarray:
        """Return an item of each category, (b,), drawn by popularity."""
        drawn = category + self.rng.random(len(category))
        place = np.searchsorted(self.cumulated, drawn, side="right")
        last = self.ends[category] - 1  # rounding may reach into the next category
        return self.by_category[np.minimum(place, last)]


def _times(rng: np.random.Generator, offsets: np.ndarray) -> np.ndarray:
    """Return times in seconds, int64: users start within a year and return every few days."""
    lengths = np.diff(offsets)
    gaps = 1 + rng.exponential(_GAP, size=offsets[-1]).astype(np.int64)
    passed = np.cumsum(gaps)
    start = _EPOCH + rng.integers(_YEAR, size=len(lengths)) - passed[offsets[:-1]]
    return passed + np.repeat(start, lengths)
