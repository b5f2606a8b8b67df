"""Python objects in place of a name: how a recipe represents them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from softrec.errors import RecipeError
from softrec.models.given import GivenModel
from softrec.models.registry import MODELS
from softrec.recipe.register import register
from softrec.registry import Registry
from softrec.targets.objects import ObjectSettings, fingerprint_of
from softrec.targets.settings import TargetSettings
from softrec.types import Encoder


def target_fields(value: Any) -> Any:
    """Return the target section for an object; texts and mappings are returned unchanged.

    Args:
        value: settings, a source (a batch -> its target), or (name, source) with or without the
            weight of the soft target.

    Raises:
        RecipeError: if it is none of these.
    """
    if value is None or isinstance(value, str | Mapping):
        return value
    if isinstance(value, TargetSettings):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple) and len(value) in (2, 3) and callable(value[1]):
        name, source, *alpha = value
        return ObjectSettings.of(source, str(name)) | ({"alpha": float(alpha[0])} if alpha else {})
    if callable(value) and not isinstance(value, type):
        return ObjectSettings.of(value)
    raise RecipeError(
        f"a target cannot be an object of type {type(value).__name__}; expected a name, settings, "
        "a source that is called with a batch, or (name, source, weight)"
    )


def is_object(value: Any) -> bool:
    """Return whether a target is given as an object: not a text, a mapping or a list."""
    named = isinstance(value, tuple) and len(value) == 3 and callable(value[1])
    plain = value is None or isinstance(value, str | Mapping)
    return named or (not plain and not isinstance(value, Iterable)) or callable(value)


def member_name(section: str, value: Any) -> Any:
    """Return the name of a class, an instance or a function; it is registered if it was not.

    Args:
        section: "model" or "loss".
        value: the class or an instance of a model, a loss, or a value that is not an object and is
            returned unchanged.

    Raises:
        RecipeError: if it is a module but not an encoder.
    """
    if section == "model" and isinstance(value, nn.Module):
        return given_model(value)
    if not callable(value):
        return value
    registry = next(one for one in Registry.all if one.kind == section)
    known = next((name for name, thing in registry.items() if thing is value), None)
    calls = next((name for name, thing in registry.items()
                  if getattr(thing, "function", None) is value), None)  # fmt: skip
    name = known or calls
    if name is None:
        name = getattr(value, "__name__", type(value).__name__)
        register(name, value)
    return name


def given_model(model: nn.Module) -> str:
    """Return the name of a model that is given as an instance, made from its class and weights.

    Raises:
        RecipeError: if it is not an encoder.
    """
    if not isinstance(model, Encoder):
        raise RecipeError(
            "a model given as an instance must be a softrec.types.Encoder, got a "
            f"{type(model).__name__}; give a Scorer as its class, and give other modules the "
            "methods items() and forward(batch, items), which softrec.testing.check_encoder "
            "checks"
        )
    name = f"{model.name}-{fingerprint_of(model)[:8]}"
    MODELS[name] = GivenModel(model)  # pyright: ignore[reportArgumentType]
    return name
