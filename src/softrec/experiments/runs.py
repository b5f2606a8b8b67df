"""A finished run, read from its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from softrec.data.aside import SetAside
from softrec.data.disk.split import StoredSplit
from softrec.data.interactions import Interactions
from softrec.data.reading import BROKEN
from softrec.data.refit import for_refit
from softrec.data.splits import Split
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError, RunError
from softrec.experiments import views
from softrec.experiments.build.model import build_model, with_prior
from softrec.experiments.build.on_disk import split_again
from softrec.experiments.described import describe
from softrec.experiments.instance import give_model
from softrec.experiments.store.changes import difference
from softrec.experiments.store.folders import RUN, none_finished
from softrec.experiments.store.integrity import hash_of
from softrec.experiments.store.run_file import check_files, facts_of, unreadable
from softrec.experiments.tables import ITEMS, USERS, read_kept
from softrec.files import facts_hash, read_facts
from softrec.models.prior import WithPrior
from softrec.recipe.plugins import missing_plugins
from softrec.recipe.recipe import Recipe, read_recipe
from softrec.recipe.specs.models import ModelSettings, reads_graph
from softrec.recipe.specs.prior import as_chosen
from softrec.recipe.specs.training import Refit
from softrec.renamed import FORMER_DEFAULTS, current
from softrec.scoring import Scored, Scoring
from softrec.serving.catalogue import Catalogue
from softrec.serving.recommender import Recommender
from softrec.types import LOG_TEMPERATURE, Encoder, Model

FACTS = {"recipe", "data", "best_epoch", "epochs", "curve", "valid", "test"}
FILES = (
    "model.safetensors", "items.parquet", "users.parquet", "per_user.parquet", "curve.csv",
    "recipe.yaml", "softrec.json",
)  # fmt: skip
"""The files whose hash and size are in `run.json`, beside that of the log."""
ON_DISK = "log.json"
"""In place of log.parquet: what tells a log that stays in its own files."""


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder."""

    folder: Path
    recipe: Recipe
    facts: dict[str, Any]  # the content of run.json

    @property
    def test(self) -> dict[str, float]:
        """Return the mean test metrics; of a refit with validation events, those of its weights."""
        return self.facts["test"]

    @property
    def valid(self) -> dict[str, float]:
        """Return the validation metrics of the best epoch."""
        return self.facts["valid"]

    @property
    def lists(self) -> dict[str, float]:
        """Return k and the measures of the top-k lists at test; empty in older runs."""
        return self.facts.get("lists", {})

    @property
    def mask_seen(self) -> bool:
        """Return whether the run was evaluated on new items only, with seen items masked."""
        return bool(self.facts.get("evaluation", {}).get("mask_seen", True))

    @property
    def model_settings(self) -> ModelSettings:
        """Return all settings of the model, with the defaults and choices of its training."""
        spec = self.recipe.model
        own = self.facts.get("model", spec.settings) | self.facts.get("settings", {})
        return spec.with_settings({**FORMER_DEFAULTS.get(spec.name, {}), **own})

    @property
    def weights_fingerprint(self) -> str:
        """Return a short hash of the weights; for a counted model also of its settings."""
        weights = hash_of(self.folder / "model.safetensors")
        if "settings" in self.facts:
            spec = self.recipe.model.with_settings(self.facts["settings"])
            facts = json.dumps([weights, spec.name, spec.settings, self.recipe.training.length])
            weights = hashlib.sha256(facts.encode()).hexdigest()
        return weights[:24]

    @property
    def temperature(self) -> float:
        """Return the temperature of the softmax that the model was trained with, at its end."""
        loss = self.recipe.loss
        if not loss.learns_temperature:
            return loss.score_temperature
        with safe_open(self.folder / "model.safetensors", "pt") as weights:
            return float(weights.get_tensor(LOG_TEMPERATURE).double().exp())

    @property
    def per_user(self) -> pl.DataFrame:
        """Return the test metrics of each user, by raw id."""
        return self._table("per_user")

    @cached_property
    def log(self) -> Interactions:
        """Return the whole log of the run, in the order of events."""
        if self._on_disk is not None:
            return self._on_disk.whole()
        vocabularies = (Vocabulary(self._table(kind)["raw"]) for kind in ("users", "items"))
        table = self._table("log").drop("part", strict=False)
        return Interactions(table, *vocabularies, times=self.facts["data"].get("times"))

    @cached_property
    def catalogue(self) -> Catalogue | None:
        """Return the table of the items that travels with the run, if there is one."""
        return read_kept(self.folder / ITEMS)

    @cached_property
    def user_table(self) -> Catalogue | None:
        """Return the table of the users that travels with the run, if there is one."""
        return read_kept(self.folder / USERS)

    @property
    def refit(self) -> Refit:
        """Return the held-out events that its weights were trained on once more, if any."""
        told = self.facts.get("refit", "none")
        return "all" if told is True else told  # as updates wrote it

    @property
    def trained_on(self) -> Interactions:
        """Return what the weights were trained on, with false positives if the recipe has them."""
        split = self.split()
        return split.train if self.refit == "none" else for_refit(split, self.refit).train

    @cached_property
    def _on_disk(self) -> StoredSplit | None:
        """The split of a log that stays in its own files; None if the run has its log."""
        path = self.folder / ON_DISK
        if not path.exists():
            return None
        try:
            return split_again(read_facts(path))
        except DataError as error:
            raise RunError(f"{self.folder}: {error}") from error

    def split(self) -> Split:
        """Return the training, validation and test parts of the log."""
        if self._on_disk is not None:
            return self._on_disk.under(self.facts["data"].get("protocol", {}))
        table = self._table("log")
        if "part" not in table.columns:
            untold = "does not say which events it was trained on; train it again"
            raise RunError(f"{self.folder} {untold}")
        names = table["part"].to_numpy()
        train, valid, test = (self.log.where(names == part) for part in ("train", "valid", "test"))
        context = self.log.where(names == "context") if "context" in names else None
        about = self.facts["data"]
        aside, protocol = SetAside(**about.get("set_aside", {})), about.get("protocol", {})
        return Split(train, valid, test, about["split"], aside, context=context).under(protocol)

    def _table(self, name: str) -> pl.DataFrame:
        path = self.folder / f"{name}.parquet"
        try:
            return pl.read_parquet(path)
        except PermissionError as error:
            raise unreadable(path) from error
        except BROKEN as error:
            text = str(error).partition("\n")[0]
            raise RunError(f"{path} is missing or damaged ({text}); train it again") from error

    def encoder(self) -> Encoder:
        """Return the trained encoder, in evaluation mode.

        Raises:
            RunError: if the model is counted and has no vectors.
        """
        model = self.model()
        if not isinstance(model, Encoder):
            raise RunError(
                f"{self.folder} is a run of {self.recipe.model.name}, which is counted, not "
                "trained, and has no vectors; name the run of a trained model, such as sasrec"
            )
        return model

    def model(self) -> Model:
        """Return the model, an encoder or a scorer, in evaluation mode."""
        spec = self.model_settings
        log = self.trained_on if reads_graph(spec.name) else self.log
        length = self.recipe.training.length
        model = build_model(spec, log, length, seed=None)
        if isinstance(model, Encoder):
            if self.recipe.loss.learns_temperature:
                model.learn_temperature(self.recipe.loss.score_temperature)
            prior = as_chosen(self.recipe.prior, self.facts)
            model = with_prior(
                model, prior, log, length, self.recipe.loss.score_temperature, fit=False
            )
        path = self.folder / "model.safetensors"
        try:
            state = load_file(path)
            model.to(next(part.dtype for part in state.values() if part.is_floating_point()))
            model.load_state_dict(state)  # copies, because what was read is a view of the file
        except PermissionError as error:
            raise unreadable(path) from error
        except (RuntimeError, OSError, SafetensorError) as error:
            text = str(error).partition("\n")[0]
            raise RunError(
                f"{path} is damaged or does not fit the recipe ({text}); train it again"
            ) from error
        broken = [n for n, part in state.items() if not _finite(part)]
        if broken:
            raise RunError(
                f"{path} has weights that are NaN or infinite ({broken[0]}); train it again"
            )
        return model.eval()

    def recommender(
        self, before: Literal["valid", "test"] | None = None, *, items: Any = None
    ) -> Recommender:
        """Return a recommender for raw ids; it masks seen items if the run's evaluation did.

        Args:
            before: use only each user's events before this part; by default all of the log.
            items: a table of the items in place of that of the run: a path, a table or a
                `Catalogue`.
        """
        model, length = ranked(self.model(), self.recipe), self.recipe.training.length
        log = self.log if before is None else self.split().before(before)
        found = Recommender(
            model, log, length=length, mask_seen=self.mask_seen,
            catalogue=self.catalogue if items is None else None,
        )  # fmt: skip
        # What is ranked by, such as a prior, is no weight.
        found.origin = {"recipe": facts_hash(self.recipe.model_dump(mode="json"))}
        if items is not None:
            found.use_table(items, self.recipe.data.item)
        return found

    def evaluate(
        self,
        part: str = "test",
        metrics: str | Sequence[str] | None = None,
        *,
        data: Any = None,
        data_dir: Path | None = None,
    ) -> dict[str, float]:
        """Evaluate the run again and return the mean metrics.

        Args:
            part: "test" or "valid".
            metrics: such as ["ndcg@5", "recall@50"]; by default those of the recipe.
            data: the log that the run was trained on, a path or a table; by default the copy in the
                run folder.
            data_dir: a folder with public data sets, if `data` names one.

        Raises:
            SoftrecError: if there is no such part or metric, or `data` is not the log of the run.

        Example:
            run.evaluate("valid", metrics=["hit_rate@1", "ndcg@5"])
        """
        from softrec.experiments.evaluate import evaluated
        from softrec.experiments.evaluator import means

        return means(evaluated(self, part, metrics, data=data, data_dir=data_dir))

    def __repr__(self) -> str:
        return views.run_text(self)

    def _repr_html_(self) -> str:
        return views.run_html(self)

    def check_data(self, split: Split) -> None:
        """Refuse data that are not those of the run.

        Raises:
            RunError: if the catalogue, the users or the events differ.
        """
        listed = difference(self.facts["data"], describe(split))
        if listed is not None:
            raise RunError(
                f"{self.folder} was trained on other data ({listed}); give the log and the "
                "cleaning it was trained with, or train it again"
            )


