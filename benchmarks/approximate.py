"""Exact against approximate search: what indices find of the best items, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.timing import Row, Side
from softrec.serving.exact import ItemScores
from softrec.serving.index.kinds import KINDS
from softrec.serving.index.report import Measured, Questions, report


@dataclass(frozen=True)
class Shapes:
    """Numbers N of items, width D, questions, and the best k items of each."""

    n_items: tuple[int, ...] = (43_229,)
    dim: int = 64
    questions: int = 1000
    k: int = 20


QUICK = Shapes((900,), dim=8, questions=20, k=5)
FULL = Shapes((43_229, 262_000))


def approximate(shapes: Shapes) -> list[Row]:
    """Compare the exact ranking with each kind of index."""
    rows = []
    for n_items in shapes.n_items:
        exact, *others = report(
            *mixture(n_items, shapes.dim, shapes.questions), shapes.k, list(KINDS)
        )
        rows += [_row(exact, other, n_items, shapes) for other in others]
    return rows


def mixture(n_items: int, dim: int, questions: int, seed: int = 0) -> tuple[ItemScores, Questions]:
    """Return items and users from a mixture of Gaussians.

    There are 200 kinds of items, the r-th with a share in proportion to r^-0.7. The length of an
    item and its bias grow with the logarithm of its popularity, which is r^-0.8 for the r-th item.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(200, dim))
    share = np.arange(1, 201) ** -0.7
    kinds = rng.choice(200, n_items, p=share / share.sum())
    vectors = centres[kinds] + 0.7 * rng.normal(size=(n_items, dim))
    popular = -0.8 * np.log(rng.permutation(n_items) + 1)
    popular = (popular - popular.min()) / np.ptp(popular)  # 0 .. 1
    vectors *= ((1 + 2 * popular) / np.linalg.norm(vectors, axis=1))[:, None]
    users = centres[rng.choice(200, questions)] + 0.7 * rng.normal(size=(questions, dim))
    users *= 3 / np.linalg.norm(users, axis=1, keepdims=True)
    items = ItemScores(vectors.astype(np.float32), popular.astype(np.float32))
    return items, Questions(users.astype(np.float32))


def _row(exact: Measured, other: Measured, n_items: int, shapes: Shapes) -> Row:
    name = f"{other.kind}, effort {other.effort}"
    ours = Side(f"{name}, p50", other.p50, other.p50)
    note = (
        f"{name}: recall@{shapes.k} {other.recall:.4f}, p50 {other.p50:.2f} ms, p99 "
        f"{other.p99:.2f} ms, {other.mib:.1f} MiB, built in {other.seconds:.1f} s "
        f"({', '.join(f'{what} {value}' for what, value in other.settings.items())})"
    )
    whole = f"exact: p50 {exact.p50:.2f} ms, p99 {exact.p99:.2f} ms, {exact.mib:.1f} MiB"
    return Row(
        f"{name}, N {n_items:,}, D {shapes.dim}", ours, Side("exact, p50", exact.p50, exact.p50),
        exact.p50 / other.p50, None, notes=(note, whole),
    )  # fmt: skip
