"""The demo: a simulated shop, one model, three targets, and the best ranking for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from softrec.experiments.compare import compare_targets
from softrec.experiments.comparison import Comparison
from softrec.recipe.recipe import read_recipe

# Model and targets were chosen on validation among a few (docs/log.md), for about five minutes
# on two cores. With a patience of 4 epochs half of the trainings of kd stopped far from their best.
RECIPE: dict[str, Any] = {
    "data": {"source": "shop"},
    "model": {"name": "sasrec", "layers": 1, "heads": 1, "dropout": 0.5},
    "training": {"windows": "positions", "length": 24, "batch_size": 512, "epochs": 60,
                 "patience": 10, "lr": 0.004},
    "evaluation": {"metrics": ["ndcg@10", "recall@10"]},
}  # fmt: skip
MARKOV: dict[str, Any] = {"model": {"name": "markov"}, "training": {"length": 24}}
TARGETS: tuple[dict[str, Any], ...] = (
    {"name": "one-hot"},
    {"name": "pop+", "alpha": 0.4},
    {"name": "kd", "alpha": 0.8, "temperature": 0.2, "teacher": MARKOV},
)


def run_demo(
    out: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    command: str = "softrec demo",
    overwrite: bool = False,
    baselines: bool = True,
) -> Comparison:
    """Run the demo and write its report to `out`."""
    return compare_targets(
        read_recipe(RECIPE),
        TARGETS,
        out,
        seeds=seeds,
        command=command,
        overwrite=overwrite,
        baselines=baselines,
    )
