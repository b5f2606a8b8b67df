"""`softrec.update`: an update in one call of Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from softrec.experiments.updating.gate import Gate
from softrec.experiments.updating.update import Plan, Update, update_run
from softrec.progress import telling


def update(
    run: str | Path,
    data: Any,
    *,
    out: str | Path,
    newest_by: Literal["time", "last"] | None = None,
    newest: float = 0.2,
    before_newest: float = 0.1,
    margin: float = 0.02,
    strict: bool = False,
    floor: float = 0.5,
    refit: bool = False,
    columns: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    trust: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> Update:
    """Train a run further with new events, and judge old and new on the newest of them.

    Args:
        run: the folder of the old run, which is not changed.
        data: the new events, a path or a table as for `fit`; known events are left out.
        out: the folder of the new run, which has update.json beside the files of a run.
        newest_by: "time", the newest of the new events judge, and nothing later is trained on; or
            "last", the last new event of each user; by default "time" if there are times.
        newest: by time, the fraction of the new events that judge.
        before_newest: by time, the fraction of the new events that choose the epoch.
        margin: the new run is not accepted if its metric is lower by more than this fraction.
        strict: accept it only if the 95 % interval excludes such a loss.
        floor: the fraction of the metric of its own test that the old model must keep on the newest
            events; if it keeps less, the new run must be better, and no worse than popularity.
        refit: train an accepted run once more, on the held-out events, too, for as many epochs; its
            metrics stay those of the training that was judged.
        columns: names of columns of `data`, {"user": "customer"}; by default as in the old log.
        overwrite: replace a finished run.
        trust: use the old run without checking its files.
        progress: as for `fit`.
        **options: fields of the recipe that change, such as `epochs`, `lr` and `patience`.

    Raises:
        SoftrecError: if the run cannot be updated, or `data` or `out` cannot be used.

    Example:
        found = softrec.update("runs/monday", "tuesday.csv", out="runs/tuesday")
        found.accepted, found.run
    """
    plan = Plan(
        by=newest_by,
        test=newest,
        valid=before_newest,
        gate=Gate(margin, strict, floor),
        refit=refit,
        columns=columns,
        changes=options,
    )
    with telling(progress):
        return update_run(run, data, out, plan, overwrite=overwrite, trust=trust)
