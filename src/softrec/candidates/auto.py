"""All items, or a sample of them where a step over all would cost too much."""

from __future__ import annotations

from softrec.candidates.base import CandidateSource, CandidatesSettings, FullSettings, StepSize
from softrec.candidates.sampled import SampledSettings
from softrec.settings import Positive, setting
from softrec.training_data import TrainingData

PRODUCTS = 3  # the logits, and the gradients of users and of items
SHARE = 0.25  # of the budget, for a sample


class AutoSettings(CandidatesSettings, name="auto"):
    r"""All items, or a sample of them where a step over all would cost too much.

    $$3 N D P \le B \quad \text{all } N \text{ items, else a sample of } M = B / (12 D P)$$

    with the width D and P labels a step: a sample saves three quarters of the budget B at least, so
    that it is worth its noise. It is uniform, for the whole batch, with log Q correction for
    softmax losses. The sizes of the data alone decide, never the machine: the same
    recipe on the same data always trains on the same candidates.

    Source: three products a step is what exact cross-entropy needs (docs/math.md). One core of a
    CPU computes about 10 billion multiply-adds a second.
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
            'all 3,000 items: a step has 0.58 billion multiply-adds, within the budget of 4'
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
        """Refuse: what is built is what was decided."""
        raise TypeError("auto candidates draw nothing; build what `decided` returns")
