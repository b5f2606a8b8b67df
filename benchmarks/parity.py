"""How far exports are from their models: scores and lists of the same histories."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from benchmarks.timing import Row, Side
from softrec.data.interactions import Interactions
from softrec.experiments.build.model import events
from softrec.models.registry import MODELS
from softrec.serving.exported import ExportedRecommender
from softrec.serving.exporting.parity import parity as compare
from softrec.serving.exporting.write import write_files, write_manifest
from softrec.serving.recommender import Recommender
from softrec.types import Encoder


@dataclass(frozen=True)
class Shapes:
    """Users and N items of the log, longest history, histories that are compared."""

    users: int = 20_000
    n_items: int = 5_000
    length: int = 20
    histories: int = 10_000


QUICK = Shapes(users=60, n_items=80, length=5, histories=20)
QUICKLY = ("gru4rec", "mf")


def parity(shapes: Shapes) -> list[Row]:
    """Export each backbone with its defaults and compare it with its model."""
    log = _log(shapes)
    names = QUICKLY if shapes == QUICK else tuple(MODELS)
    models = {name: _model(name, log, shapes) for name in names}
    return [_row(name, model(), log, shapes) for name, model in models.items() if model]


def _log(s: Shapes) -> Interactions:
    """Return a log of 2 to 30 events a user, with times."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(s.users), rng.integers(2, 31, s.users))
    item = np.minimum(rng.zipf(1.2, len(user)) - 1, s.n_items - 1)
    item[: s.n_items] = np.arange(s.n_items)
    time = rng.integers(0, 10**6, len(user))
    return Interactions.read(pl.DataFrame({"user": user, "item": item, "time": time}))


def _model(name: str, log: Interactions, s: Shapes) -> Callable[[], Encoder] | None:
    """Return a function that makes a model; None for those that are counted."""
    kind = MODELS[name]
    if not (isinstance(kind, type) and issubclass(kind, Encoder)):
        return None
    given = {"length": s.length, "n_users": log.n_users, "edges": events(log)}
    known = kind.__init__.__code__.co_varnames
    return lambda: kind(log.n_items, **{n: value for n, value in given.items() if n in known})


def _row(name: str, model: Encoder, log: Interactions, s: Shapes) -> Row:
    torch.manual_seed(0)
    with (
        torch.no_grad()
    ):  # weights as large as after a training; at the start all scores are near 0
        for part in model.parameters():
            part += 0.1 * torch.randn_like(part)
    run = Recommender(model, log, length=s.length)
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(Path(folder), write_files(run, Path(folder)), {})
        found = compare(run, ExportedRecommender(folder), s.histories)
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
    worst, scale = found["largest_difference"], found["largest_score"]
    note = (
        f"{name}: largest score {scale:.3g}, largest difference {worst:.1e}, equal top-20 lists "
        f"{found['equal_lists']:.2%}, but for ties {found['equal_but_ties']:.2%}, .pt2 "
        f"{found.get('largest_difference_pt2', 0):.1e}, {size:.1f} MiB"
    )
    return Row(
        f"{name}, N {log.n_items:,}", Side("largest difference", worst, worst),
        Side("largest score", scale, scale), max(worst / scale, 1e-12), None, unit="",
        notes=(note,),
    )  # fmt: skip
