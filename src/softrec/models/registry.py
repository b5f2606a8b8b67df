"""The backbones by the names they have in recipes: `@MODELS.named("mine")` above the class."""

from __future__ import annotations

from softrec.registry import Registry
from softrec.types import Encoder

MODELS: Registry[type[Encoder]] = Registry("model", "softrec.models")
