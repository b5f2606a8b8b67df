"""Train recommenders on soft targets: keep the log and the model, change what is trained towards.

The few names of everyday use are here; each part has a namespace of its own (`softrec.data`,
`softrec.models`, `softrec.targets`, `softrec.losses`, ...).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from softrec.data.interactions import Interactions
from softrec.objective import Objective
from softrec.serving.recommender import Recommender

if TYPE_CHECKING:
    from pathlib import Path

    from softrec.experiments.compare import Comparison
    from softrec.experiments.run import Run

__version__ = version("softrec")
__all__ = ["Interactions", "Objective", "Recommender", "compare", "fit", "open_run"]


def fit(
    source: str,
    *,
    out: str | Path,
    data_dir: Path | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> Run:
    """Train, choose by validation, test; return the run that is left in `out`.

    Args:
        source: a log, a folder of Parquet files or the name of a data set.
        out: the folder of the run.
        data_dir: a folder with public data sets, looked into before any download.
        overwrite: replace a finished run.
        progress: show a bar; if None, when the error stream is a terminal.
        **options: fields of a recipe, flat (`alpha=0.4`) or dotted (`**{"model.dim": 64}`).
    """
    from softrec.experiments.options import recipe_of
    from softrec.experiments.run import fit_recipe

    recipe = recipe_of({"data": {"source": str(source)}}, options)
    return fit_recipe(recipe, out, data_dir=data_dir, overwrite=overwrite, progress=progress)


def compare(
    source: str,
    *,
    out: str | Path,
    targets: str = "one-hot,uniform,pop+",
    seeds: int = 1,
    data_dir: Path | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> Comparison:
    """Train one model towards several targets, same data and budget, and write a report in `out`.

    Args:
        source: a log, a folder of Parquet files or the name of a data set.
        out: the folder of the comparison.
        targets: separated by commas, the first is the baseline; settings in brackets:
            "pop+(alpha=0.4,temperature=2)".
        seeds: train each target so often.
        data_dir: a folder with public data sets, looked into before any download.
        overwrite: replace a finished comparison.
        progress: show bars; if None, when the error stream is a terminal.
        **options: fields of a recipe, as for `fit`.
    """
    from softrec.experiments import compare as experiment
    from softrec.experiments.options import parse_targets, recipe_of, shared_target

    wanted = parse_targets(targets)
    recipe = recipe_of({"data": {"source": str(source)}}, options | shared_target(wanted))
    return experiment.compare(
        recipe,
        wanted,
        out,
        seeds=range(recipe.seed, recipe.seed + seeds),
        data_dir=data_dir,
        command=f"softrec.compare({str(source)!r}, targets={targets!r}, seeds={seeds}, "
        + "".join(f"{name}={value!r}, " for name, value in options.items())
        + f"out={str(out)!r})",
        overwrite=overwrite,
        progress=progress,
    )


def open_run(folder: str | Path) -> Run:
    """Read a finished run.

    Raises:
        RunError: if there is none.
    """
    from softrec.experiments import run

    return run.open_run(folder)
