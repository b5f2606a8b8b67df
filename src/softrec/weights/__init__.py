"""The weights of the examples: each example's loss is multiplied by one before the mean.

| weights | of an example with the label y of user u |
|---|---|
| equal | 1 |
| slatk | sigmoid((f_y - b_u) / tau), b_u the user's score at rank K |
| inverse-propensity | n_y^-power, n_y how often y is a label |
| recency | 2^(-age / half-life) |
| confidence | a number that the log has of the event, such as a rating |

Sources are modules: what they store of the data are buffers, which move with them. What they read
of the model while it is trained is saved with a checkpoint.
"""

from softrec.weights.base import WEIGHTS, EqualSettings, WeightsSettings
from softrec.weights.confidence import ConfidenceSettings, of_numbers
from softrec.weights.popularity import InversePropensitySettings, of_labels
from softrec.weights.recency import RecencySettings
from softrec.weights.slatk import AtRank, SlatkSettings
from softrec.weights.stored import OfContexts, OfLabels
from softrec.weights.thresholds import Thresholds

__all__ = [
    "WEIGHTS",
    "AtRank",
    "ConfidenceSettings",
    "EqualSettings",
    "InversePropensitySettings",
    "OfContexts",
    "OfLabels",
    "RecencySettings",
    "SlatkSettings",
    "Thresholds",
    "WeightsSettings",
    "of_labels",
    "of_numbers",
]
