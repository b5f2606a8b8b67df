"""The checkpoints of tables in shards: their rows are in a file that all processes write.

best-STEP.safetensors    the rows of the best weights so far
resume-STEP.safetensors  rows of weights and of the optimiser, for a training that goes on

A checkpoint has the name of its file, and the file before is removed when the checkpoint has been
replaced: after a kill there are the old ones or the new ones. They can be read by another number of
processes, and by one that has the tables as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from softrec import parallel
from softrec.parallel.stored import names_in, read_rows, write_together
from softrec.parallel.tables import Part

ROWS = "rows"  # the entry of a checkpoint
OPTIMIZER = "optimizer"
KINDS = ("best", "resume")


def take_rows(
    checkpoint: dict[str, Any], parts: Mapping[str, Part], order: Sequence[str], folder: Path
) -> str:
    """Move the own rows from a checkpoint of Lightning to a file in `folder`; return its name.

    Args:
        checkpoint: what Lightning will save.
        parts: the rows that this process has, by names in the state of the module.
        order: these names in the order of the optimiser's parameters.
        folder: of the checkpoints.
    """
    state = checkpoint["state_dict"]
    tensors: dict[str, Tensor] = {name: state.pop(name) for name in parts}
    own = dict(parts)
    for left in _moments(checkpoint):
        for number, moments in list(left.items()):
            part = parts.get(order[number])
            taken = {} if part is None else {n: v for n, v in moments.items() if _is_rows(v, part)}
            # The inner mapping is the optimiser's own, which goes on with it.
            left[number] = {n: v for n, v in moments.items() if n not in taken}
            for name, rows in taken.items():
                tensors[f"{OPTIMIZER}.{number}.{name}"] = rows
                own[f"{OPTIMIZER}.{number}.{name}"] = parts[order[number]]
    kind = KINDS["optimizer_states" in checkpoint]
    file = f"{kind}-{checkpoint['global_step']}.safetensors"
    write_together(folder / file, tensors, own)
    return file


def _moments(checkpoint: dict[str, Any]) -> list[dict[int, dict[str, Any]]]:
    """Return the state of each optimiser, by the numbers of its parameters."""
    return [optimizer["state"] for optimizer in checkpoint.get("optimizer_states", ())]


def _is_rows(value: Any, part: Part) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == part.stop - part.start


def give_rows(
    checkpoint: dict[str, Any],
    parts: Mapping[str, Part],
    order: Sequence[str],
    folder: Path,
    file: str | None,
) -> None:
    """Put the own rows into a checkpoint, from its file or from the whole tables that it has.

    Arguments are those of `take_rows`, and the name of the file, if the checkpoint has one.
    """
    state = checkpoint["state_dict"]
    moments = _moments(checkpoint)
    for table, own in parts.items():
        if table in state:
            state[table] = _cut(state[table], own)
    for kept in moments:
        for number, values in kept.items():
            part = parts.get(order[number])
            if part is not None:
                kept[number] = {name: _cut(value, part) for name, value in values.items()}
    if file is None:
        return
    for key in names_in(folder / file):
        if not key.startswith(f"{OPTIMIZER}."):
            state[key] = read_rows(folder / file, key, parts.get(key))
        elif moments:
            _, number, name = key.split(".", 2)
            rows = read_rows(folder / file, key, parts.get(order[int(number)]))
            moments[0][int(number)][name] = rows


def _cut(value: Any, part: Part) -> Any:
    """Return the own rows of a whole table; anything else as it is."""
    whole = isinstance(value, Tensor) and value.dim() > 0 and len(value) == part.rows
    return value[part.start : part.stop].clone() if whole else value


def forget_rows(folder: Path, kind: str, kept: str | None = None) -> None:
    """Remove the files of a kind of checkpoint, but the one that is `kept`."""
    if parallel.rank() == 0:
        for path in folder.glob(f"{kind}-*.safetensors*"):
            if path.name != kept:
                path.unlink()
