"""The models by the names they have in recipes: `@MODELS.named("mine")` above the class."""

from __future__ import annotations

from softrec.registry import Registry
from softrec.types import Model

MODELS: Registry[type[Model]] = Registry("model", "softrec.models")
