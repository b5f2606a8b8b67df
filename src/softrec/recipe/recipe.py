"""A recipe: everything that determines a run, as data, checked when it is read.

Only `experiments/` and `cli/` use recipes; `experiments/build` turns them into plain arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, SerializeAsAny, ValidationError, model_validator

from softrec.candidates import (
    CANDIDATES,
    AutoSettings,
    CandidatesSettings,
    DrawnSettings,
    FullSettings,
)
from softrec.errors import RecipeError, one_line
from softrec.losses.settings import LOSSES, LossSettings
from softrec.losses.softmax_settings import MixedSettings
from softrec.models.registry import MODELS
from softrec.recipe.complaints import complaint, field_of
from softrec.recipe.specs.data import DataSettings
from softrec.recipe.specs.models import (
    ModelSettings,
    is_counted,
    predicts_interests,
    reads_graph,
    starts_of,
    with_defaults,
)
from softrec.recipe.specs.prior import PriorSettings, check_table
from softrec.recipe.specs.refit import check_refit
from softrec.recipe.specs.shards import check_shards
from softrec.recipe.specs.training import EvaluationSettings, InterestSettings, TrainingSettings
from softrec.recipe.specs.trials import TrialSettings, check_trials
from softrec.recipe.specs.tune import TuneSettings
from softrec.registry import Chosen
from softrec.renamed import FORMER_TRAINING, RUNS, current
from softrec.settings import Seed, Settings, Text, setting
from softrec.targets.one_hot import OneHotSettings
from softrec.targets.settings import TARGETS, TargetSettings
from softrec.weights import WEIGHTS, EqualSettings, WeightsSettings

FOR_COUNTED = ("length", "monitor", "padding_side", "refit")
"""The fields of `training` that a counted model uses."""


class Recipe(Settings):
    """Data x model x target x loss x candidates, a training budget and a seed.

    A recipe may depend on others: `target.teacher` and `training.start` are a finished run or the
    recipe of a run, which is trained with the same data and seed.
    """

    data: DataSettings = setting(text="the log, and how it is read, cleaned and split")
    model: ModelSettings = setting(
        ModelSettings(),
        "the model that scores items for users",
        common=True,
        flags=("--model", "-m"),
        choices=MODELS.choices,
    )
    target: Annotated[SerializeAsAny[TargetSettings], BeforeValidator(TargetSettings.read)] = (
        setting(
            OneHotSettings(),
            "the distribution over items that the model is fitted to; one-hot is the label alone",
            common=True,
            flags=("--target", "-t"),
            choices=TARGETS.choices,
        )
    )
    loss: Annotated[SerializeAsAny[LossSettings], BeforeValidator(LossSettings.read)] = setting(
        MixedSettings(),
        "the loss; only softmax losses (mixed, decoupled, sl, bsl, infonce+, debiased) accept a "
        "soft target",
        common=True,
        choices=LOSSES.choices,
    )
    candidates: Annotated[
        SerializeAsAny[CandidatesSettings], BeforeValidator(CandidatesSettings.read)
    ] = setting(
        AutoSettings(),
        "the items that the label is scored against in training; auto is full, or sampled where "
        "that would cost too much",
        common=True,
        choices=CANDIDATES.choices,
    )
    weights: Annotated[SerializeAsAny[WeightsSettings], BeforeValidator(WeightsSettings.read)] = (
        setting(
            EqualSettings(),
            "the weights of the training examples, by which their losses are multiplied",
            common=True,
            choices=WEIGHTS.choices,
        )
    )
    training: TrainingSettings = setting(
        TrainingSettings(), "the training examples, the optimiser, and how long to train"
    )
    evaluation: EvaluationSettings = setting(
        EvaluationSettings(), "the ranking of validation and test, and its metrics"
    )
    prior: PriorSettings | None = setting(
        None, "what is counted about the items of the history, added to the scores of the model"
    )
    interest: InterestSettings | None = setting(
        None, "how timirec learns to predict interests; other models have no such section"
    )
    trials: TrialSettings | None = setting(
        None, "settings that are tried before the training, which has the best of them"
    )
    tune: TuneSettings | None = setting(
        None, "how `softrec tune` and `compare --tune` search settings; others do not read it"
    )
    seed: Seed = setting(
        0,
        "seed of the initial weights, the order of the batches and dropout; of a comparison the "
        "first seed",
        common=True,
    )
    plugins: tuple[Text, ...] = setting(
        (),
        "modules and files (.py) that register targets, losses or models of your own",
        common=True,
        flags=("--plugin",),
        max_length=100,
    )

    @property
    def ranking_score(self) -> Literal["inner", "cosine", "euclidean"]:
        """Return the score of the ranking in validation, test and recommendation."""
        own = self.evaluation.score
        return self.loss.score if own == "trained" else own

    def stages(self) -> dict[str, Recipe]:
        """Return the recipes that this recipe depends on directly, by their place in it."""
        found: dict[str, Recipe] = {}

        def noted(place: str, run: Recipe | str) -> str:
            if isinstance(run, Recipe):
                found[place] = run
            return place

        self._replaced(noted)
        return found

    def with_stages(self, run_of: Callable[[str, Recipe], str]) -> Recipe:
        """Return the recipe with `run_of(place, stage)` in place of each stage.

        Args:
            run_of: returns the folder of a run, from the place in the recipe and the stage.
        """
        if not self.stages():
            return self  # it was checked when it was read
        return Recipe.model_validate(
            self._replaced(lambda place, run: run if isinstance(run, str) else run_of(place, run))
        )

    def runs(self) -> list[str]:
        """Return the folders of finished runs that this recipe or one of its stages names."""
        found: list[str] = []

        def noted(place: str, run: Recipe | str) -> str:
            found.extend(run.runs() if isinstance(run, Recipe) else [run])
            return place

        self._replaced(noted)
        return found

    def _replaced(self, run_of: Callable[[str, Recipe | str], str]) -> dict[str, Any]:
        """Return the fields, with `run_of` in place of each folder or recipe of another run."""
        fields = self.model_dump(mode="json")
        common = {"data": fields["data"], "seed": self.seed}

        def replaced(place: str, value: Any) -> Any:
            if place.rpartition(".")[2] in RUNS and value is not None:
                named = isinstance(value, str)
                return run_of(place, value if named else read_recipe({**value, **common}, place))
            if isinstance(value, list):
                return [replaced(f"{place}.{i}", part) for i, part in enumerate(value)]
            if not isinstance(value, dict):
                return value
            return {name: replaced(f"{place}.{name}", part) for name, part in value.items()}

        return fields | {name: replaced(name, fields[name]) for name in ("training", "target")}

    def __reduce__(self) -> Any:
        """Pickle plain data, and the modules in which members of others are registered."""
        from softrec.recipe.plugins import modules_of, unpickled  # which know recipes

        return unpickled, (self.model_dump(mode="json"), modules_of(self))

    def without_search(self) -> Recipe:
        """Return the recipe of a run: how settings were searched is no part of it."""
        return self if self.tune is None else self.model_copy(update={"tune": None})

    def _check_axes(self) -> None:
        """Refuse a target, a loss and candidates that make no sense together."""
        soft, loss, candidates = self.target.soft_weight > 0, self.loss, self.candidates
        for model in self.target.tables:
            check_table(model, f"target {self.target.name}")
        loss.check(soft=soft)
        self.weights.check(loss.changes_logits)
        if not isinstance(candidates, DrawnSettings):
            return
        if candidates.correction and not loss.softmax:
            raise ValueError(
                f"candidates.correction belongs to softmax losses; loss: {loss.name} has no "
                "denominator to correct; leave it out"
            )
        if loss.needs_fraction and candidates.number_of(1) is None:
            raise ValueError(
                f"{loss.name} must know which fraction of the items is sampled, which "
                f"{candidates.name} candidates do not tell; choose candidates: sampled"
            )
        if soft and candidates.soft == "exact" and not self.target.shared:
            raise ValueError(
                "candidates.soft: exact needs a soft target that is the same for all rows "
                f"(uniform, pop+); for {self.target.name} choose restricted"
            )
        if soft:
            candidates.check_soft()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_model(cls, fields: Any) -> Any:
        """Add the defaults of the model, and the section `interest` if it predicts interests."""
        if not isinstance(fields, dict):
            return fields
        model = fields.get("model")
        name = model.get("name") if isinstance(model, dict) else getattr(model, "name", None)
        found = with_defaults(fields, name)
        if predicts_interests(name) and fields.get("interest") is None:
            found["interest"] = {}
        return found

    def _check_model(self) -> None:
        """Refuse sections that the model cannot use."""
        name = self.model.name
        if is_counted(name):
            self._check_counted()
        if self.prior is not None:
            self.prior.check(name, self.target, self.loss, self.weights, self.ranking_score)
        if self.interest is not None and not predicts_interests(name):
            raise ValueError(f"interest belongs to timirec; {name} predicts no interests")

    def _check_counted(self) -> None:
        """Refuse fields that only training uses, unless they have their defaults."""
        given = {
            "target": self.target != OneHotSettings(),
            "loss": self.loss != MixedSettings(),
            "candidates": self.candidates not in (AutoSettings(), FullSettings()),
            "weights": self.weights != EqualSettings(),
            "evaluation.score": self.evaluation.score != "trained",
        } | {
            f"training.{name}": getattr(self.training, name)
            not in (field.default, FORMER_TRAINING.get(name, field.default))
            for name, field in TrainingSettings.model_fields.items()
            if name not in FOR_COUNTED
        }
        wrong = next((place for place, other in given.items() if other), None)
        if wrong is not None:
            raise ValueError(
                f"{self.model.name} is counted, not trained, so {wrong} has no meaning for it; "
                "leave it out, or choose a model that is trained, such as sasrec"
            )

    def _check_optimizer(self) -> None:
        """Refuse sparse-adam if every row of the tables has a gradient."""
        if self.training.optimizer != "sparse-adam":
            return
        candidates = self.candidates
        reasons = {
            f"candidates: {candidates.name}": not isinstance(candidates, DrawnSettings),
            "candidates.soft: exact": isinstance(candidates, DrawnSettings)
            and candidates.soft == "exact",
            "training.weight_decay": self.training.weight_decay > 0,
            "loss.l2": self.loss.l2 > 0,
            f"model: {self.model.name}": reads_graph(self.model.name),
        }
        for reason, holds in reasons.items():
            if holds:
                raise ValueError(
                    "training.optimizer: sparse-adam updates only the rows that a batch uses, "
                    f"but {reason} gives every row a gradient; choose optimizer: adam, or sampled "
                    "candidates without it"
                )

    def _check_stages(self) -> None:
        """Refuse stages that cannot be read, or whose model does not fit."""
        own, stages = self.model.name, self.stages()
        start, teacher = stages.get("training.start"), stages.get("target.teacher")
        if start is not None and start.model.name not in starts_of(own):
            raise ValueError(
                f"training.start is the recipe of a {start.model.name}, but {own} is initialised "
                f"from {' or '.join(starts_of(own))}"
            )
        if teacher is not None:
            self.target.check_teacher(teacher.model.name, own)

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        self._check_axes()
        self._check_model()
        self._check_optimizer()
        self._check_stages()
        check_shards(self)
        check_refit(self)
        check_trials(self)
        if self.training.monitor not in self.evaluation.metrics:
            raise ValueError(
                f"training.monitor is {self.training.monitor}, which is not among "
                f"evaluation.metrics ({', '.join(self.evaluation.metrics)})"
            )
        own = self.model.settings.get("length")
        if own is not None and own < self.training.length:
            raise ValueError(
                f"the model reads {own} items, but training.length is {self.training.length}; "
                "make them equal"
            )
        return self


def read_recipe(fields: dict[str, Any], place: str = "the recipe") -> Recipe:
    """Return the checked recipe of nested plain data.

    Raises:
        RecipeError: if a field is wrong; the message names it, its value, and accepted values.
    """
    place = one_line(place, 150)
    try:
        return Recipe.model_validate(current(fields))
    except ValidationError as error:
        text = f"{place}: {complaint(error, sections())}"
        raise RecipeError(text, field=field_of(error)) from error
    except RecursionError as error:
        raise RecipeError(f"{place} is nested too deeply; name runs by their folders") from error


def sections() -> dict[str, type[BaseModel]]:
    """Return the settings at each place of a recipe, such as "data" or "target.pop+"."""
    found: dict[str, type[BaseModel]] = {"": Recipe}
    for place, kind in _kinds().items():
        if issubclass(kind, Chosen):
            found |= {f"{place}.{name}": member for name, member in kind.registry.items()}
        elif kind is not ModelSettings:  # whose fields depend on its name
            found[place] = kind
    return found


@cache
def _kinds() -> dict[str, type[BaseModel]]:
    """Return the type of each section of a recipe."""
    listed = {name: _settings(field.annotation) for name, field in Recipe.model_fields.items()}
    return {name: kind for name, kind in listed.items() if kind is not None}


def _settings(annotation: Any) -> type[BaseModel] | None:
    """Return the settings class in the type of a field, if there is one."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def choices(place: str) -> list[str]:
    """Return the names to choose from at a place of a recipe.

    Example:
        >>> choices("candidates"), choices("training.padding_side")
        (['auto', 'full', 'in-batch', 'mixed', 'sampled', 'shown'], ['left', 'right'])
    """
    section, _, field = place.partition(".")
    if field:
        return list(get_args(sections()[section].model_fields[field].annotation))
    return [
        name.partition(".")[2]
        for name, settings in sections().items()
        if name.startswith(f"{section}.") and getattr(settings, "listed", True)
    ]


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the dotted `changes` applied, such as {"training.lr": 0.01}."""
    result = {k: dict(v) if isinstance(v, dict) else v for k, v in base.items()}
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        here = result
        for part in path:
            below = here.get(part)
            here[part] = dict(below) if isinstance(below, dict) else {}
            here = here[part]
        here[last] = value
    return result