def _finite(part: torch.Tensor) -> bool:
    """Return whether all of a tensor is finite, in one pass and without a table of booleans."""
    return not part.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(part))).all())


def ranked(model: Model, recipe: Recipe) -> Model:
    """Return `model` with the scores that its recipe ranks by: products, cosines or distances."""
    kind = recipe.ranking_score
    if kind == "inner" or not isinstance(model, Encoder):
        return model
    scoring = Scoring(kind)
    if isinstance(model, WithPrior):  # its numbers are added to the scores
        return WithPrior(Scored(model.encoder, scoring), model.prior)
    return Scored(model, scoring)


def open_run(folder: str | Path, *, trust: bool = False, model: Encoder | None = None) -> Run:
    """Open a finished run, after checking that its files are unchanged.

    Args:
        folder: of the run, or its address on the Hugging Face Hub, hf://OWNER/NAME.
        trust: do not check the files, for runs that were edited on purpose.
        model: for a run whose model was given as an instance: an instance with the same settings.
            It may have any weights, and is not changed.

    Raises:
        RunError: if there is no run, if it is unfinished, changed or of another format, or if the
            model is another one than the run was trained with.
    """
    if str(folder).startswith("hf:/"):
        from softrec.experiments.hub import fetched

        folder = fetched(folder)
    folder = Path(folder)
    path = folder / RUN.result
    if not path.exists():
        raise none_finished(folder, RUN)
    facts = facts_of(path, trust=trust)
    missing = FACTS - facts.keys()
    if missing:
        raise RunError(
            f"{path} is damaged ({', '.join(sorted(missing))} is missing); train it again"
        )
    if not trust:
        check_files(folder, facts)
    if model is not None:
        give_model(folder, facts, model)
    lacking = missing_plugins(facts.get("plugins", ()))
    if lacking is not None:
        raise RunError(f"{folder} needs {lacking}")
    return Run(folder, read_recipe(current(facts["recipe"], warn=False), str(path)), facts)
