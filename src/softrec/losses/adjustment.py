r"""Logit adjustment: in training, the popularity of the items is a part of the logits.

    training   z_i + t log p_i          evaluation, serving, export   z_i

With t = 1 the model does not have to learn how often each item is a label: softmax(z + log p) is
fitted to the log, so softmax(z) is what the log would say if all items were labels equally often.
Rankings by z then have more rare items. With t < 0 they have more popular ones.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from torch import Tensor

from softrec.losses.settings import LossSettings
from softrec.settings import setting


def logit_adjustment(counts: Tensor, strength: float, smoothing: float = 1.0) -> Tensor:
    r"""Return what is added to the logits in training, (N,) float32.

    $$t \log p_i, \qquad p_i = \frac{n_i + c}{\sum_j (n_j + c)}$$

    Args:
        counts: n, (N,), how often each item is a label.
        strength: t, finite.
        smoothing: c, positive: with it an item that is never a label has a finite logarithm.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import torch
        >>> logit_adjustment(torch.tensor([2.0, 0.0]), strength=1.0).exp()
        tensor([0.7500, 0.2500])

    Source: Menon et al., "Long-tail Learning via Logit Adjustment", ICLR 2021, eq. 10 (its
    logit-adjusted loss, with tau for t).
    """
    if not -inf < strength < inf:
        raise ValueError(f"the strength must be finite, got {strength}")
    if not 0 < smoothing < inf:
        raise ValueError(f"the smoothing must be positive, got {smoothing}")
    share = counts.double() + smoothing
    return (strength * (share / share.sum()).log()).float()


class AdjustedSettings(LossSettings):
    """A softmax loss whose logits may have the popularity of the items added in training."""

    logit_adjustment: float = setting(
        0.0,
        "t: in training t log p_i is added to the logits, p_i how often item i is a label; 1 takes "
        "popularity out of the ranking, below 0 is the opposite",
        ge=-10,
        le=10,
    )
    adjustment_smoothing: float = setting(
        1.0, "with logit_adjustment: added to the count of each item", gt=0, le=1e9
    )

    @property
    def changes_logits(self) -> str:
        """Return the setting by which the logits of training are no scores of rankings."""
        return "logit_adjustment" if self.logit_adjustment else super().changes_logits

    def adjustment(self, counts: Callable[[], Tensor]) -> Tensor | None:
        """Return what is added to the logits in training, (N,); None for nothing.

        Args:
            counts: returns how often each item is a label of an epoch, (N,).
        """
        if not self.logit_adjustment:
            return None
        return logit_adjustment(counts(), self.logit_adjustment, self.adjustment_smoothing)
