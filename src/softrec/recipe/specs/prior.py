"""The prior on the logits in a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError, field_validator, model_validator

from softrec.losses.settings import LossSettings
from softrec.models.counted.sparse import TableScorer
from softrec.recipe.specs.models import MODELS, ModelSettings, is_counted
from softrec.settings import Positive, Settings, Weight, setting
from softrec.targets.settings import TargetSettings
from softrec.weights import WeightsSettings

CHAIN: dict[str, Any] = {"name": "markov", "steps": 10, "recency": 0.8}
"""The best of the counted models tried as a prior."""

NO_CHOICE: dict[str, Any] = {
    "strengths": (), "models": (), "pairs": False, "popularities": (), "half_lives": (),
}  # fmt: skip


def with_tables() -> list[str]:
    """Return the names of the counted models whose scores are sums of a table of items x items."""
    return [name for name, kind in MODELS.items() if issubclass(kind, TableScorer) and kind.sums]


def check_table(model: Mapping[str, Any], place: str) -> None:
    """Refuse settings of a model that are wrong, and a model without a table of items.

    Raises:
        ValueError: if they are; the message names the place.
    """
    try:
        spec = ModelSettings.model_validate(dict(model))
    except ValidationError as error:
        text = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"{place}: {text}") from error
    _check_kind(spec, place)


def _check_kind(model: ModelSettings, place: str) -> None:
    if model.name not in with_tables():
        raise ValueError(
            f"{place} needs a counted model with a table of items: {', '.join(with_tables())}; "
            f"got {model.name}"
        )
    if model.settings.get("smoothing"):
        raise ValueError(
            f"{place} reads the items that were counted together alone, so that smoothing "
            f"{model.settings['smoothing']:g} would do nothing; leave it out"
        )


class PriorSettings(Settings):
    """What is counted about the items of the history, added to the scores of a trained model."""

    model: ModelSettings = setting(
        ModelSettings.model_validate(CHAIN),
        "the counted model, by its name, or with its settings: markov (by its name a chain of ten "
        "steps, recency 0.8), item-knn or rp3beta",
    )
    strength: float = setting(2.0, "factor of the logarithm of its probabilities", ge=0, le=100)
    strengths: tuple[Weight, ...] = setting(
        (),
        "factors that are tried on validation once the model is trained; the best one replaces "
        "strength, and 0 is no prior",
        max_length=20,
    )
    models: tuple[ModelSettings, ...] = setting(
        (),
        "other counted models that are tried on validation in place of model once the model is "
        "trained, each with all strengths, such as [rp3beta, {name: markov, steps: 3}]",
        max_length=20,
    )
    second: ModelSettings | None = setting(
        None, "another counted model, which has a term of its own that is added; by default none"
    )
    second_strength: float = setting(1.0, "its strength", ge=0, le=100)
    pairs: bool = setting(
        False,
        "true: when the model and its strength are chosen, each of the other models is tried as "
        "the second one, with all strengths",
    )
    popularity: float = setting(
        0.0,
        "in rankings: factor of the logarithm of the recent share of events of each item, the same "
        "for all users; 0: none; others need times",
        ge=0,
        le=10**6,
    )
    half_life: float = setting(
        0.01,
        "fraction of the period of the log after which an event counts half in that share",
        gt=0,
        le=10**6,
    )
    popularities: tuple[Weight, ...] = setting(
        (),
        "factors of popularity that are tried on validation once the model and the strength are "
        "chosen; of a log without times none",
        max_length=20,
    )
    half_lives: tuple[Positive, ...] = setting(
        (),
        "half-lives that are tried before these factors, with the first of them that is not 0",
        max_length=20,
    )
    floor: float = setting(
        1e-5, "probability that is added to each, so that the logarithm is finite", gt=0, le=1
    )
    last: int = setting(10, "how many of the last items of a history are read", ge=1, le=10_000)
    items: int = setting(500, "how many items of a row have a prior, at most", ge=1, le=10**6)
    folds: int = setting(
        0,
        "0: training is without the prior, which is added to finished scores; 2 or more: it is in "
        "training, too, where the users of a fold read the counts of the other folds",
        ge=0,
        le=100,
    )

    @property
    def chooses(self) -> bool:
        """Return whether there is something to choose on validation."""
        return bool(self.strengths or self.models or self.popularities)

    @field_validator("model", "second", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        """Accept a name alone; that of the default model means its settings here, too."""
        if value == CHAIN["name"]:
            return CHAIN
        return {"name": value} if isinstance(value, str) else value

    @field_validator("models", mode="before")
    @classmethod
    def _by_names(cls, values: Any) -> Any:
        return [cls._by_name(one) for one in values] if isinstance(values, list | tuple) else values

    @field_validator("model", "second", "models")
    @classmethod
    def _have_tables(cls, found: Any) -> Any:
        for model in found if isinstance(found, tuple) else (found,):
            if model is not None:
                _check_kind(model, "a prior")
        return found

    @model_validator(mode="after")
    def _with_factors(self) -> PriorSettings:
        if self.half_lives and "popularities" not in self.model_fields_set:
            raise ValueError(
                "half_lives are tried with the first of popularities, and there is none; give "
                "popularities, such as [1, 0.5, 2], or a single half_life and popularity"
            )
        return self

    @model_validator(mode="after")
    def _with_others(self) -> PriorSettings:
        if self.pairs and not self.models:
            raise ValueError(
                "pairs: the second model is one of models, and there is none; give models, such as "
                "[item-knn, rp3beta], or set prior.pairs to false"
            )
        if self.pairs and self.second is not None:
            raise ValueError(
                f"pairs: the second model is chosen, but it is named, too: {self.second.name}; "
                "leave out prior.second, or set prior.pairs to false"
            )
        if self.folds and self.second is not None:
            raise ValueError(
                "second: with folds the model is trained with its prior, which is of one counted "
                "model; leave out prior.second, or prior.folds"
            )
        return self

    @model_validator(mode="after")
    def _trained_without(self) -> PriorSettings:
        if self.folds and self.models:
            raise ValueError(
                "models: with folds the model is trained with its prior, so that another one "
                "cannot take its place afterwards; leave out models, or folds"
            )
        return self

    @field_validator("folds")
    @classmethod
    def _more_than_one(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one fold leaves no other users to count; give 2 or more, or 0")
        return folds

    def check(
        self,
        model: str,
        target: TargetSettings,
        loss: LossSettings,
        weights: WeightsSettings,
        ranking_score: str,
    ) -> None:
        """Refuse a prior where the scores of rankings are no logits of a softmax.

        Args:
            model: its name.
            target: that it is trained on.
            loss: that it is trained with.
            weights: of the examples.
            ranking_score: the kind of score of rankings.

        Raises:
            ValueError: if the prior cannot be added; the message says how to fix it.
        """
        if is_counted(model):
            raise ValueError(f"prior: {model} is counted itself; choose a trained model")
        if not loss.softmax:
            raise ValueError(
                f"prior: it is added to the logits of a softmax, and loss {loss.name} has none; "
                "choose loss mixed, decoupled or sl, or no prior"
            )
        if ranking_score != loss.score:
            raise ValueError(
                f"prior: it is added to the logits of a softmax, which are {loss.score} scores, "
                f"but rankings have {ranking_score} scores; leave out evaluation.score, or the "
                "prior"
            )
        if loss.learns_temperature:
            raise ValueError(
                "prior: its strength is relative to a temperature that is a number, not learnt; "
                "leave out loss.learn_temperature, or the prior"
            )
        if self.folds and (loss.score, loss.score_temperature) != ("inner", 1.0):
            raise ValueError(
                f"prior: in training it is added to inner products at temperature 1, but loss "
                f"{loss.name} has {loss.score} scores at temperature {loss.score_temperature:g}; "
                "leave out prior.folds"
            )
        if self.folds and not target.with_prior:
            raise ValueError(
                f"prior: target {target.name} is a prediction of the model's own vectors, which do "
                "not have the prior; leave out prior.folds, or choose another target"
            )
        if self.folds and weights.reads_scores:
            raise ValueError(
                f"prior: weights: {weights.name} compares scores in training with scores of "
                "rankings, which differ with prior.folds; leave it out, or choose other weights"
            )


def as_chosen(spec: PriorSettings | None, facts: Mapping[str, Any]) -> PriorSettings | None:
    """Return the settings with the models and strengths that validation chose, none left to try.

    Args:
        spec: the settings of the recipe.
        facts: those of the run.
    """
    chosen = facts.get("prior")
    if spec is None or chosen is None:
        return spec
    model = ModelSettings.model_validate(chosen["model"]) if "model" in chosen else spec.model
    numbers = ("strength", "second_strength", "popularity", "half_life")
    known = {name: chosen[name] for name in numbers if name in chosen}
    second = chosen.get("second")
    if second is not None:
        known["second"] = ModelSettings.model_validate(second)
    return spec.model_copy(update={"model": model, **known, **NO_CHOICE})
