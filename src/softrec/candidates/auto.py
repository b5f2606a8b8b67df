"""All items, or a sample of them if a step over all items costs too much."""

from __future__ import annotations

from softrec.candidates.base import CandidateSource, CandidatesSettings, FullSettings, StepSize
from softrec.candidates.sampled import SampledSettings
from softrec.settings import Positive, setting
from softrec.training_data import TrainingData

PRODUCTS = 3  # the logits, and the gradients of users and of items
SHARE = 0.25  # of the budget, for a sample


class AutoSettings(CandidatesSettings, name="auto"):
    r"""All items, or a sample of them if a step over all items costs too much.

    $$3 N D P \le B \quad \text{all } N \text{ items, else a sample of } M = B / (12 D P)$$

    with the width D and P labels per step. A sample saves at least three quarters of the budget B.
    It is uniform, the same for all rows of a batch, with log Q correction for softmax losses. The
    choice depends only on the sizes of the data and not on the machine, so that the same recipe on
    the same data always uses the same candidates.

    Exact cross-entropy needs three products per step (docs/math.md). One core of a CPU computes
    about 10 billion multiply-adds per second.
    """

    budget: Positive = setting(
        4.0,
        "the most multiply-adds of a step's products with the items, 3 x items x width x labels, "
        "in billions; a sample has a quarter of it",
    )

    def decided(self, step: StepSize) -> tuple[CandidatesSettings, str]:
        """Return full or sampled candidates, and the reason in a sentence.

        Example:
            >>> AutoSettings().decided(StepSize(n_items=3000, width=64, labels=1000))[1]
            'all 3,000 items: a step has 0.576 billion multiply-adds, within the budget of 4'
        """
        each = PRODUCTS * step.width * step.labels
        cost = each * step.n_items / 1e9
        if cost <= self.budget:
            return FullSettings(), (
                f"all {step.n_items:,} items: a step has {cost:.3g} billion multiply-adds, "
                f"within the budget of {self.budget:g}"
            )
        number = max(1, int(SHARE * self.budget * 1e9 / each))
        return SampledSettings(number=number), (
            f"a sample of {number:,} of {step.n_items:,} items for each batch: a step over all "
            f"would have {cost:.3g} billion multiply-adds, above the budget of {self.budget:g}; "
            "--candidates full takes all"
        )

    def build(self, training: TrainingData, *, softmax: bool) -> CandidateSource:
        """Raise an error: the settings that `decided` returns are built instead."""
        raise TypeError("auto candidates draw nothing; build what `decided` returns")
