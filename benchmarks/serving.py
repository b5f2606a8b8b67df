"""Recommendations for one user, and for many beside implicit, if it is installed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_matrix

from benchmarks.implicit import IMPLICIT, without
from benchmarks.timing import Bar, Row, Side, paired
from softrec.data.interactions import Interactions
from softrec.data.vocabulary import Vocabulary
from softrec.models.mf import MF
from softrec.models.sasrec import SASRec
from softrec.serving import Recommender
from softrec.types import Encoder


@dataclass(frozen=True)
class Shapes:
    """Users and N items of the log, width D, items a history, users asked at once, calls."""

    users: int = 62_502
    n_items: int = 43_229
    dim: int = 64
    length: int = 20
    many: int = 10_000
    calls: int = 1000
    k: int = 10
    repeats: int = 5


QUICK = Shapes(users=300, n_items=400, dim=8, many=50, calls=20, repeats=2)
BARS = {"sasrec": {"p50": 1.0, "p99": 2.0}, "mf": {"p50": 0.4}}


def serving(shapes: Shapes) -> list[Row]:
    """Time `Recommender.recommend`."""
    torch.manual_seed(0)
    log = _log(shapes)
    models: dict[str, Encoder] = {
        "sasrec": SASRec(shapes.n_items, dim=shapes.dim, length=shapes.length),
        "mf": MF(shapes.n_items, n_users=shapes.users, dim=shapes.dim),
    }
    rows = []
    for name, model in models.items():
        served = Recommender(model, log, length=shapes.length)
        rows += _one(name, served, shapes)
        rows.append(_many(name, served, shapes))
    return rows if IMPLICIT is not None else [without(rows[0]), *rows[1:]]


def _log(s: Shapes) -> Interactions:
    """Return a log of 2 to 15 events a user."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(s.users), rng.integers(2, 16, s.users))
    frame = pl.DataFrame({"user": user, "item": rng.integers(0, s.n_items, len(user))})
    users, items = (
        Vocabulary(pl.Series("raw", [f"{kind}{number:07d}" for number in range(n)]))
        for kind, n in (("u", s.users), ("i", s.n_items))
    )
    return Interactions(frame, users, items)


def _one(name: str, served: Recommender, s: Shapes) -> list[Row]:
    """Return the rows of one user at a time, another one each time."""
    asked = [f"u{number:07d}" for number in np.arange(s.calls) * 97 % s.users]
    for user in asked[:20]:
        served.recommend(user, s.k)
    taken = []
    for user in asked:
        begin = time.perf_counter()
        served.recommend(user, s.k)
        taken.append(1e3 * (time.perf_counter() - begin))
    of = {"p50": float(np.quantile(taken, 0.5)), "p99": float(np.quantile(taken, 0.99))}
    work = f"{name}, one user, N {s.n_items:,}, D {s.dim}, {torch.get_num_threads()} threads"
    least = min(taken)
    return [
        Row(
            work,
            Side(part, of[part], least),
            None,
            of[part],
            Bar(limit, "at most", f"milliseconds, {part}"),
            notes=(f"{part} {of[part]:.2f} ms, the least {least:.2f} ms",),
        )
        for part, limit in BARS[name].items()
    ]


def _many(name: str, served: Recommender, s: Shapes) -> Row:
    """Return the row of many users at once."""
    chosen = np.arange(s.many) * 7 % s.users
    asked = [f"u{number:07d}" for number in chosen]
    work = f"{name}, {s.many:,} users at once, N {s.n_items:,}, D {s.dim}"

    def ours() -> object:
        return served.recommend(asked, s.k)

    theirs = _of_implicit(served.log, chosen, s)
    pair = paired(ours, ours if theirs is None else theirs, s.repeats)
    users = [1e3 * s.many / ms for ms in pair.a]
    note = f"{max(users):,.0f} users a second at best, {np.median(users):,.0f} in the median"
    if theirs is None:
        return Row(work, Side.of("recommend", pair.a), None, 1.0, None, notes=(note,))
    bar = Bar(2.0, "at least", "speedup")
    return pair.speedup(work, "recommend", "implicit, ALS", bar, (note,))


def _of_implicit(log: Interactions, chosen: np.ndarray, s: Shapes) -> Callable[[], object] | None:
    """Return the same number of recommendations by implicit, whose models have one user vector."""
    if IMPLICIT is None:
        return None
    user, item = log.frame["user"].to_numpy(), log.frame["item"].to_numpy()
    ones = np.ones(len(user), dtype=np.float32)
    events = csr_matrix((ones, (user, item)), (s.users, s.n_items))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it advises other settings of BLAS
        model = IMPLICIT.als.AlternatingLeastSquares(
            factors=s.dim, num_threads=torch.get_num_threads()
        )
    rng = np.random.default_rng(1)
    model.user_factors = rng.standard_normal((s.users, s.dim), dtype=np.float32)
    model.item_factors = rng.standard_normal((s.n_items, s.dim), dtype=np.float32)
    return lambda: model.recommend(chosen, events[chosen], N=s.k)
