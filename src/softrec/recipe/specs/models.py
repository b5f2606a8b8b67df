"""The settings of a model in a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import FieldInfo

from softrec.errors import no_such, one_line
from softrec.losses.settings import LOSSES, LossSettings
from softrec.models.given import takes
from softrec.models.registry import MODELS
from softrec.recipe.specs.arguments import arguments, checked, fields_of, safe_repr
from softrec.settings import Text, setting
from softrec.types import Scorer

SHARDS = "catalogue"
"""The argument of models whose tables can be in shards."""
OF_THE_DATA = ("n_items", "n_users", "edges", SHARDS)
"""Arguments of models that a recipe cannot set."""
PLAIN = (bool, int, float, str, tuple, list, type(None))
MIXED = "mixed"
"""The loss of a recipe that names none."""
TUNE = "tune"
"""The setting of all counted models."""
NOT_KEPT = ("length", TUNE)
"""What is not a model's own: the length is that of training unless a recipe says another."""


def _presets() -> list[str]:
    """Return the presets of the models that have some, such as "mf: bsl"."""
    known = {name: getattr(MODELS[name], "PRESETS", {}) for name in MODELS.choices()}
    return [f"{name}: {', '.join(presets)}" for name, presets in known.items() if presets]


class ModelSettings(BaseModel):
    """A model by name, a preset, and settings that override the preset.

    Settings of a counted model that are not given are chosen on validation, unless `tune: false`
    leaves them at their defaults.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Text = setting("sasrec", "the model", choices=MODELS.choices)
    preset: Text | None = setting(
        None,
        "settings of a paper; other settings of the model override them; best: the recipe that "
        "fits the log",
        common=True,
        choices=_presets,
    )

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments of the model: those of the preset, overridden by the given ones."""
        preset = MODELS[self.name].PRESETS[self.preset] if self.preset else {}
        own = self.__pydantic_extra__ or {}
        return {**preset, **{name: value for name, value in own.items() if name != TUNE}}

    @property
    def whole(self) -> dict[str, Any]:
        """Return the settings and the defaults of all others, as plain data.

        A run stores them, because its weights would not fit a model with other defaults.
        """
        fields = {n: field for n, field in settings_of(self.name).items() if n not in NOT_KEPT}
        defaults = {n: field.default for n, field in fields.items() if not field.is_required()}
        kept = {n: value for n, value in defaults.items() if isinstance(value, PLAIN)}
        return {**kept, **self.settings}

    @property
    def tune(self) -> bool:
        """Return whether settings that are not given are chosen on validation."""
        return is_counted(self.name) and (self.__pydantic_extra__ or {}).get(TUNE, True)

    def with_settings(self, chosen: Mapping[str, Any]) -> ModelSettings:
        """Return these settings with the settings `chosen` added."""
        return ModelSettings.model_validate({**self.model_dump(), **chosen})

    @model_validator(mode="before")
    @classmethod
    def _own_settings(cls, fields: Any) -> Any:
        """Convert the settings to the types of the model's arguments: "64" becomes 64."""
        if not isinstance(fields, dict):
            return fields
        name = fields.get("name", "sasrec")
        if not isinstance(name, str):  # else bytes would be accepted without a check
            raise ValueError(
                f"the name of a model must be a text, got {one_line(safe_repr(name), 80)}"
            )
        if not all(isinstance(field, str) for field in fields):
            return fields
        if name not in MODELS:
            raise ValueError(no_such("model", name, MODELS.choices()))
        own = {field: value for field, value in fields.items() if field not in cls.model_fields}
        known = arguments(MODELS[name], OF_THE_DATA) | ({TUNE: bool} if is_counted(name) else {})
        return fields | checked(name, own, known)

    @model_validator(mode="after")
    def _known_preset(self) -> ModelSettings:
        presets = MODELS[self.name].PRESETS
        if self.preset is not None and self.preset not in presets:
            raise ValueError(f"{self.name} has {no_such('preset', self.preset, presets)}")
        return self


def settings_of(name: str) -> dict[str, FieldInfo]:
    """Return the settings of a model: the arguments of its class, and `tune` if it has a grid."""
    tune = {TUNE: setting(True, "choose the settings that are not given on validation")}
    return fields_of(MODELS[name], OF_THE_DATA) | (tune if grid_of(name) else {})


def grid_of(name: str) -> Mapping[str, tuple[Any, ...]]:
    """Return the values that are tried on validation, by the settings of a model."""
    return getattr(MODELS[name], "GRID", {})


def starts_of(name: str) -> tuple[str, ...]:
    """Return the models from whose weights a model can be initialised: itself, and others."""
    kinds = getattr(MODELS[name], "initialised_from", ())
    return (name, *(other for other, model in MODELS.items() if model in kinds))


def is_counted(name: object) -> bool:
    """Return whether a model is counted and not trained: a `Scorer`."""
    kind = MODELS[name] if isinstance(name, str) and name in MODELS else None
    return isinstance(kind, type) and issubclass(kind, Scorer)


def reads_graph(name: str) -> bool:
    """Return whether a model reads the events of the training part as a graph."""
    return takes(MODELS[name], "edges")


def with_defaults(fields: Mapping[str, Any], name: object) -> dict[str, Any]:
    """Return the fields of a recipe, with the defaults of its model where it names none of them.

    Those of the scores are for softmax losses that have none of their own, such as mixed.
    """
    found = dict(fields)
    if not isinstance(name, str) or name not in MODELS:
        return found
    for section, own in getattr(MODELS[name], "DEFAULTS", {}).items():
        given = found.get(section, {})
        given = {"name": given} if isinstance(given, str) else given
        if not isinstance(given, Mapping) or not given.keys().isdisjoint(own):
            continue
        if section == "loss":
            given = {"name": MIXED, **given}
        if section != "loss" or _leaves_scores(given["name"]):
            found[section] = {**own, **given}
    return found


def _leaves_scores(name: object) -> bool:
    """Return whether a loss has a softmax, and the scores of all losses by default."""
    if not isinstance(name, str) or name not in LOSSES:
        return False
    fields, of_all = LOSSES[name].model_fields, LossSettings.model_fields
    scores = ("score", "score_temperature")
    return LOSSES[name].softmax and all(fields[n].default == of_all[n].default for n in scores)


def predicts_interests(name: object) -> bool:
    """Return whether a model predicts which interest of a user comes next."""
    return isinstance(name, str) and name in MODELS and MODELS[name].predicts_interests
