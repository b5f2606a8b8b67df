"""The page of a study, written again and again while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from softrec.experiments.tuning.trials import Trial

if TYPE_CHECKING:
    from softrec.experiments.tuning.search import Search

PAGE = "history.html"


def write_history(folder: Path, search: Search, trials: Sequence[Trial], name: str = "") -> Path:
    """Write the page of a study to its folder, and return its path."""
    from softrec.report.history import History, Point  # draws plots, by a package of an extra
    from softrec.report.history import write_history as write_page

    base = search.space.base
    what = name or f"{base.model.name} on {base.data.title}"
    points = [
        Point(
            trial.number, trial.state, trial.value, trial.settings, trial.origin, trial.epochs,
            trial.seconds, trial.reason,
        )
        for trial in trials
    ]  # fmt: skip
    page = History(what, search.monitor, search.trials, search.space.facts(), tuple(points))
    write_page(page, folder / PAGE)
    return folder / PAGE
