"""The contract of a scorer: a model that is counted and not trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from softrec.testing.answers import check_scores, filled
from softrec.testing.checking import require, require_close
from softrec.testing.encoders import LENGTHS, at_every_step, padded
from softrec.types import Batch, Events, Scorer
from softrec.types.model import LARGEST_GRID


def sample_events(n_items: int, *, n_users: int = 20, seed: int = 0) -> Events:
    """Return events of users with 0 to 7 items each, with repeats and increasing times.

    The last two items have none, as it may be in a log, so that counts need a minimal length.

    Example:
        >>> events = sample_events(8, n_users=3)
        >>> len(events.offsets), len(events.items) == len(events.times)
        (4, True)
    """
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 8, (n_users,), generator=draw)
    lengths[1] = 0
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    items = torch.randint(0, n_items - 2, (int(offsets[-1]),), generator=draw)
    times = 1_600_000_000 + torch.randint(0, 1000, (len(items),), generator=draw).cumsum(0)
    return Events(offsets, items, times)


def table(scorer: Scorer, batch: Batch) -> Tensor:
    """Return all scores of a batch, (P, N), in one block.

    Raises:
        AssertionError: if they have another shape, or are not finite.
    """
    scores = check_scores(scorer, batch)
    return filled(scores, slice(0, len(scores)))


def check_scorer(make_scorer: Callable[[], Scorer], n_items: int) -> None:
    """Check shapes, blocks, padding, steps, determinism and saving of a scorer.

    Args:
        make_scorer: makes a new scorer that is not fitted.
        n_items: size N of its catalogue, 8 or more.

    Raises:
        AssertionError: if the scorer breaks a rule.
    """
    require(n_items >= 8, f"the contract needs 8 items or more, got {n_items}")
    events = sample_events(n_items)
    scorer = make_scorer()
    _check_class(scorer, n_items)
    scorer.fit(events)
    scorer.eval()
    draw = torch.Generator().manual_seed(1)
    histories = [torch.randperm(n_items, generator=draw)[:k].tolist() for k in LENGTHS]
    batch = padded(histories, n_items)
    with torch.no_grad():
        whole = table(scorer, batch)
        _check_scores(scorer, batch, whole)
        _check_histories(scorer, histories, whole)
        _check_steps(scorer, histories)
    _check_fit(make_scorer, events, scorer, batch, whole)


def _check_class(scorer: Scorer, n_items: int) -> None:
    require(isinstance(scorer, Scorer), f"a scorer is a softrec.types.Scorer, got {type(scorer)}")
    own = getattr(scorer, "n_items", "not set")
    require(own == n_items, f"n_items is {own}, expected {n_items}: set it in __init__")
    known = inspect.signature(type(scorer)).parameters
    for name in (*scorer.GRID, *scorer.SCORING):
        require(name in known, f"{name} of GRID or SCORING is no argument of {scorer.name}")
    size = prod(len(values) for values in scorer.GRID.values())
    require(size <= LARGEST_GRID, f"GRID has {size} combinations, {LARGEST_GRID} are the most")
    require(
        not list(scorer.parameters()), "a scorer has buffers, no parameters: nothing is trained"
    )


def _check_scores(scorer: Scorer, batch: Batch, whole: Tensor) -> None:
    scores = scorer(batch)
    require(whole.dtype == scores.like.dtype, f"like is {scores.like.dtype}, scores {whole.dtype}")
    for row in range(len(scores)):
        out = whole.new_full((1, scorer.n_items), 7.0)
        require_close(
            scores.fill(slice(row, row + 1), out),
            whole[row : row + 1],
            "a row alone is not as in a block",
        )
    items = torch.arange(scorer.n_items).flip(0).expand(len(scores), -1)[:, :3]
    found = scores.at(slice(0, len(scores)), items)
    require_close(found, whole.gather(1, items), "at() disagrees with fill()")


def _check_histories(scorer: Scorer, histories: list[list[int]], whole: Tensor) -> None:
    for side in ("left", "right"):
        again = table(scorer, padded(histories, scorer.n_items, side=side, extra=2))
        require_close(again, whole, f"padding on the {side} changes scores")
    for row, history in enumerate(histories):
        alone = table(scorer, padded([history], scorer.n_items, users=[row]))
        require_close(alone, whole[row : row + 1], "scores depend on other rows")


def _check_steps(scorer: Scorer, histories: list[list[int]]) -> None:
    batch = at_every_step(padded(histories, scorer.n_items), LENGTHS)
    cuts = [(row, end) for row, length in enumerate(LENGTHS) for end in range(1, length + 1)]
    prefixes = padded([histories[row][:end] for row, end in cuts], scorer.n_items,
                      users=[row for row, _ in cuts])  # fmt: skip
    found = table(scorer, batch)
    require_close(found, table(scorer, prefixes), "at a step within a history, later items count")


def _check_fit(
    make_scorer: Callable[[], Scorer], events: Events, scorer: Scorer, batch: Batch, whole: Tensor
) -> None:
    again = make_scorer()
    again.fit(events)
    state, other = scorer.state_dict(), again.state_dict()
    same = state.keys() == other.keys() and all(state[n].equal(other[n]) for n in state)
    require(same, "two fits of the same events differ")
    loaded = make_scorer()
    loaded.load_state_dict({name: part.clone() for name, part in state.items()})
    require_close(table(loaded.eval(), batch), whole, "a scorer that was saved scores otherwise")
    other_events = sample_events(scorer.n_items, seed=9)
    again.fit(other_events)
    fresh = make_scorer()
    fresh.fit(other_events)
    same = all(part.equal(fresh.state_dict()[n]) for n, part in again.state_dict().items())
    require(same, "a second fit remembers the first")
