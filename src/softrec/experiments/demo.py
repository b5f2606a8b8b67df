"""The demo: a simulated shop, one model, three targets, and the best ranking for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from softrec.experiments.compare import compare_targets
from softrec.experiments.comparison import Comparison
from softrec.recipe.recipe import read_recipe

# Not tuned: defaults of the shop and of the model, and a budget of a few minutes on two cores.
RECIPE: dict[str, Any] = {
    "data": {"source": "shop"},
    "model": {"name": "gru4rec", "dim": 64, "dropout": 0.2},
    "training": {"windows": "positions", "length": 24, "batch_size": 128, "epochs": 40,
                 "patience": 4, "lr": 0.002},
    "evaluation": {"metrics": ["ndcg@10", "recall@10"]},
}  # fmt: skip
TARGETS: tuple[dict[str, Any], ...] = (
    {"name": "one-hot"},
    {"name": "uniform", "alpha": 0.1},
    {"name": "pop+", "alpha": 0.4},
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
