"""Candidates: the items that a label is scored against. All items, a sample, or in-batch.

Let C be the candidates of a row without its label, c_j how often candidate j was sampled, and E_j
the expectation of c_j. The losses use the logits z_j + log(c_j / E_j). The expectation of the sum
of their exponentials is the sum over the whole catalogue without the label, so that R, and with it
every softmax loss, is an estimate of the full one (Bengio and Senecal, 2008). The label's own logit
is not corrected. Without correction E_j = 1.

| sampled | E_j |
|---|---|
| n of N, uniform, shared, each at most once | n / N |
| n with replacement from Q, shared, hits on the label left out | n Q_j |
| n with replacement from the items but the label, for each row | n / (N - 1), n Q_j |
| n with replacement from the F items the user did not interact with | n / F |
| the same, and the other N - F items, each r times as likely | n / (F + r (N - F)), r times that |
| the other labels of the batch, where a fraction f_j of all labels is j | (P - 1) f_j |
| these and n of N, uniform, or n with replacement from Q | (P - 1) f_j + n / N, or + n Q_j |

A sampled item that is the label is left out of C. In-batch negatives may also mask the user's other
positives. Sources are modules: what they store of the data are buffers, which move with them and
are not saved.
"""

from softrec.candidates.auto import AutoSettings
from softrec.candidates.base import (
    CANDIDATES,
    Candidates,
    CandidateSource,
    CandidatesSettings,
    DrawnSettings,
    FullSettings,
    StepSize,
)
from softrec.candidates.in_batch import InBatch, InBatchSettings
from softrec.candidates.mixed import MixedDraws, MixedDrawsSettings
from softrec.candidates.sampled import (
    RowDraws,
    SampledSettings,
    SharedDraws,
    SharedUniform,
    log_uniform,
)
from softrec.candidates.shown import Shown, ShownSettings
from softrec.candidates.usage import times_used

__all__ = [
    "CANDIDATES",
    "AutoSettings",
    "CandidateSource",
    "Candidates",
    "CandidatesSettings",
    "DrawnSettings",
    "FullSettings",
    "InBatch",
    "InBatchSettings",
    "MixedDraws",
    "MixedDrawsSettings",
    "RowDraws",
    "SampledSettings",
    "SharedDraws",
    "SharedUniform",
    "Shown",
    "ShownSettings",
    "StepSize",
    "log_uniform",
    "times_used",
]
