"""What is compared, with the sizes that all libraries share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """A task of all `peers`.

    Attributes:
        about: one line for the table.
        source: a data set of softrec, split by leave-last-out.
        peers: the libraries that can do it; the first is the one that others are compared with.
        epochs: how many each trains.
        k: the length of the lists.
        sizes: passed to each script.
    """

    about: str
    source: str
    peers: tuple[str, ...]
    epochs: int
    k: int = 10
    sizes: dict[str, Any] = field(default_factory=dict)


TASKS = {
    "sasrec": Task(
        "SASRec, cross-entropy over all items at every position of the last 51 items of each user",
        "movielens-1m-sasrec",
        ("softrec", "replay", "rectools"),
        epochs=6,
        sizes={"dim": 64, "layers": 2, "heads": 1, "length": 50, "batch": 128, "lr": 1e-3,
               "dropout": 0.2},
    ),
    "mf": Task(
        "matrix factorisation with BPR and one negative for each event",
        "movielens-1m-sasrec",
        ("softrec", "recbole", "implicit", "cornac"),
        epochs=10,
        # The two that are written in C++ make a step of SGD for each event, and have a rate of
        # their own for it.
        sizes={"dim": 64, "batch": 2048, "lr": 1e-3, "sgd_lr": 0.05, "l2": 1e-5, "sgd_l2": 0.002},
    ),
}  # fmt: skip
