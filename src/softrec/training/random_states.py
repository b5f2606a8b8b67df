"""The states of torch's random numbers: kept in checkpoints, and another one for each process."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from softrec import parallel

RandomStates = dict[str, Any]
OTHERS = "others"


def get_rng() -> RandomStates:
    """Return the states of the first part of a batch, by device, and those of others in a list."""
    own = _own()
    if parallel.size() == 1:
        return own
    first, *others = parallel.everyone(own)[:: parallel.mesh().shards]
    return {**first, OTHERS: others}


def start_rng(kept: RandomStates | None) -> None:
    """Set the states at the start of a training, fresh or resumed.

    The first process goes on as if it were alone, so that the candidates that it samples for all do
    not depend on the number of processes. A process without a kept state gets one from the state of
    the first: so dropout differs between the parts of a batch. The processes that have the shards
    of one catalogue have one part, and one state.

    Args:
        kept: what `get_rng` has returned, perhaps with another number of processes; None in a
            fresh training.
    """
    states = [] if kept is None else [_devices(kept), *kept.get(OTHERS, [])]
    number = parallel.part()[0]
    if number < len(states):
        _set(states[number])
    if parallel.size() > 1:
        first = parallel.everyone(torch.get_rng_state())[0]
        if number >= len(states):
            torch.set_rng_state(first)
        if number >= max(1, len(states)):
            torch.manual_seed(int(torch.randint(2**62, (1,))) + number)


def _devices(states: RandomStates) -> dict[str, Tensor]:
    return {device: state for device, state in states.items() if device != OTHERS}


def _own() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _set(states: dict[str, Tensor]) -> None:
    for device, state in states.items():
        if device == "cpu":
            torch.set_rng_state(state)
        elif torch.cuda.is_available():
            torch.cuda.set_rng_state(state, device)
