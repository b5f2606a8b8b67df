"""The registry of models: `@MODELS.named("mine")` above a class registers it."""

from __future__ import annotations

from softrec.registry import Registry
from softrec.types import Model

MODELS: Registry[type[Model]] = Registry("model", "softrec.models")
