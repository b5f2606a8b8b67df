"""The exact distribution of a user's next item, given the history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from softrec.blocks import blocks
from softrec.data.interactions import Sequences
from softrec.data.splits import Cases
from softrec.errors import DataError
from softrec.evaluation.metrics import Ranks, ndcg
from softrec.simulation.shop import Shop, require
from softrec.simulation.wishes import (
    block_size,
    next_item_given,
    pull_of,
    shown_mass,
    wish_probability,
)


class Expected(NamedTuple):
    """Expected metrics under the true distribution, one per case."""

    hit: np.ndarray  # (C,) the probability that the next item is in the list
    ndcg: np.ndarray  # (C,) the sum over ranks r = 1 .. K of p(item at r) / log2(r + 1)


def next_item(
    shop: Shop, history: Sequences, *, block: int | None = None, exposed: bool = False
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the true distribution of the next item given each history, block by block.

    The events of a history are treated as biased by exposure, so a history must not include an open
    test event. The items of a history have probability 0.

    Args:
        shop: the parameters.
        history: item numbers of the shop, oldest first; a history may be empty.
        block: rows at a time; by default as many as need about 4 MB.
        exposed: whether to return the distribution of the next logged item, instead of the item
            that the user would choose if all items were shown.

    Yields:
        (rows, probabilities): a slice of the rows of `history` and (b, N) float64, each row
        sums to 1. Every block is a new array.

    Raises:
        DataError: if a history has an item twice, the whole catalogue, or an unknown number.

    Example:
        >>> from softrec.simulation.log import simulate
        >>> from softrec.simulation.shop import make_shop
        >>> small = make_shop(n_items=60, n_categories=4, interests=2)
        >>> log = simulate(small, n_users=30)
        >>> (rows, truth), = next_item(small, log.sequences, exposed=True)
        >>> truth.shape, bool(np.allclose(truth.sum(axis=1), 1))
        ((30, 60), True)
    """
    _check_histories(shop, history)
    shown = shop.exposure if exposed else np.ones(shop.n_items)
    for rows in blocks(len(history), block_size(shop, block)):
        past = _aligned_right(history, rows, shop.n_items)
        yield rows, next_item_given(shop, _mood_given(shop, past), past, shown)


def best_ranks(
    shop: Shop, cases: Cases, *, block: int | None = None, exposed: bool = False
) -> np.ndarray:
    """Return the rank of each relevant item in the best possible ranking, (C,) int64 from 1.

    Ties count against the item, as everywhere in softrec. See `next_item` for `exposed`.

    Raises:
        DataError: if a case has more than one relevant item.
    """
    if not cases.single:
        raise DataError(
            "the true distribution is that of one next item, but some cases have "
            f"{cases.relevant.lengths.max():,} relevant items; split with leave_last_out"
        )
    _check_histories(shop, cases.relevant)
    ranks = np.empty(len(cases), dtype=np.int64)
    for rows, chances in next_item(shop, cases.history, block=block, exposed=exposed):
        own = chances[np.arange(len(chances)), cases.relevant.items[rows]]
        ranks[rows] = (chances >= own[:, None]).sum(axis=1)
    return ranks


def best_items(
    shop: Shop, cases: Cases, k: int, *, block: int | None = None, exposed: bool = False
) -> np.ndarray:
    """Return the k most probable next items of each case, (C, k) int64, best first.

    No other list has a higher expected hit@k or NDCG@k. See `next_item` for `exposed`.
    """
    require(1 <= k <= shop.n_items, "k", k, f"from 1 to the {shop.n_items:,} items")
    best = np.empty((len(cases), k), dtype=np.int64)
    for rows, chances in next_item(shop, cases.history, block=block, exposed=exposed):
        top = np.argpartition(-chances, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(chances, top, axis=1), axis=1)
        best[rows] = np.take_along_axis(top, order, axis=1)
    return best


