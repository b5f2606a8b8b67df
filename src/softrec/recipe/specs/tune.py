"""How the settings of a recipe are searched."""

from __future__ import annotations

from typing import Any, Literal

from softrec.settings import Settings, setting


class TuneSettings(Settings):
    """What `softrec tune` and `compare --tune` search, and how; other commands do not read it."""

    trials: int = setting(20, "trainings of a search, pruned ones included", ge=1, le=10_000)
    pruner: Literal["median", "none"] = setting(
        "median",
        "median: a trial ends after an epoch whose best validation metric so far is below the "
        "median of the others at that epoch; none: all are trained to their end",
    )
    space: dict[str, Any] = setting(
        {},
        "what is tried, by field: `training.lr: 1e-4..1e-2:log`, `model.dropout: [0, 0.2]`; "
        "other fields have the ranges beside their settings, a single value is not searched",
    )
