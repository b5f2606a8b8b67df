"""From a recipe to a finished run: a folder of safetensors, Parquet and JSON, nothing pickled.

    RUN/
      run.json           recipe, versions, data, best epoch, metrics
      model.safetensors  the weights of the best epoch
      items.parquet      raw item ids in the order of their numbers; users.parquet likewise
      log.parquet        (user, item) numbers in the order of events, to serve known users
      per_user.parquet   the test metrics of each user
      curve.csv          one row per epoch

A run in progress lives in RUN.part, with checkpoints, and gets its name when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from softrec.data.interactions import Interactions
from softrec.data.reading import BROKEN
from softrec.data.splits import Cases, Split
from softrec.data.vocabulary import Vocabulary
from softrec.errors import RunError
from softrec.evaluation.protocol import score_cases
from softrec.experiments.build import build, build_model, load_split
from softrec.experiments.memory import PeakMemory
from softrec.experiments.recipe import Recipe, read_recipe
from softrec.serving.recommender import Recommender
from softrec.training.fit import RESUME, Trained, fit
from softrec.types import Encoder

FORMAT = 1
FACTS = {"recipe", "data", "best_epoch", "epochs", "curve", "valid", "test"}
UNFINISHED = ".part"


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder."""

    folder: Path
    recipe: Recipe
    facts: dict[str, Any]  # the content of run.json

    @property
    def test(self) -> dict[str, float]:
        """Return the mean test metrics at the best validation epoch."""
        return self.facts["test"]

    @property
    def valid(self) -> dict[str, float]:
        """Return the validation metrics of the best epoch."""
        return self.facts["valid"]

    @property
    def per_user(self) -> pl.DataFrame:
        """Return the test metrics of each user, by raw id."""
        return self._table("per_user")

    @cached_property
    def log(self) -> Interactions:
        """Return the whole log the run was made from, in the order of events."""
        vocabularies = (Vocabulary(self._table(kind)["raw"]) for kind in ("users", "items"))
        return Interactions(self._table("log"), *vocabularies)

    def _table(self, name: str) -> pl.DataFrame:
        path = self.folder / f"{name}.parquet"
        try:
            return pl.read_parquet(path)
        except BROKEN as error:
            text = str(error).partition("\n")[0]
            raise RunError(f"{path} is missing or broken ({text}); train anew") from error

    def encoder(self) -> Encoder:
        """Return the trained model, in evaluation mode."""
        encoder = build_model(
            self.recipe.model, self.log.n_items, self.recipe.training.length, seed=0
        )
        assert isinstance(encoder, nn.Module)
        path = self.folder / "model.safetensors"
        try:
            state = load_file(path)
            encoder.to(next(iter(state.values())).dtype)  # as it was trained
            encoder.load_state_dict(state)
        except (RuntimeError, OSError, SafetensorError) as error:
            text = str(error).partition("\n")[0]
            raise RunError(
                f"{path} is broken or does not fit the recipe ({text}); train anew"
            ) from error
        return encoder.eval()

    def recommender(self) -> Recommender:
        """Return the service: raw ids in, raw ids out."""
        return Recommender(self.encoder(), self.log, length=self.recipe.training.length)

    def check_data(self, split: Split) -> None:
        """Refuse data other than those of the run.

        Raises:
            RunError: if catalogue, users or events are others.
        """
        own, given = self.facts["data"], describe(split)
        different = [name for name in given if name in own and own[name] != given[name]]
        if different:
            listed = "; ".join(f"{n} {own[n]} and now {given[n]}" for n in different)
            raise RunError(
                f"{self.folder} was trained on other data ({listed}); give the log and the "
                "cleaning it was trained with, or train anew"
            )


