"""The shapes and protocols that every part of softrec agrees on.

Shape legend
------------
B   rows of a batch (histories)
P   predictions of a batch; P == B unless every position of a history is trained
L   length of a padded history
M   candidates (negatives) scored against the positive; M == N for the full catalogue
N   items of the catalogue; items are numbered 0 .. N-1, and N itself is padding in a history
D   width of user and item vectors
K   interests of a user, where a model has several

Padding has the number after the last item, so that no number is ever shifted: an item has the same
number as a label, as a row of the item vectors, as a candidate and as a column of the scores.
"""

from softrec.types.batch import Batch, Interests, ItemVectors, StoredVectors, Vectors
from softrec.types.model import (
    LOG_TEMPERATURE,
    Encoder,
    Events,
    Model,
    Scorer,
    Wrapper,
    device_of,
    evaluating,
    weighted,
)
from softrec.types.offset import Offset
from softrec.types.scores import OffsetScores, Products, Scores, products_of
from softrec.types.target import (
    Following,
    ListedTarget,
    LogitTarget,
    MassSource,
    Rest,
    Target,
    TargetSource,
)
from softrec.types.weights import BorderSource, GivenWeights, Weigh, WeightSource, weighted_by

__all__ = [
    "LOG_TEMPERATURE",
    "Batch",
    "BorderSource",
    "Encoder",
    "Events",
    "Following",
    "GivenWeights",
    "Interests",
    "ItemVectors",
    "ListedTarget",
    "LogitTarget",
    "MassSource",
    "Model",
    "Offset",
    "OffsetScores",
    "Products",
    "Rest",
    "Scorer",
    "Scores",
    "StoredVectors",
    "Target",
    "TargetSource",
    "Vectors",
    "Weigh",
    "WeightSource",
    "Wrapper",
    "device_of",
    "evaluating",
    "products_of",
    "weighted",
    "weighted_by",
]
