"""Which backbone, with which settings."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from softrec.models.caser import Caser
from softrec.models.comirec import ComiRecSA
from softrec.models.comirec_dr import ComiRecDR
from softrec.models.deepfm import DeepFM
from softrec.models.gru4rec import GRU4Rec
from softrec.models.lightgcn import LightGCN
from softrec.models.mf import MF
from softrec.models.mind import MIND
from softrec.models.nfm import NFM
from softrec.models.ngcf import NGCF
from softrec.models.sasrec import SASRec
from softrec.models.timirec import TiMiRec
from softrec.models.tisasrec import TiSASRec
from softrec.models.youtubednn import YoutubeDNN

MODELS: dict[str, Any] = {
    "caser": Caser,
    "comirec-dr": ComiRecDR,
    "comirec-sa": ComiRecSA,
    "deepfm": DeepFM,
    "gru4rec": GRU4Rec,
    "lightgcn": LightGCN,
    "mf": MF,
    "mind": MIND,
    "nfm": NFM,
    "ngcf": NGCF,
    "sasrec": SASRec,
    "timirec": TiMiRec,
    "tisasrec": TiSASRec,
    "youtubednn": YoutubeDNN,
}
"""Recipe name -> backbone. A new backbone is entered here, and nowhere else."""

OF_THE_DATA = ("n_items", "n_users", "edges")
"""Arguments of backbones that no recipe sets."""


class ModelSpec(BaseModel):
    """A backbone by name, a preset of its settings, and settings of one's own."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = "sasrec"
    preset: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments of the backbone: the preset's, overridden by one's own."""
        preset = MODELS[self.name].PRESETS[self.preset] if self.preset else {}
        return {**preset, **(self.__pydantic_extra__ or {})}

    @model_validator(mode="after")
    def _known(self) -> ModelSpec:
        if self.name not in MODELS:
            raise ValueError(f"no model {self.name!r}; there are {', '.join(MODELS)}")
        model = MODELS[self.name]
        if self.preset is not None and self.preset not in model.PRESETS:
            raise ValueError(
                f"{self.name} has no preset {self.preset!r}; it has {', '.join(model.PRESETS)}"
            )
        known = [n for n in inspect.signature(model).parameters if n not in OF_THE_DATA]
        for name in self.settings:
            if name not in known:
                raise ValueError(f"{self.name} has no setting {name!r}; it has {', '.join(known)}")
        self._check_types(model)
        return self

    def _check_types(self, model: Any) -> None:
        parameters = inspect.signature(model, eval_str=True).parameters
        for name, value in self.settings.items():
            try:
                TypeAdapter(parameters[name].annotation).validate_python(value)
            except ValidationError as error:
                text = error.errors()[0]["msg"]
                raise ValueError(f"{name} of {self.name}: {text}, got {value!r}") from error


def starts_of(name: str) -> tuple[str, ...]:
    """Return the models whose trained weights a model can begin from: its own kind, and others."""
    kinds = getattr(MODELS[name], "begins_from", ())
    return (name, *(other for other, model in MODELS.items() if model in kinds))


def several_interests(name: str) -> bool:
    """Tell whether a model gives several vectors for a user."""
    return getattr(MODELS[name], "several_interests", False)


def reads_graph(name: str) -> bool:
    """Tell whether a model reads the events of the training part."""
    return "edges" in inspect.signature(MODELS[name]).parameters


def foresees_interests(name: str | None) -> bool:
    """Tell whether a model says how much it expects each interest: see `InterestEncoder`."""
    return callable(getattr(MODELS.get(name or ""), "interests", None))
