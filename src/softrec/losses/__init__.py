"""Losses: `softmax_loss` for any training loop, the formulas, and the code that computes them."""

from softrec.losses.adjustment import logit_adjustment
from softrec.losses.bilateral import bsl_reweight, grouped_label, negative_side, sl
from softrec.losses.border import talos
from softrec.losses.contrastive import infonce_plus
from softrec.losses.debiased import debiased_softmax
from softrec.losses.distillation import interest_distillation
from softrec.losses.front import softmax_loss
from softrec.losses.pairwise import (
    bce,
    bce_sum,
    bpr,
    ccl,
    gbce,
    hinge,
    mse,
    softmax_weighted_bpr,
)
from softrec.losses.pairwise_softmax import psl
from softrec.losses.reference import plain
from softrec.losses.softmax import (
    ObjectiveValue,
    Parts,
    SoftmaxProblem,
    SoftmaxStats,
    SoftTarget,
    TargetAnswers,
    binary_part,
    decoupled,
    hard,
    hard_cross_entropy,
    mixed,
    rest_part,
    soft_cross_entropy,
)
from softrec.losses.streaming import streamed

__all__ = [
    "ObjectiveValue",
    "Parts",
    "SoftTarget",
    "SoftmaxProblem",
    "SoftmaxStats",
    "TargetAnswers",
    "bce",
    "bce_sum",
    "binary_part",
    "bpr",
    "bsl_reweight",
    "ccl",
    "debiased_softmax",
    "decoupled",
    "gbce",
    "grouped_label",
    "hard",
    "hard_cross_entropy",
    "hinge",
    "infonce_plus",
    "interest_distillation",
    "logit_adjustment",
    "mixed",
    "mse",
    "negative_side",
    "plain",
    "psl",
    "rest_part",
    "sl",
    "soft_cross_entropy",
    "softmax_loss",
    "softmax_weighted_bpr",
    "streamed",
    "talos",
]
