"""Diginetica as in SR-GNN and GCE-GNN: sessions cut into a training and a test part by date."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.reading import BROKEN
from softrec.data.sources.base import Counts, Parts, RemoteFile, Source, github
from softrec.data.sources.diginetica import HOMEPAGE, LICENCE
from softrec.data.sources.parsing import content, item_lists, numbered
from softrec.errors import DataError, one_line

COMMIT = "32e2eb918d41d8d60a5fc1271a8c458125e036f6"


LISTS = pl.List(pl.Int64)
# The errors of damaged pickles, according to the documentation of pickle.
BAD_PICKLE = (
    pickle.UnpicklingError, EOFError, ValueError, LookupError, OverflowError, AttributeError,
    TypeError, MemoryError, RecursionError,
)  # fmt: skip


class _NoClasses(pickle.Unpickler):
    """Reads lists, tuples and numbers; a pickle that names a class or a function is refused."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def read(train: Path, test: Path) -> Parts:
    """Read training sessions and test examples; each test session is returned once, completely.

    The published test examples are, for each session, its prefixes with at least two items, from
    the longest to the shortest. The last item of each prefix is the item to predict. The longest
    prefix contains all others, so the test part has only that one: an evaluation at all its
    positions except the first predicts exactly the published examples.
    """
    trained = _train_lists(train)
    tested = _longest(_test_lists(test), test)
    parts = Interactions.together(
        [numbered(trained, train), numbered(tested, test, first=len(trained) + 1)]
    )
    return Parts(train=parts[0], test=parts[1])


def _train_lists(path: Path) -> pl.Series:
    return _series(_unpickled(path), LISTS, path) if _is_pickle(path) else item_lists(path)


def _test_lists(path: Path) -> pl.Series:
    if not _is_pickle(path):
        return item_lists(path)
    pair = _unpickled(path)
    if not (isinstance(pair, tuple | list) and len(pair) == 2):
        raise DataError(f"{path} must be a pair of prefixes and targets")
    prefixes, targets = _series(pair[0], LISTS, path), _series(pair[1], pl.Int64(), path)
    if len(prefixes) != len(targets):
        raise DataError(f"{path} has {len(prefixes):,} prefixes and {len(targets):,} targets")
    return (
        pl.DataFrame({"prefix": prefixes, "target": targets})
        .select(pl.concat_list("prefix", "target"))
        .to_series()
    )


def _longest(examples: pl.Series, path: Path) -> pl.Series:
    """Return the first example of each session, which is its longest."""
    table = pl.DataFrame({"example": examples, "before": examples.shift(1)}).select(
        "example",
        starts=pl.col("before").list.len().fill_null(2) == 2,
        is_rest=pl.col("before").list.head(pl.col("before").list.len() - 1) == pl.col("example"),
    )
    starts = table["starts"]
    if not len(examples) or not bool((starts | table["is_rest"]).all()) or len(examples[-1]) != 2:
        raise DataError(
            f"{path}: the examples of a session must follow each other from the longest to the "
            "one with two items, and each must be the one before it without its last item"
        )
    return examples.filter(starts)


def _is_pickle(path: Path) -> bool:
    return content(path)[:1] == b"\x80"


def _unpickled(path: Path) -> Any:
    try:
        return _NoClasses(io.BytesIO(content(path))).load()
    except BAD_PICKLE as error:
        reason = one_line(str(error), 150)
        raise DataError(f"{path} must be a pickle of plain lists, but {reason}") from error


def _series(values: Any, kind: pl.DataType, path: Path) -> pl.Series:
    try:
        made = pl.Series(values, dtype=kind)
        if made.null_count():
            raise ValueError("a value is missing")
        return made
    except (TypeError, ValueError, OverflowError, AttributeError, *BROKEN) as error:
        reason = one_line(str(error), 150)
        raise DataError(f"{path} must contain numbers only: {reason}") from error


SOURCE = Source(
    name="diginetica-sessions",
    title="Diginetica sessions as in SR-GNN and GCE-GNN",
    files=(
        RemoteFile(
            "all_train_seq.txt",
            github("CCIIPLab/GCE-GNN", COMMIT, "datasets/diginetica/all_train_seq.txt"),
            local=("diginetica-sessions/train_sessions.txt",),
        ),
        RemoteFile(
            "test.txt",
            github("CCIIPLab/GCE-GNN", COMMIT, "datasets/diginetica/test.txt"),
            local=("diginetica-sessions/test_prefixes.txt",),
        ),
    ),
    read=read,
    licence=LICENCE,
    citation=(
        "CIKM Cup 2016 Track 2: Personalized E-Commerce Search Challenge, DIGINETICA.\n"
        "S. Wu et al. Session-based Recommendation with Graph Neural Networks. AAAI 2019. "
        "https://arxiv.org/abs/1811.00855\n"
        "Z. Wang et al. Global Context Enhanced Graph Neural Networks for Session-based "
        "Recommendation. SIGIR 2020. https://arxiv.org/abs/2106.05081"
    ),
    homepage=HOMEPAGE,
    split={"split": "given", "valid": 0.1, "cold": "keep", "every_position": True},
    counts=Counts(202_633, 43_097, 982_961),
    notes=(
        "Items repeat inside sessions. 186,670 sessions to train, 15,963 to test; asked at every "
        "position but the first, the test sessions are the 60,858 published examples. The address "
        "gives pickles, of which only plain lists are read; also read as text, one list a line."
    ),
)
