"""Contract tests for targets, losses, encoders and scorers, of softrec and of your own.

Each `check_*` is a plain function that raises `AssertionError` with a message; call it in a test,
parametrised as you like. `oracles` has the definitions over whole tables in float64, with which all
faster code is compared.

Example:
    >>> from softrec.targets.smoothing import UniformTarget
    >>> check_target(UniformTarget(7), n_items=7, rows=3)
"""

from typing import TYPE_CHECKING, Any

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
from softrec.testing.members import (
    check_candidates,
    check_metric,
    check_pairs,
    check_softmax,
    check_weights,
)
from softrec.testing.scorers import check_scorer
from softrec.testing.targets import check_target

if TYPE_CHECKING:
    from softrec.testing.registered import Checked, check_registered

__all__ = [
    "Checked",
    "SoftmaxCase",
    "batch_of",
    "best_top1",
    "chain",
    "check_candidates",
    "check_encoder",
    "check_learns",
    "check_learns_nothing_from_noise",
    "check_loss",
    "check_metric",
    "check_pairs",
    "check_pass",
    "check_registered",
    "check_scorer",
    "check_softmax",
    "check_target",
    "check_weights",
    "checkerboard",
    "from_logits",
    "halves",
    "noise",
    "popular_probabilities",
    "random_case",
    "ranks",
    "trained",
]

_former = former_names(__name__, {"popular_shares": popular_probabilities})


def __getattr__(name: str) -> Any:
    """Return `check_registered` on first use, because its module imports all of softrec."""
    if name in ("Checked", "check_registered"):
        from softrec.testing import registered

        return getattr(registered, name)
    return _former(name)