def open_run(folder: str | Path) -> Run:
    """Read a finished run.

    Raises:
        RunError: if there is none, or it is unfinished or of another format.
    """
    folder = Path(folder)
    if not (folder / "run.json").exists():
        unfinished = _unfinished(folder)
        hint = (
            (
                f"; an unfinished one is in {unfinished}: run the same `softrec fit` again to "
                "go on with it"
            )
            if unfinished.exists()
            else ""
        )
        raise RunError(f"there is no finished run in {folder} (no run.json){hint}")
    path = folder / "run.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise RunError(f"{path} is broken ({error}); train anew") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        came = facts.get("format") if isinstance(facts, dict) else type(facts).__name__
        raise RunError(f"{path} has format {came}, this softrec reads {FORMAT}; train anew")
    missing = FACTS - facts.keys()
    if missing:
        raise RunError(f"{path} is broken (it lacks {', '.join(sorted(missing))}); train anew")
    return Run(folder, read_recipe(facts["recipe"], str(path)), facts)


def fit_recipe(
    recipe: Recipe,
    out: str | Path,
    *,
    data_dir: Path | None = None,
    split: Split | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Run:
    """Train a recipe, evaluate it on the test part, and leave a run in `out`.

    If the same recipe was interrupted before, its training goes on where it stood.

    Args:
        recipe: what to do.
        out: the folder of the run.
        data_dir: a folder with public data sets.
        split: the data, if already loaded.
        overwrite: replace a finished run, and drop an unfinished one of another recipe.
        progress: show a bar; if None, when the error stream is a terminal.

    Raises:
        RunError: if `out` is taken.
        DataError: if the data cannot be used; nothing is left under `out` then.
    """
    out = Path(out)
    _check_free(out, recipe, overwrite=overwrite)
    if split is None:
        split = load_split(recipe.data, data_dir)
    encoder, objective, batches = build(recipe, split)
    spec, valid, _ = recipe.training, split.cases("valid"), split.cases("test")
    folder = _start(out, recipe, overwrite=overwrite)
    memory = PeakMemory()
    with _dropped_if_worthless(folder):
        trained = fit(
            encoder,
            objective,
            batches,
            lambda model: means(score(model, valid, recipe, recipe.evaluation.metrics)),
            folder,
            epochs=spec.epochs,
            lr=spec.lr,
            weight_decay=spec.weight_decay,
            betas=spec.betas,
            monitor=spec.monitor,
            patience=spec.patience,
            checkpoint_minutes=spec.checkpoint_minutes,
            checkpoint_steps=spec.checkpoint_steps,
            precision=spec.precision,
            accelerator=spec.accelerator,
            progress=progress,
        )
    peak = memory.mib()
    tested = score_part(encoder, split, recipe, "test")
    _write(folder, recipe, split, encoder, trained, tested, peak)
    if out.exists():
        shutil.rmtree(out)
    folder.rename(out)
    return open_run(out)


def score(encoder: Encoder, cases: Cases, recipe: Recipe, metrics: Sequence[str]) -> pl.DataFrame:
    """Return the metrics of each case under the protocol of a recipe."""
    return score_cases(
        encoder,
        cases,
        metrics,
        length=recipe.training.length,
        mask_seen=recipe.evaluation.mask_seen,
    )


def score_part(
    encoder: Encoder,
    split: Split,
    recipe: Recipe,
    part: Literal["valid", "test"],
    metrics: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Return the metrics of each user of a part, with raw user ids."""
    cases = split.cases(part)
    table = score(encoder, cases, recipe, metrics or recipe.evaluation.metrics)
    return table.insert_column(0, split.train.users.ids(cases.user).alias("user"))


def means(table: pl.DataFrame) -> dict[str, float]:
    """Return the mean of each metric over the rows of a table of cases or users."""
    metrics = [name for name in table.columns if "@" in name]
    return {name: float(np.mean(table[name].to_numpy())) for name in metrics}


def _unfinished(out: Path) -> Path:
    return out.with_name(out.name + UNFINISHED)


@contextmanager
def _dropped_if_worthless(folder: Path) -> Iterator[None]:
    """Remove `folder` after an error, unless it holds a checkpoint to go on from."""
    try:
        yield
    except BaseException:
        if not (folder / RESUME).exists():
            shutil.rmtree(folder)
        raise


def _check_free(out: Path, recipe: Recipe, *, overwrite: bool) -> None:
    """Refuse to lose a finished run, the progress of another recipe, or what is no run at all."""
    if out.exists() and overwrite and not (out / "run.json").exists():
        raise RunError(
            f"{out} is no run, and --overwrite replaces only runs; choose another --out, or "
            "delete it yourself"
        )
    if out.exists() and not overwrite:
        raise RunError(
            f"{out} exists already; choose another --out, or replace it with --overwrite"
        )
    begun = _unfinished(out) / "recipe.yaml"
    if begun.exists() and not overwrite and begun.read_text(encoding="utf-8") != _yaml(recipe):
        raise RunError(
            f"{_unfinished(out)} holds the unfinished run of another recipe; delete it, "
            "choose another --out, or drop it with --overwrite"
        )


def _start(out: Path, recipe: Recipe, *, overwrite: bool) -> Path:
    folder = _unfinished(out)
    written = folder / "recipe.yaml"
    if overwrite and written.exists() and written.read_text(encoding="utf-8") != _yaml(recipe):
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written.write_text(_yaml(recipe), encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot make {folder}: {error.strerror}; choose another --out") from error
    return folder


def _yaml(recipe: Recipe) -> str:
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def _write(
    folder: Path,
    recipe: Recipe,
    split: Split,
    encoder: Encoder,
    trained: Trained,
    tested: pl.DataFrame,
    peak_memory_mib: float | None,
) -> None:
    """Put the results of a run beside its checkpoints, and remove these."""
    assert isinstance(encoder, nn.Module)
    state = {n: t.contiguous().cpu() for n, t in encoder.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    for kind, vocabulary in (("users", split.train.users), ("items", split.train.items)):
        pl.DataFrame({"raw": vocabulary.raw}).write_parquet(folder / f"{kind}.parquet")
    whole = split.whole()
    whole.ordered.select("user", "item").write_parquet(folder / "log.parquet")
    tested.write_parquet(folder / "per_user.parquet")
    pl.DataFrame(trained.curve).write_csv(folder / "curve.csv")
    facts = {
        "format": FORMAT,
        "recipe": recipe.model_dump(mode="json"),
        "versions": versions(),
        "data": describe(split),
        "soft_mass": recipe.target.soft_mass,
        "best_epoch": trained.best_epoch,
        "epochs": len(trained.curve),
        "stopped_early": trained.stopped_early,
        "seconds": trained.seconds,
        "seconds_per_epoch": trained.seconds_per_epoch,
        "peak_memory_mib": peak_memory_mib,
        "curve": trained.curve,
        "valid": trained.best,
        "test": means(tested),
    }
    (folder / "run.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    # The one to go on from goes first: without the best weights it would be of no use.
    for checkpoint in sorted(folder.glob("*.ckpt"), reverse=True):
        checkpoint.unlink()


def describe(split: Split) -> dict[str, Any]:
    """Return the facts about the data of a run that a reader needs."""
    return {
        "users": split.train.n_users,
        "items": split.train.n_items,
        "split": split.name,
        "train": len(split.train),
        "valid": len(split.valid),
        "test": len(split.test),
        "fingerprint": split.train.fingerprint,
        "events_fingerprint": _events_fingerprint(split),
    }


def _events_fingerprint(split: Split) -> str:
    """Return a short hash of who took what, in which part and order."""
    digest = hashlib.sha256()
    for part in (split.train, split.valid, split.test):
        for kind in ("user", "item"):
            digest.update(part.ordered[kind].to_numpy().astype("<u4").tobytes())
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the versions a number depends on."""
    packages = ("softrec", "torch", "lightning", "numpy", "polars")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
