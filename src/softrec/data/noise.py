"""False positives: random items among the items that users are said to have chosen."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl
import torch

from softrec.data.interactions import Interactions
from softrec.interacted import Interacted

Contamination = Literal["replace", "add"]
STREAM = 1  # so that the numbers are not those of a random split with the same seed


def contaminated(
    log: Interactions, share: float, how: Contamination = "replace", seed: int = 0
) -> Interactions:
    r"""Return a training part in which a share of the positives is false.

    $$m_u = \lfloor n_u \cdot share + r_u \rfloor \qquad r_u \sim U[0, 1)$$

    Of the n_u events of a user m_u are chosen at random, and each gets, or is followed by, an item
    drawn uniformly from the items that the user has no event with. Place, time and weight are those
    of the chosen event. Users who have all items stay as they are. All shares use the same random
    numbers, so that the false positives of a smaller share are among those of a larger one.

    Args:
        log: the training part.
        share: of each user's events, from 0 to 1.
        how: "replace" gives the chosen events another item, "add" leaves them and adds events.
        seed: of the choices.

    Example:
        >>> from softrec.data.interactions import Sequences
        >>> log = Interactions.from_sequences(Sequences.of([[0, 1, 2, 3], [9, 8, 7, 6]]))
        >>> noisy = contaminated(log, 0.5)
        >>> (noisy.sequences.items != log.sequences.items).reshape(2, 4).sum(1).tolist()
        [2, 2]
        >>> contaminated(log, 0.5, "add").sequences.lengths.tolist()
        [6, 6]

    Source: "add" is the protocol of Wu et al., "BSL: Understanding and Improving Softmax Loss for
    Recommendation", ICDE 2024, by its authors' code, which rounds down.
    """
    frame = log.ordered
    user, item = (frame[kind].to_numpy().astype(np.int64) for kind in ("user", "item"))
    rng = np.random.default_rng([seed, STREAM])
    rounding, turn, which = rng.random(log.n_users), rng.random(len(user)), rng.random(len(user))
    seen = Interacted(torch.from_numpy(user), torch.from_numpy(item), log.n_users, log.n_items)
    others = seen.n_negatives(torch.from_numpy(user)).numpy()
    number = np.floor(log.user_counts * share + rounding)
    chosen = np.flatnonzero((_turn_of(user, turn, log.user_counts) < number[user]) & (others > 0))
    drawn = np.minimum((which * others).astype(np.int64), others - 1)
    false = seen.nth_negative(*(torch.from_numpy(each[chosen]) for each in (user, drawn[:, None])))
    place = np.arange(len(user))
    if how == "add":
        place = np.insert(place, chosen + 1, chosen)
        item = item[place]
        chosen = chosen + 1 + np.arange(len(chosen))
    item[chosen] = false[:, 0].numpy()
    made = frame[place].with_columns(item=pl.Series(item, dtype=frame["item"].dtype))
    return replace(log, frame=made)


def _turn_of(user: np.ndarray, turn: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the place of each event among those of its user in the order of `turn`, (E,)."""
    order = np.lexsort((turn, user))
    place = np.empty(len(user), dtype=np.int64)
    place[order] = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    return place
