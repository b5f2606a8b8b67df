"""A loss of your own: the softmax loss, in which examples that are easy count less (focal loss).

Run `python examples/own_loss.py`. It is registered, checked, and used with two targets. Formula:
(1 - p_y)^gamma H(q, p), where p_y is the model's probability of the label, and H(q, p) the
cross-entropy with the mix q of label and soft target. Source: Lin et al., Focal loss for dense
object detection, ICCV 2017.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import softrec
from softrec.losses import SoftmaxStats, TargetAnswers, soft_cross_entropy
from softrec.testing import check_registered


@softrec.register("focal")
def focal(
    stats: SoftmaxStats, answers: TargetAnswers, weight: float, *, gamma: float = 1.0
) -> Tensor:
    """Return one value per example, (P,)."""
    easy = torch.sigmoid(stats.label_logit - stats.rest_lse)  # p_y: label_logit - rest_lse is u
    return (1 - easy) ** gamma * soft_cross_entropy(stats, answers, weight)


def main(out: str = "runs/own-loss", seeds: int = 2, **options: Any) -> softrec.Comparison:
    """Check the loss, and compare two targets with it."""
    check_registered("loss", "focal", gamma=2.0)
    small = {"data.shop": {"n_items": 200, "n_users": 600}, "model": "gru4rec", "epochs": 5}
    loss = {"name": "focal", "gamma": 0.5}
    return softrec.compare(
        "shop", out=out, targets="one-hot,pop+", loss=loss, seeds=seeds, **small | options
    )


if __name__ == "__main__":
    found = main(overwrite=True)
    difference = found.results.variants[1].difference_in("ndcg@10")
    print("difference in ndcg@10, 95 %:", difference.interval)  # noqa: T201
    print("report:", found.folder / "report.html")  # noqa: T201
