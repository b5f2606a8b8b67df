"""A model that was given as an instance: a run of it is opened with an instance of its class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from softrec.errors import RunError, one_line
from softrec.models.given import GivenModel
from softrec.models.registry import MODELS
from softrec.types import Encoder


def give_model(folder: Path, facts: dict[str, Any], model: Encoder) -> None:
    """Register an instance as the model of a run, unless the trained instance is registered."""
    given = next((one for one in facts.get("plugins", ()) if "instance" in one), None)
    if given is None:
        raise RunError(f"the model of {folder} was not given as an instance; leave out model=")
    if type(model).__qualname__ != given["instance"]:
        raise RunError(
            f"the model of {folder} was given as an instance of {given['instance']}, but got an "
            f"instance of {type(model).__qualname__}; build a model of the class that was trained"
        )
    _check_weights(folder, model)
    if given["name"] not in MODELS:
        MODELS[given["name"]] = GivenModel(model)  # pyright: ignore[reportArgumentType]


def _check_weights(folder: Path, model: Encoder) -> None:
    """Refuse an instance whose weights have other names or shapes than those of the run."""
    path = folder / "model.safetensors"
    try:
        with safe_open(path, "pt") as weights:
            names = list(weights.keys())
            kept = {name: tuple(weights.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path} is damaged ({one_line(str(error), 200)}); train it again"
        ) from error
    own = {name: tuple(part.shape) for name, part in model.state_dict().items()}
    for name in sorted(kept.keys() | own.keys()):
        if kept.get(name) != own.get(name):
            raise RunError(
                f"{name} has the shape {kept.get(name)} in {folder} and {own.get(name)} in the "
                "instance; build the instance with the settings with which it was trained"
            )
