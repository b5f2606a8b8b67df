"""A finished comparison, read from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from softrec.experiments import views
from softrec.experiments.store.folders import COMPARISON, none_finished
from softrec.extras import require_report
from softrec.report.results import Results, read_results

REPORT = "report.html"


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: its folder and its results."""

    folder: Path
    results: Results

    def write_report(self) -> Path:
        """Write the report again from the results, and return its path."""
        require_report()
        from softrec.report.write import write_report  # draws plots, by a package of an extra

        write_report(self.results, self.folder / REPORT)
        return self.folder / REPORT

    def __repr__(self) -> str:
        return views.comparison_text(self)

    def _repr_html_(self) -> str:
        return views.comparison_html(self)


def open_comparison(folder: str | Path) -> Comparison:
    """Read a finished comparison.

    Raises:
        RunError: if there is none in `folder`, or this version cannot read its results.
    """
    folder = Path(folder)
    if not (folder / COMPARISON.result).exists():
        raise none_finished(folder, COMPARISON)
    return Comparison(folder, read_results(folder / COMPARISON.result))
