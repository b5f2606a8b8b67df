"""Contracts that every target, loss, encoder and scorer keeps, for ours and for yours.

Each `check_*` is a plain function that raises `AssertionError` with what is wrong; put it in a
test and parametrise as you like. `oracles` are the definitions, written out over whole tables in
float64, that everything faster is compared with.

Example:
    >>> from softrec.targets.smoothing import UniformTarget
    >>> check_target(UniformTarget(7), n_items=7, rows=3)
"""

from softrec.renamed import former_names
from softrec.testing.encoders import check_encoder
from softrec.testing.known import (
    batch_of,
    best_top1,
    chain,
    checkerboard,
    halves,
    noise,
    popular_probabilities,
)
from softrec.testing.learning import check_learns, check_learns_nothing_from_noise, ranks, trained
from softrec.testing.losses import SoftmaxCase, check_loss, check_pass, from_logits, random_case
from softrec.testing.scorers import check_scorer
from softrec.testing.targets import check_target

__all__ = [
    "SoftmaxCase",
    "batch_of",
    "best_top1",
    "chain",
    "check_encoder",
    "check_learns",
    "check_learns_nothing_from_noise",
    "check_loss",
    "check_pass",
    "check_scorer",
    "check_target",
    "checkerboard",
    "from_logits",
    "halves",
    "noise",
    "popular_probabilities",
    "random_case",
    "ranks",
    "trained",
]

__getattr__ = former_names(__name__, {"popular_shares": popular_probabilities})
