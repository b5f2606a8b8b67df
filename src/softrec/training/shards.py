"""The checkpoints of tables in shards: their rows are in a file that all processes write.

best-STEP.safetensors    the rows of the best weights so far
resume-STEP.safetensors  rows of weights, of their average and of the optimiser, for a training that
                         goes on

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
AVERAGE = "average"
AVERAGING = "Averaging"  # the callback whose state has them
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
    weights = _in_order(state, order)
    tensors: dict[str, Tensor] = {name: state.pop(name) for name in parts}
    own = dict(parts)
    averages = _averages(checkpoint)
    for number, name in enumerate(weights if averages else ()):
        if name in parts:
            key = f"{AVERAGE}.{number}.{name}"
            tensors[key], own[key] = averages[number], parts[name]
            averages[number] = None
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


def _in_order(state: Mapping[str, Tensor], order: Sequence[str]) -> list[str]:
    """Return the parameters in the order of the model, which is that of their averages."""
    known = set(order)
    return [name for name in state if name in known]


def _averages(checkpoint: dict[str, Any]) -> list[Any]:
    """Return the averages of the weights, if there are any: a new list, in the checkpoint too."""
    kept = checkpoint.get("callbacks", {})
    if AVERAGING not in kept:
        return []
    averages = list(kept[AVERAGING]["apart"])
    checkpoint["callbacks"] = {**kept, AVERAGING: {**kept[AVERAGING], "apart": averages}}
    return averages


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
    if file is None:
        _cut_all(checkpoint, parts, order)
    else:
        _read_all(checkpoint, parts, order, folder / file)


def _cut_all(checkpoint: dict[str, Any], parts: Mapping[str, Part], order: Sequence[str]) -> None:
    """Leave the own rows of the whole tables in a checkpoint."""
    state, averages = checkpoint["state_dict"], _averages(checkpoint)
    for number, name in enumerate(_in_order(state, order)[: len(averages)]):
        if name in parts:
            averages[number] = _cut(averages[number], parts[name])
    for table, own in parts.items():
        state[table] = _cut(state[table], own)
    for kept in _moments(checkpoint):
        for number, values in kept.items():
            part = parts.get(order[number])
            if part is not None:
                kept[number] = {name: _cut(value, part) for name, value in values.items()}


def _read_all(
    checkpoint: dict[str, Any], parts: Mapping[str, Part], order: Sequence[str], path: Path
) -> None:
    """Put the own rows of a file, or all of them, into a checkpoint."""
    state, moments = checkpoint["state_dict"], _moments(checkpoint)
    averages = _averages(checkpoint)
    for key in names_in(path):
        kind, _, rest = key.partition(".")
        number, _, name = rest.partition(".")
        if kind == OPTIMIZER and moments:
            rows = read_rows(path, key, parts.get(order[int(number)]))
            moments[0][int(number)][name] = rows
        elif kind == AVERAGE and averages:
            averages[int(number)] = read_rows(path, key, parts.get(name))
        elif kind not in (OPTIMIZER, AVERAGE):
            state[key] = read_rows(path, key, parts.get(key))


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
