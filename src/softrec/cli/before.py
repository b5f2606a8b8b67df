"""Before a command runs: is what it names there, and is all that it needs loaded?

What does not depend on the library is refused before the seconds that it takes to import it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

INTERRUPTED = 130
HEAVY = ("fit", "tune", "compare", "order", "demo", "report", "evaluate", "export", "recommend",
         "similar", "interests", "reproduce", "update", "card", "push")  # fmt: skip
"""The commands that need all of the library."""
BY_ONE = ("tune", "compare", "order", "demo", "reproduce", "update")
"""The commands that train, and that one process does: it starts others for a training itself."""
OF_EXPORTS = ("recommend", "similar", "interests", "index")
"""The commands that an export can answer, too, without torch."""


def before(command: str, given: Mapping[str, Any]) -> None:
    """Check what a command names, and import what it needs; from then on Ctrl-C interrupts it.

    Raises:
        SoftrecError: if the log, the run or the comparison does not exist, or if several
            processes were started for what one does.
    """
    exported = False
    if isinstance(given.get("source"), str):
        _check_source(given["source"])
    of_exports = command in OF_EXPORTS
    for argument in ("run", "folder"):
        if isinstance(given.get(argument), Path):
            exported = of_exports and (given[argument] / "manifest.json").exists()
            if not exported:
                _check_finished(given[argument], argument, or_export=of_exports)
    if command in HEAVY and not exported:
        import_module("softrec.experiments.compare")  # all of the library
        if command in BY_ONE:
            _check_alone(command)
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _check_alone(command: str) -> None:
    from softrec.errors import TrainingError
    from softrec.parallel.together import started

    found = started()
    if found is None:
        return
    if found.world.rank > 0:  # the first one tells
        raise SystemExit(2)
    raise TrainingError(
        f"torchrun or Slurm has started {found.world.size} processes, and `softrec {command}` is "
        "one, which starts others for a training itself: run it once, without torchrun or srun; a "
        "training has several processes where the recipe says so (--devices, or in an update --set "
        "training.devices=2)"
    )


def leave(*_: Any) -> None:
    """End at once, because an exception inside half loaded modules would print tracebacks."""
    os.write(sys.stderr.fileno(), b"interrupted; nothing was done yet\n")
    os._exit(INTERRUPTED)


def _check_source(source: str) -> None:
    from softrec.recipe import shipped
    from softrec.recipe.reading import RECIPES, exists, read_yaml

    if exists(source) or shipped.find(source):
        return
    if source.endswith(RECIPES):
        read_yaml(Path(source))  # raises
    from softrec.cli.listed import data_sets
    from softrec.data.named import SHOP, no_source

    known = data_sets()
    if source != SHOP and source not in known:
        raise no_source(source, known)


def _check_finished(folder: Path, argument: str, *, or_export: bool) -> None:
    from softrec.experiments.store.folders import COMPARISON, RUN, none_finished

    kind = RUN if argument == "run" else COMPARISON
    if str(folder).startswith("hf:/"):
        return  # it is fetched when it is opened
    if not (folder / kind.result).exists():
        raise none_finished(folder, kind, or_export=or_export)