def expected_metrics(
    shop: Shop,
    cases: Cases,
    items: np.ndarray,
    k: int | None = None,
    *,
    block: int | None = None,
    exposed: bool = False,
) -> Expected:
    """Return the exact expectation of hit@k and NDCG@k of given lists, per case.

    It uses the true probability of each listed item instead of the item of the test event. So its
    mean is that of the metrics of the test events, without their random error. The regret is the
    result for `best_items` minus this result.

    Args:
        shop: the parameters.
        cases: the histories for which the lists were made; their relevant items are not used.
        items: (C, K) item numbers, best first. A number outside 0 .. N-1 is an empty place.
        k: how many places of the lists count; by default all.
        block: rows at a time, see `next_item`.
        exposed: see `next_item`.

    Raises:
        DataError: if the lists do not fit the cases or name an item twice.

    Example:
        >>> from softrec.data.splits import leave_last_out
        >>> from softrec.simulation.log import simulate
        >>> from softrec.simulation.shop import make_shop
        >>> small = make_shop(n_items=50, n_categories=5)
        >>> log = simulate(small, n_users=20)
        >>> test = leave_last_out(log, cold="keep").cases("test")
        >>> best = expected_metrics(small, test, best_items(small, test, 10))
        >>> popular = np.tile(np.argsort(-log.item_counts)[:10], (20, 1))
        >>> bool((expected_metrics(small, test, popular).ndcg <= best.ndcg).all())
        True
    """
    listed = _checked_lists(shop, cases, items, k)
    present = (listed >= 0) & (listed < shop.n_items)
    gains = _gains(listed.shape[1])
    expected = Expected(np.empty(len(cases)), np.empty(len(cases)))
    for rows, chances in next_item(shop, cases.history, block=block, exposed=exposed):
        places = np.where(present[rows], listed[rows], 0)
        chance = np.take_along_axis(chances, places, axis=1) * present[rows]
        expected.hit[rows] = chance.sum(axis=1)
        expected.ndcg[rows] = chance @ gains
    return expected


def _gains(n: int) -> np.ndarray:
    """Return the NDCG of one relevant item at each of the places 1 .. n, (n,)."""
    place = np.arange(n)
    return ndcg(Ranks(place, place + 1, np.ones(n, dtype=np.int64)), n)


def _mood_given(shop: Shop, past: np.ndarray) -> np.ndarray:
    """Return P(m | h) for the next wish, (b, M), by forward filtering.

    See Rabiner, A Tutorial on Hidden Markov Models, Proc. IEEE 77(2), 1989, section III.A. Here the
    emitted item depends on the earlier items, too, which does not change the recursion.
    """
    belief = np.tile(shop.prior, (len(past), 1))
    for column in range(past.shape[1]):
        rows = np.flatnonzero(past[:, column] < shop.n_items)
        earlier, item = past[rows, :column], past[rows, column]
        pull = pull_of(shop, earlier)
        # The probability that the item was shown is the same in every mood and cancels.
        seen = belief[rows] * wish_probability(shop, pull, item)
        seen /= shown_mass(shop, pull, earlier, shop.exposure)
        seen /= seen.sum(axis=1, keepdims=True)
        belief[rows] = (1 - shop.drift) * seen + shop.drift * shop.prior
    return belief


def _checked_lists(shop: Shop, cases: Cases, items: np.ndarray, k: int | None) -> np.ndarray:
    """Return the first k columns of `items`, after checking them."""
    listed = np.asarray(items)
    if listed.ndim != 2 or len(listed) != len(cases):
        raise DataError(
            f"expected one list of items for each of the {len(cases)} cases, an array of shape "
            f"({len(cases)}, K); got the shape {listed.shape}"
        )
    if k is not None:
        require(1 <= k <= listed.shape[1], "k", k, f"from 1 to the lists' {listed.shape[1]}")
        listed = listed[:, :k]
    ordered = np.sort(listed, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] < shop.n_items)
    wrong = (twice & (ordered[:, 1:] >= 0)).any(axis=1)
    if wrong.any():
        raise DataError(
            f"{wrong.sum():,} of {len(listed):,} lists contain an item twice, such as the list of "
            f"case {wrong.argmax()}; list each item once"
        )
    return listed


def _check_histories(shop: Shop, history: Sequences) -> None:
    """Refuse histories that cannot come from this shop."""
    items = history.items[history.offsets[0] : history.offsets[-1]]
    row = np.repeat(np.arange(len(history)), history.lengths)
    remedy = "give histories of this shop's own log, in the shop's item numbers"
    foreign = (items < 0) | (items >= shop.n_items)
    if foreign.any():
        raise DataError(
            f"expected items 0 to {shop.n_items - 1}, got {items[foreign][0]} in "
            f"row {row[foreign][0]}; {remedy}"
        )
    order = np.sort(row * shop.n_items + items)
    again = order[1:] == order[:-1]
    if again.any():
        place, item = divmod(int(order[1:][again][0]), shop.n_items)
        raise DataError(
            f"users of this shop do not interact with an item twice, but row {place} has item "
            f"{item} again; {remedy}"
        )
    full = history.lengths >= shop.n_items
    if full.any():
        raise DataError(
            f"row {full.argmax()} contains the whole catalogue, so there is no next item; leave "
            "it out"
        )


def _aligned_right(history: Sequences, rows: slice, padding: int) -> np.ndarray:
    """Return the given rows as one table (b, L), padded on the left."""
    lengths = history.lengths[rows]
    table = np.full((len(lengths), lengths.max(initial=0)), padding)
    there = np.arange(table.shape[1]) >= table.shape[1] - lengths[:, None]
    table[there] = history.items[history.offsets[rows.start] : history.offsets[rows.stop]]
    return table
