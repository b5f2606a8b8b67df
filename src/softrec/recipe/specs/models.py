"""Which backbone, with which settings."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from softrec.errors import no_such, one_line
from softrec.models.given import takes
from softrec.models.registry import MODELS
from softrec.recipe.specs.arguments import arguments, checked, safe_repr
from softrec.settings import Text

OF_THE_DATA = ("n_items", "n_users", "edges")
"""Arguments of backbones that no recipe sets."""


class ModelSettings(BaseModel):
    """A backbone by name, a preset of its settings, and settings of one's own."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Text = "sasrec"
    preset: Text | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments of the backbone: the preset's, overridden by one's own."""
        preset = MODELS[self.name].PRESETS[self.preset] if self.preset else {}
        return {**preset, **(self.__pydantic_extra__ or {})}

    @model_validator(mode="before")
    @classmethod
    def _own_settings(cls, fields: Any) -> Any:
        """Give the settings the types of the backbone's arguments: 64 for "64"."""
        if not isinstance(fields, dict):
            return fields
        name = fields.get("name", "sasrec")
        if not isinstance(name, str):  # bytes would be taken for one, unchecked
            raise ValueError(f"the name of a model is a text, got {one_line(safe_repr(name), 80)}")
        if not all(isinstance(field, str) for field in fields):
            return fields
        if name not in MODELS:
            raise ValueError(no_such("model", name, MODELS.choices()))
        own = {field: value for field, value in fields.items() if field not in cls.model_fields}
        return fields | checked(name, own, arguments(MODELS[name], OF_THE_DATA))

    @model_validator(mode="after")
    def _known_preset(self) -> ModelSettings:
        presets = MODELS[self.name].PRESETS
        if self.preset is not None and self.preset not in presets:
            raise ValueError(f"{self.name} has {no_such('preset', self.preset, presets)}")
        return self


def starts_of(name: str) -> tuple[str, ...]:
    """Return the models whose trained weights a model is initialised from: its own, and others."""
    kinds = MODELS[name].initialised_from
    return (name, *(other for other, model in MODELS.items() if model in kinds))


def reads_graph(name: str) -> bool:
    """Tell whether a model reads the events of the training part."""
    return takes(MODELS[name], "edges")


def predicts_interests(name: object) -> bool:
    """Tell whether a model predicts which of a user's interests comes next."""
    return isinstance(name, str) and name in MODELS and MODELS[name].predicts_interests
