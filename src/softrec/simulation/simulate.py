"""A shop whose true next-item distribution is known.

One wish, for a user in the mood of archetype m after the history h, is an item i with probability

    w_m(i | h) = (1 - noise) ((1 - stickiness) taste_m(i) + stickiness pull_h(i)) + noise / N
    taste_m(i) = tastes[m, category_i] within_i
    pull_h(i)  = the last item's category by popularity, or one of its complements, and with a
                 smaller weight the same of the item before it

A user takes no item twice. A wish comes to anything only if the shop shows the item, with
probability exposure_i; else nothing is logged and the user wishes again. So the next logged item
of a user in mood m has the distribution

    P_m(i | h) = w_m(i | h) exposure_i / Z_m(h),   over the items that are not in h

and a popular item is logged more often than it is wished for. The mood drifts: before each wish
it is drawn anew with probability `drift`. It is hidden, but it takes one of M values, so the
forward recursion of a hidden Markov model states what the history alone tells about it, and with
it the best prediction that any model could make, exactly:

    P(i | h) = sum_m P(m | h) P_m(i | h)

The simulation draws wishes and rejects them as told above; the prediction never draws anything.
The two share only the parameters of the shop and what follows from the last two items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl

from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import Cases
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError, RecipeError

_SHOP, _USERS = 1, 2  # the first word of a seed, so that shop 0 and users 0 share no random number
_PATIENCE = 64  # rounds of wishing before the exact distribution is drawn from instead
_CELLS = 1 << 19  # numbers in one block of probabilities; few enough to stay in the cache
_EPOCH, _YEAR, _GAP = 1_704_067_200, 365 * 86_400, 3 * 86_400  # seconds


class Expected(NamedTuple):
    """Expectations under the truth, one per case; their means are what a perfect test would say."""

    hit: np.ndarray  # (C,) the probability that the next item is in the list
    ndcg: np.ndarray  # (C,) the sum over ranks r = 1 .. K of p(item at r) / log2(r + 1)


class _Pull(NamedTuple):
    """What the last two items of b histories pull a wish towards; the rest is left to taste."""

    taste: np.ndarray  # (b,) the share left to taste
    category: np.ndarray  # (b, C) the share of each category
    items: np.ndarray  # (b, 2 S) the complements
    weight: np.ndarray  # (b, 2 S) the share of each


@dataclass(frozen=True)
class Shop:
    """The parameters of a simulated shop with N items, C categories and M archetypes.

    Made by `shop` from a few dials. Item numbers are the shop's everywhere: in the vocabulary of
    the simulated log, in its sequences, and in the columns of `next_item`. They stay so through a
    split, but not through `Interactions.compact` or a file that lacks some items; then
    `shop.items.numbers(log.items.raw)` gives the shop's number of each number of the log.
    """

    category: np.ndarray  # (N,) int64
    within: np.ndarray  # (N,) the share of the item in its category, 1 in sum over a category
    exposure: np.ndarray  # (N,) the probability that a wished item is shown
    tastes: np.ndarray  # (M, C) each archetype's distribution over the categories
    prior: np.ndarray  # (M,) how common each archetype is
    complements: np.ndarray  # (N, S) int64; an item named twice counts twice
    complement_weight: np.ndarray  # (S,) 1 in sum
    stickiness: float  # the share of the last items in a wish; the rest is taste
    complementarity: float  # the share of complements in what the last items pull towards
    memory: float  # the share of the item before the last in that pull
    drift: float  # the probability of a new mood before a wish
    noise: float  # the share of wishes that are uniform over the catalogue

    @property
    def n_items(self) -> int:
        """Return the size N of the catalogue."""
        return len(self.category)

    @property
    def popularity(self) -> np.ndarray:
        """Return the mean taste, (N,), 1 in sum: noise, pull and exposure left out."""
        return (self.prior @ self.tastes)[self.category] * self.within

    @cached_property
    def items(self) -> Vocabulary:
        """Return the raw ids of all items in the shop's order: `sku-0000`, `sku-0001`, ..."""
        width = max(4, len(str(self.n_items - 1)))
        return Vocabulary(pl.Series("raw", [f"sku-{i:0{width}d}" for i in range(self.n_items)]))

    # --- the log: wishes, shown or not ---

    def simulate(
        self,
        n_users: int = 4000,
        min_length: int = 8,
        max_length: int = 24,
        *,
        seed: int = 0,
        open_test: bool = True,
        times: bool = False,
    ) -> Interactions:
        """Let users wish, and log what they were shown and took.

        The vocabulary holds the whole catalogue, whether an item occurs or not; so split with
        `cold="keep"` or `cold="drop"`, since a rare item may occur in no training part.

        Args:
            n_users: how many users.
            min_length: the fewest events of a user; their number is uniform.
            max_length: the most events of a user.
            seed: of the users; the shop has its own.
            open_test: draw each user's last event with everything shown, like a small randomised
                experiment. The test event of leave-last-out then measures what users wish for,
                and `next_item(..., exposed=False)` is its truth. Without it, the last event is
                biased by exposure like all others and `exposed=True` is its truth.
            times: give the log times (seconds). Without them the order of rows is the order of
                events, and leave-last-out has nothing to warn of.

        Returns:
            A log with users 0 .. n_users-1 and the shop's items.

        Raises:
            RecipeError: if the lengths do not fit the catalogue.
        """
        _require(n_users >= 1, "n_users", n_users, "at least 1")
        _require(seed >= 0, "seed", seed, "0 or more")
        _require(1 <= min_length <= max_length, "min_length", min_length, "from 1 to max_length")
        _require(
            max_length <= self.n_items,
            "max_length",
            max_length,
            f"at most the {self.n_items:,} items, for users take no item twice",
        )
        rng = np.random.default_rng([_USERS, seed])
        lengths = rng.integers(min_length, max_length, n_users, endpoint=True)
        mood = rng.choice(len(self.prior), n_users, p=self.prior)
        table = np.full((n_users, max_length), self.n_items)  # all end at the right
        for column in range(max_length):
            rows = np.flatnonzero(max_length - lengths <= column)
            moved = rows[rng.random(len(rows)) < self.drift]
            mood[moved] = rng.choice(len(self.prior), len(moved), p=self.prior)
            is_open = open_test and column == max_length - 1
            shown = np.ones(self.n_items) if is_open else self.exposure
            table[rows, column] = self._take(rng, mood[rows], table[rows, :column], shown)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Interactions.from_sequences(
            Sequences(offsets, table[table < self.n_items]),
            times=_times(rng, offsets) if times else None,
            items=self.items,
        )

    def _take(
        self, rng: np.random.Generator, mood: np.ndarray, past: np.ndarray, shown: np.ndarray
    ) -> np.ndarray:
        """Return the next logged item of each row, (b,): the first wish that is shown and new."""
        taken = np.full(len(past), self.n_items)
        pull = self._pull(past)
        by_category = pull.taste[:, None] * self.tastes[mood] + pull.category
        options = (1 - self.noise) * np.concatenate([by_category, pull.weight], axis=1).cumsum(1)
        waiting = np.arange(len(past))
        for _ in range(_PATIENCE):
            if not len(waiting):
                return taken
            wish = self._wish(rng, options[waiting], pull.items[waiting])
            new = ~(past[waiting] == wish[:, None]).any(axis=1)
            done = new & (rng.random(len(waiting)) < shown[wish])
            taken[waiting[done]] = wish[done]
            waiting = waiting[~done]
        for rows in np.array_split(waiting, 1 + len(waiting) // self._block(None)):
            certain = np.eye(len(self.prior))[mood[rows]]
            chances = self._predict(certain, past[rows], shown)
            # An exponential race: item i comes first with probability chances_i.
            taken[rows] = np.argmax(chances / rng.exponential(size=chances.shape), axis=1)
        return taken

    def _wish(
        self, rng: np.random.Generator, options: np.ndarray, complements: np.ndarray
    ) -> np.ndarray:
        """Return one wish per row, (b,).

        Args:
            rng: where the draws come from.
            options: (b, C + 2 S) cumulated probabilities of a category or a complement; what
                they leave is a uniform wish.
            complements: (b, 2 S) items.
        """
        n_categories = self.tastes.shape[1]
        wish = rng.integers(self.n_items, size=len(options))
        option = (options <= rng.random(len(options))[:, None]).sum(axis=1)
        browsing = np.flatnonzero(option < n_categories)
        wish[browsing] = self._browse(rng, option[browsing])
        pairing = np.flatnonzero((option >= n_categories) & (option < options.shape[1]))
        wish[pairing] = complements[pairing, option[pairing] - n_categories]
        return wish

    def _browse(self, rng: np.random.Generator, category: np.ndarray) -> np.ndarray:
        """Return an item of each category, (b,), drawn by popularity."""
        shelf, ends, key = self._shelves
        place = np.searchsorted(key, category + rng.random(len(category)), side="right")
        return shelf[np.minimum(place, ends[category] - 1)]  # rounding may reach the next shelf

    @cached_property
    def _shelves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the items by category, where each category ends, and its cumulated shares.

        The shares of category c run from c to c + 1, so that one sorted array serves all.
        """
        shelf = np.argsort(self.category, kind="stable")
        ends = np.cumsum(np.bincount(self.category, minlength=self.tastes.shape[1]))
        cumulated = np.cumsum(self.within[shelf])
        before = np.concatenate([[0.0], cumulated])[np.concatenate([[0], ends[:-1]])]
        category = self.category[shelf]
        return shelf, ends, category + np.clip(cumulated - before[category], 0, 1)

    # --- the truth: what can be known from the history alone ---

    def next_item(
        self, history: Sequences, *, block: int | None = None, exposed: bool = False
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the true distribution of the next item given each history, block by block.

        The events of a history are taken as logged under exposure, so it must not reach past an
        open test event. The items of a history have probability 0.

        Args:
            history: item numbers of the shop, oldest first; a history may be empty.
            block: rows at a time; by default as many as fit about 4 MB.
            exposed: the distribution of what would be logged next, rather than of what the user
                would take if everything were shown.

        Yields:
            (rows, probabilities): a slice of the rows of `history` and (b, N) float64, each row
            1 in sum. Every block is a new array.

        Raises:
            DataError: if a history holds an item twice, the whole catalogue, or a foreign number.
        """
        self._check(history)
        shown = self.exposure if exposed else np.ones(self.n_items)
        size = self._block(block)
        for start in range(0, len(history), size):
            rows = slice(start, min(start + size, len(history)))
            past = _aligned_right(history, rows, self.n_items)
            yield rows, self._predict(self._belief(past), past, shown)

    def best_ranks(
        self, cases: Cases, *, block: int | None = None, exposed: bool = False
    ) -> np.ndarray:
        """Return the rank of each relevant item in the best possible ranking, (C,) int64 from 1.

        Ties count against the item, as everywhere in softrec. See `next_item` for `exposed`.

        Raises:
            DataError: if a case has more than one relevant item.
        """
        if not cases.single:
            raise DataError(
                "the true distribution is of one next item, but some cases have "
                f"{cases.relevant.lengths.max():,} relevant items; split by leave_last_out"
            )
        self._check(cases.relevant)
        ranks = np.empty(len(cases), dtype=np.int64)
        for rows, chances in self.next_item(cases.history, block=block, exposed=exposed):
            own = chances[np.arange(len(chances)), cases.relevant.items[rows]]
            ranks[rows] = (chances >= own[:, None]).sum(axis=1)
        return ranks

    def best_items(
        self, cases: Cases, k: int, *, block: int | None = None, exposed: bool = False
    ) -> np.ndarray:
        """Return the k most probable next items of each case, (C, k) int64, best first.

        No other list has a higher expected hit@k or NDCG@k. See `next_item` for `exposed`.
        """
        _require(1 <= k <= self.n_items, "k", k, f"from 1 to the {self.n_items:,} items")
        best = np.empty((len(cases), k), dtype=np.int64)
        for rows, chances in self.next_item(cases.history, block=block, exposed=exposed):
            top = np.argpartition(-chances, k - 1, axis=1)[:, :k]
            order = np.argsort(-np.take_along_axis(chances, top, axis=1), axis=1)
            best[rows] = np.take_along_axis(top, order, axis=1)
        return best

    def expected_metrics(
        self,
        cases: Cases,
        items: np.ndarray,
        k: int | None = None,
        *,
        block: int | None = None,
        exposed: bool = False,
    ) -> Expected:
        """Return the exact expectation of hit@k and NDCG@k of any model's lists, per case.

        It asks how probable each listed item is, rather than whether it was the one that came:
        the same mean as the metrics of the test events, without the chance in those events. The
        distance to the best is what `best_items` gets, less this.

        Args:
            cases: whose histories the lists answer; the relevant items play no part.
            items: (C, K) item numbers, best first. A number outside 0 .. N-1 is an empty place.
            k: how much of the lists counts; all of it by default.
            block: rows at a time, see `next_item`.
            exposed: see `next_item`.

        Raises:
            DataError: if the lists do not fit the cases or name an item twice.

        Example:
            >>> from softrec.data.splits import leave_last_out
            >>> small = shop(n_items=50, n_categories=5)
            >>> log = small.simulate(n_users=20)
            >>> test = leave_last_out(log, cold="keep").cases("test")
            >>> best = small.expected_metrics(test, small.best_items(test, 10))
            >>> popular = np.tile(np.argsort(-log.item_counts)[:10], (20, 1))
            >>> bool((small.expected_metrics(test, popular).ndcg <= best.ndcg).all())
            True
        """
        listed = self._lists(cases, items, k)
        present = (listed >= 0) & (listed < self.n_items)
        discount = 1 / np.log2(np.arange(listed.shape[1]) + 2)
        expected = Expected(np.empty(len(cases)), np.empty(len(cases)))
        for rows, chances in self.next_item(cases.history, block=block, exposed=exposed):
            places = np.where(present[rows], listed[rows], 0)
            chance = np.take_along_axis(chances, places, axis=1) * present[rows]
            expected.hit[rows] = chance.sum(axis=1)
            expected.ndcg[rows] = chance @ discount
        return expected

    def _lists(self, cases: Cases, items: np.ndarray, k: int | None) -> np.ndarray:
        """Return the first k columns of `items` once they are fit to be judged."""
        listed = np.asarray(items)
        if listed.ndim != 2 or len(listed) != len(cases):
            raise DataError(
                f"expected one list of items for each of the {len(cases):,} cases, an array of "
                f"shape ({len(cases)}, K); got shape {listed.shape}"
            )
        if k is not None:
            _require(1 <= k <= listed.shape[1], "k", k, f"from 1 to the lists' {listed.shape[1]}")
            listed = listed[:, :k]
        ordered = np.sort(listed, axis=1)
        twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] < self.n_items)
        wrong = (twice & (ordered[:, 1:] >= 0)).any(axis=1)
        if wrong.any():
            raise DataError(
                f"{wrong.sum():,} of {len(listed):,} lists name an item twice, such as the list "
                f"of case {wrong.argmax()}; rank each item once"
            )
        return listed

    def _check(self, history: Sequences) -> None:
        """Refuse rows of items that cannot come from this shop."""
        items = history.items[history.offsets[0] : history.offsets[-1]]
        row = np.repeat(np.arange(len(history)), history.lengths)
        remedy = "give histories of this shop's own log, in the shop's item numbers"
        foreign = (items < 0) | (items >= self.n_items)
        if foreign.any():
            raise DataError(
                f"expected items 0 to {self.n_items - 1}, got {items[foreign][0]} in "
                f"row {row[foreign][0]}; {remedy}"
            )
        order = np.sort(row * self.n_items + items)
        again = order[1:] == order[:-1]
        if again.any():
            place, item = divmod(int(order[1:][again][0]), self.n_items)
            raise DataError(
                f"users of this shop take no item twice, but row {place} has item "
                f"{item} again; {remedy}"
            )
        full = history.lengths >= self.n_items
        if full.any():
            raise DataError(
                f"row {full.argmax()} holds the whole catalogue, so nothing can "
                "come next; leave it out"
            )

    def _block(self, block: int | None) -> int:
        """Return how many rows of N probabilities to hold at a time."""
        if block is None:
            return max(64, _CELLS // self.n_items)
        _require(block >= 1, "block", block, "at least 1")
        return block

    def _belief(self, past: np.ndarray) -> np.ndarray:
        """Return P(m | h) for the next wish, (b, M), by forward filtering.

        See Rabiner, A Tutorial on Hidden Markov Models, Proc. IEEE 77(2), 1989, section III.A;
        here what a mood emits depends on the earlier items too, which changes nothing.
        """
        belief = np.tile(self.prior, (len(past), 1))
        for column in range(past.shape[1]):
            rows = np.flatnonzero(past[:, column] < self.n_items)
            earlier, item = past[rows, :column], past[rows, column]
            pull = self._pull(earlier)
            # How likely the item was to be shown is the same in every mood and cancels.
            seen = belief[rows] * self._weight(pull, item)
            seen /= self._mass(pull, earlier, self.exposure)
            seen /= seen.sum(axis=1, keepdims=True)
            belief[rows] = (1 - self.drift) * seen + self.drift * self.prior
        return belief

    def _predict(self, belief: np.ndarray, past: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Return sum_m belief_m w_m(i | h) shown_i / Z_m(h) over the items not in h, (b, N)."""
        pull = self._pull(past)
        share = belief / self._mass(pull, past, shown)
        total = share.sum(axis=1, keepdims=True)
        by_category = pull.taste[:, None] * (share @ self.tastes) + total * pull.category
        chances = by_category[:, self.category]
        chances *= (1 - self.noise) * self.within
        row = np.arange(len(past))[:, None]
        np.add.at(chances, (row, pull.items), (1 - self.noise) * total * pull.weight)
        chances += self.noise / self.n_items * total
        chances *= shown
        known, there = self._known(past)
        rows, _ = np.nonzero(there)
        chances[rows, known[there]] = 0.0
        return chances

    def _weight(self, pull: _Pull, item: np.ndarray) -> np.ndarray:
        """Return w_m(item | h), (b, M)."""
        category = self.category[item]
        taste = pull.taste[:, None] * self.tastes.T[category]
        by_category = taste + pull.category[np.arange(len(item)), category][:, None]
        paired = (pull.weight * (pull.items == item[:, None])).sum(axis=1)
        by_item = by_category * self.within[item][:, None] + paired[:, None]
        return (1 - self.noise) * by_item + self.noise / self.n_items

    def _mass(self, pull: _Pull, past: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Return Z_m(h), the sum of w_m(i | h) shown_i over the items not in h, (b, M)."""
        by_category = self._unseen(self.within * shown, past)
        taste = pull.taste[:, None] * (by_category @ self.tastes.T)
        is_new = ~(pull.items[:, :, None] == past[:, None, :]).any(axis=2)
        paired = (pull.weight * shown[pull.items] * is_new).sum(axis=1)
        pulled = (pull.category * by_category).sum(axis=1) + paired
        uniform = self._unseen(shown, past).sum(axis=1) / self.n_items
        return (1 - self.noise) * (taste + pulled[:, None]) + self.noise * uniform[:, None]

    def _unseen(self, amount: np.ndarray, past: np.ndarray) -> np.ndarray:
        """Return the sum of `amount` (N,) over each category's items not in `past`, (b, C)."""
        n_categories = self.tastes.shape[1]
        whole = np.bincount(self.category, weights=amount, minlength=n_categories)
        known, there = self._known(past)
        cell = np.arange(len(past))[:, None] * n_categories + self.category[known]
        seen = np.bincount(
            cell[there], weights=amount[known[there]], minlength=len(past) * n_categories
        )
        return np.maximum(whole - seen.reshape(len(past), n_categories), 0.0)

    def _pull(self, past: np.ndarray) -> _Pull:
        """Return what the last two items of `past` (b, L) pull towards.

        A history of one item pulls with that one alone; an empty one leaves all to taste.
        """
        recent, there = self._known(past[:, :-3:-1])
        weight = np.array([1 - self.memory, self.memory])[: recent.shape[1]] * there
        total = weight.sum(axis=1, keepdims=True)
        weight = self.stickiness * np.divide(weight, total, out=weight, where=total > 0)
        category = np.zeros((len(past), self.tastes.shape[1]))
        row = np.arange(len(past))[:, None]
        np.add.at(category, (row, self.category[recent]), (1 - self.complementarity) * weight)
        paired = self.complementarity * weight[:, :, None] * self.complement_weight
        items = self.complements[recent]
        flat = (len(past), recent.shape[1] * len(self.complement_weight))
        return _Pull(1 - weight.sum(axis=1), category, items.reshape(flat), paired.reshape(flat))

    def _known(self, past: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with padding replaced by item 0, and where there is no padding."""
        there = past < self.n_items
        return np.where(there, past, 0), there


def shop(
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
    """Draw a shop from dials.

    Args:
        n_items: items of the catalogue.
        n_categories: categories, filled at random with at least one item each.
        n_archetypes: kinds of users; a user's mood is one of them at a time.
        interests: categories that an archetype cares for.
        skew: exponent of Zipf's law, for the items of a category and for the categories that
            archetypes care for; 0 is none.
        stickiness: the share of the last two items in a wish; the rest is the archetype's taste.
        complementarity: the share of complements in what those items pull towards; the rest is
            more of the same category.
        n_complements: complements of an item, all in one other category; the s-th weighs 1 / s.
        memory: the share of the item before the last in that pull.
        drift: the probability of a new mood before a wish.
        noise: the share of wishes that are uniform over the catalogue; above 0, so that a user
            always has something left to wish for.
        exposure_floor: the probability that an item nobody cares for is shown when wished. An
            item is shown with probability floor + (1 - floor) sqrt(popularity / highest one); 1
            shows everything.
        seed: of the shop; the users have their own.

    Raises:
        RecipeError: if a dial is out of its range.

    Example:
        >>> small = shop(n_items=60, n_categories=4, interests=2)
        >>> log = small.simulate(n_users=30)
        >>> (rows, truth), = small.next_item(log.sequences, exposed=True)
        >>> truth.shape, bool(np.allclose(truth.sum(axis=1), 1))
        ((30, 60), True)
    """
    _require(n_items >= 2, "n_items", n_items, "at least 2")
    _require(1 <= n_categories <= n_items, "n_categories", n_categories, "from 1 to n_items")
    _require(n_archetypes >= 1, "n_archetypes", n_archetypes, "at least 1")
    _require(1 <= interests <= n_categories, "interests", interests, "from 1 to n_categories")
    _require(n_complements >= 1, "n_complements", n_complements, "at least 1")
    _require(0 <= skew < np.inf, "skew", skew, "0 or more")
    _require(0 <= memory < 1, "memory", memory, "from 0 to below 1")
    _require(seed >= 0, "seed", seed, "0 or more")
    shares = {"stickiness": stickiness, "complementarity": complementarity, "drift": drift}
    for name, share in shares.items():
        _require(0 <= share <= 1, name, share, "from 0 to 1")
    for name, share in {"noise": noise, "exposure_floor": exposure_floor}.items():
        _require(0 < share <= 1, name, share, "above 0 and at most 1")

    rng = np.random.default_rng([_SHOP, seed])
    extra = rng.integers(n_categories, size=n_items - n_categories)
    category = rng.permutation(np.concatenate([np.arange(n_categories), extra]))
    within = _shares_within(rng, category, skew)
    tastes = _tastes(rng, n_archetypes, n_categories, interests, skew)
    prior = np.full(n_archetypes, 1 / n_archetypes)
    popularity = (prior @ tastes)[category] * within
    return Shop(
        category=category,
        within=within,
        exposure=exposure_floor + (1 - exposure_floor) * np.sqrt(popularity / popularity.max()),
        tastes=tastes,
        prior=prior,
        complements=_complements(rng, category, n_categories, n_complements),
        complement_weight=_zipf(n_complements, 1.0),
        memory=memory,
        noise=noise,
        **shares,
    )


def _zipf(n: int, skew: float) -> np.ndarray:
    """Return the shares of ranks 1 .. n under Zipf's law, (n,): rank ** -skew, 1 in sum."""
    weight = np.arange(1, n + 1, dtype=np.float64) ** -skew
    return weight / weight.sum()


def _shares_within(rng: np.random.Generator, category: np.ndarray, skew: float) -> np.ndarray:
    """Return each item's share of its category, (N,), by Zipf's law over a random order."""
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
    """Return each archetype's distribution over categories, (M, C), 0 but for its interests."""
    # The largest of log p + Gumbel noise are draws by p without replacement.
    score = rng.gumbel(size=(n_archetypes, n_categories))
    score -= skew * np.log(np.arange(1, n_categories + 1))
    chosen = np.argsort(-score, axis=1)[:, :interests]
    tastes = np.zeros((n_archetypes, n_categories))
    shares = rng.dirichlet(np.ones(interests), size=n_archetypes)
    np.put_along_axis(tastes, chosen, shares, axis=1)
    return tastes


def _complements(
    rng: np.random.Generator, category: np.ndarray, n_categories: int, n_complements: int
) -> np.ndarray:
    """Return each item's complements, (N, S), uniform over the category that goes with its own."""
    ring = rng.permutation(n_categories)
    partner = np.empty(n_categories, dtype=np.int64)
    partner[ring] = np.roll(ring, -1)
    counts = np.bincount(category, minlength=n_categories)
    shelf, starts = np.argsort(category, kind="stable"), np.cumsum(counts) - counts
    wanted = partner[category][:, None]
    place = rng.integers(counts[wanted], size=(len(category), n_complements))
    return shelf[starts[wanted] + place]


def _aligned_right(history: Sequences, rows: slice, padding: int) -> np.ndarray:
    """Return the given rows as one table (b, L), padded on the left."""
    lengths = history.lengths[rows]
    table = np.full((len(lengths), lengths.max(initial=0)), padding)
    there = np.arange(table.shape[1]) >= table.shape[1] - lengths[:, None]
    table[there] = history.items[history.offsets[rows.start] : history.offsets[rows.stop]]
    return table


def _times(rng: np.random.Generator, offsets: np.ndarray) -> np.ndarray:
    """Return times in seconds, int64: users start over one year and come every few days."""
    lengths = np.diff(offsets)
    gaps = 1 + rng.exponential(_GAP, size=offsets[-1]).astype(np.int64)
    passed = np.cumsum(gaps)
    start = _EPOCH + rng.integers(_YEAR, size=len(lengths)) - passed[offsets[:-1]]
    return passed + np.repeat(start, lengths)


def _require(holds: bool | np.bool_, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise RecipeError(f"{name} must be {wanted}; got {value}")
