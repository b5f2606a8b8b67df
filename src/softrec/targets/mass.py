"""How much weight the soft target of an example has: less where counts know more, and by epoch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from softrec.settings import Alpha, Positive, Rounds, Settings, setting
from softrec.training_data import TrainingData
from softrec.types import Batch

By = Literal["constant", "label-count", "context-count"]


class Mass(nn.Module):
    r"""The weight a of the soft target of each example.

    $$a = a_0 \, f_e \, \frac{k}{n + k}, \qquad f_e = s + (t - s) \min(1, e / E)$$

    n is how often the label is one in an epoch, or how often a history of an epoch ends with the
    item with which this one ends. With a_0 = 1 the model is fitted to (n e_y + k s) / (n + k), the
    mean of a Dirichlet posterior whose prior is the soft target with strength k: additive
    smoothing. f_e leads from s in the first epoch, e = 0, to t in epoch E and later.

    Args:
        weight: a_0, the largest weight.
        counts: (N,) n of each item; None: k / (n + k) is left out.
        of: whose count is read, that of the label or of the last item of the history.
        strength: k.
        first: s.
        last: t.
        epochs: E.

    Example:
        >>> nothing = torch.zeros(2, dtype=torch.int64)
        >>> batch = Batch(nothing[:, None], torch.tensor([0, 1]), nothing, nothing)
        >>> Mass(0.5, torch.tensor([0.0, 4.0]), strength=4.0)(batch)
        tensor([0.5000, 0.2500])

    Source: Gelman et al., "Bayesian Data Analysis", section 3.4, for the posterior mean.
    """

    counts: Tensor | None

    def __init__(
        self,
        weight: float,
        counts: Tensor | None = None,
        *,
        of: By = "label-count",
        strength: float = 5.0,
        first: float = 1.0,
        last: float = 1.0,
        epochs: int = 10,
    ) -> None:
        super().__init__()
        self.weight, self.of, self.strength = weight, of, strength
        self.first, self.last, self.epochs = first, last, epochs
        self.epoch = 0
        kept = None if counts is None else counts.float()
        self.register_buffer("counts", kept, persistent=False)

    @property
    def factor(self) -> float:
        """Return f_e of this epoch."""
        return self.first + (self.last - self.first) * min(1.0, self.epoch / self.epochs)

    @property
    def about(self) -> dict[str, float]:
        """Return facts for run.json: the mean weight of an epoch's examples, in the last epochs."""
        if self.counts is None:
            return {"mean_weight": self.weight * self.last}
        counts = self.counts.double()
        each = self.strength / (counts + self.strength)
        mean = float((counts * each).sum() / counts.sum().clamp(min=1))
        return {"mean_weight": self.weight * self.last * mean}

    def forward(self, batch: Batch) -> Tensor:
        """Return the weight of each example of `batch`, (P,)."""
        highest = self.weight * self.factor
        if self.counts is None:
            return torch.full(batch.label.shape, highest, device=batch.label.device)
        if self.of == "label-count":
            known = self.counts[batch.label]
        else:
            item, some = last_item(batch, len(self.counts))
            known = self.counts[item].masked_fill(~some, 0)
        return highest * (self.strength / (known + self.strength))


def last_item(batch: Batch, n_items: int) -> tuple[Tensor, Tensor]:
    """Return the item with which the history of each prediction ends, and whether it has one, (P,).

    Example:
        >>> history = torch.tensor([[9, 4, 5], [6, 9, 9]])
        >>> user = torch.zeros(2, dtype=torch.int64)
        >>> last_item(Batch(history, user, user, user), 9)[0]
        tensor([5, 6])
    """
    real = batch.history != n_items
    first, lengths = real.to(torch.uint8).argmax(1), real.sum(1)
    row = torch.arange(len(real), device=real.device) if batch.row is None else batch.row
    step = (lengths - 1)[row] if batch.step is None else batch.step
    item = batch.history[row, (first[row] + step).clamp(min=0)]
    some = lengths[row] > 0
    return item.masked_fill(~some, 0), some


# --- in a recipe ---


class MassSettings(Settings):
    """How the weight of the soft target differs between examples and epochs; alpha is the most."""

    by: By = setting(
        "constant",
        "label-count: alpha k / (n + k) for a label that is one n times an epoch; context-count: "
        "n histories of an epoch end with the same item",
    )
    strength: Positive = setting(
        5.0, "k: the count at which the weight is halved", search="1..100:log"
    )
    first: Alpha = setting(1.0, "the weight is multiplied by it in the first epoch")
    last: Alpha = setting(1.0, "the weight is multiplied by it from epoch `epochs` + 1 on")
    epochs: Rounds = setting(10, "epochs in which the factor goes from first to last, linearly")

    def build(self, weight: float, training: TrainingData) -> Mass:
        """Return the weights of the examples; the largest is `weight`."""
        return Mass(
            weight, self._counts(training), of=self.by, strength=self.strength, first=self.first,
            last=self.last, epochs=self.epochs,
        )  # fmt: skip

    def _counts(self, training: TrainingData) -> Tensor | None:
        if self.by == "constant":
            return None
        if self.by == "label-count":
            return training.label_counts
        start, stop = training.data.histories()
        ends = training.data.sequences.items[stop[stop > start] - 1]
        return torch.from_numpy(ends).long().bincount(minlength=training.n_items)
