"""From a finished run to an export: a folder that serves its model without torch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml

from softrec.errors import RunError
from softrec.experiments.runs import Run
from softrec.experiments.store.folders import EXPORT, reserved
from softrec.extras import require
from softrec.files import write_facts
from softrec.serving.exported import ExportedRecommender
from softrec.serving.exporting.parity import HISTORIES, check, parity
from softrec.serving.exporting.write import encoder_of, write_files, write_manifest
from softrec.serving.manifest import PARITY

LOGGER = logging.getLogger(__name__)
TOLERANCE = 1e-3


def export_run(
    run: Run,
    to: str | Path,
    *,
    users: bool = True,
    histories: int = HISTORIES,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
) -> ExportedRecommender:
    """Write an export of a run to a folder, completely or not at all, and return its recommender.

    The folder has the user tower for ONNX Runtime and for torch.export, the vectors of the items,
    the ids, and a report of how far its scores are from those of the run.

    Args:
        run: of a trained model.
        to: the folder.
        users: write the users of the log with their histories; without them, only given histories
            are served.
        histories: how many histories of the log the report compares, at most.
        tolerance: the largest difference of scores that is accepted, for scores up to 1; for
            larger ones times the largest score.
        overwrite: replace an export.

    Raises:
        RunError: if `to` exists, the model cannot be exported, or the scores differ by more.
        SoftrecError: if a package of the extra "export" is missing.

    Example:
        export_run(open_run("runs/first"), "exports/first").recommend(histories=["tea"], k=10)
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, "an export")
    if histories < 1 or not tolerance >= 0:
        raise RunError(
            "an export compares at least one history, with a tolerance of 0 or more, got "
            f"{histories} and {tolerance}"
        )
    asked = yaml.safe_dump(run.recipe.model_dump(mode="json"), sort_keys=False)
    source: dict[str, Any] = {"folder": run.folder.name, "weights": run.weights_fingerprint}
    if run.recipe.loss.learns_temperature:  # lists do not need it, probabilities do
        source["temperature"] = run.temperature
    with reserved(to, EXPORT, [run.folder]) as place:
        place.check_free(asked, overwrite=overwrite)
        place.drop()  # what a kill left may have files that this export has not
        recommender = run.recommender()
        encoder_of(recommender)  # before anything is said to be written
        folder = place.begin(asked, source, overwrite=True)
        try:
            LOGGER.info("writing the user tower of %s and its vectors", recommender.name)
            facts = write_files(recommender, folder, users=users)
            write_manifest(folder, facts, {"run": source})
            exported = ExportedRecommender(folder, trust=True)
            report = parity(recommender, exported, histories)
            check(report, tolerance)
            write_facts(folder / PARITY, {"tolerance": tolerance, **report})
            write_manifest(folder, facts, {"run": source})
        except BaseException:
            place.drop()
            raise
        place.finish()
    return ExportedRecommender(place.out)
