"""Writes the files of an export into a folder; the manifest comes last."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.numpy import save_file

from softrec.blocks import blocks
from softrec.data.interactions import Interactions
from softrec.errors import RunError
from softrec.files import replacing, sealed, write_facts
from softrec.limits import LIMITS
from softrec.models.prior import WithPrior, without_prior
from softrec.scoring import Scored
from softrec.serving.exact import ItemScores
from softrec.serving.exporting.tower import INPUTS, OUTPUTS, traced, write_onnx
from softrec.serving.manifest import (
    CATALOGUE,
    FORMAT,
    ITEMS,
    MANIFEST,
    ONNX,
    PARITY,
    PRIOR,
    PT2,
    USERS,
    VECTORS,
)
from softrec.serving.prior import PARTS, Offsets
from softrec.serving.recommender import Recommender
from softrec.types import (
    Batch,
    Encoder,
    ItemVectors,
    OffsetScores,
    Scores,
    products_of,
)


def encoder_of(recommender: Recommender) -> Encoder:
    """Return the encoder of a recommender as it is exported.

    Raises:
        RunError: if its model is counted.
    """
    model = recommender.model
    if not isinstance(model, Encoder):
        raise RunError(
            f"{model.name} can be neither exported nor indexed: it is counted, and scores with "
            "tables of the log in place of vectors of users and items; serve the run itself, or "
            "take a trained model, such as sasrec"
        )
    return model.float().cpu().eval()


def prior_of(model: Encoder, folder: Path) -> dict[str, Any] | None:
    """Write the tables of a model's prior, and return its settings; None if it adds nothing."""
    if not isinstance(model, WithPrior):
        return None
    prior, terms = model.prior, model.prior.terms()
    if not terms:
        return None
    arrays = {
        f"{number}.{name}": getattr(scorer, name).numpy()
        for number, (scorer, _) in enumerate(terms)
        for name in PARTS
    }
    with replacing(folder / PRIOR) as fresh:
        save_file(arrays, fresh)
    told = [{"strength": factor, "recency": scorer.recency} for scorer, factor in terms]
    return {"terms": told, "floor": prior.floor, "last": prior.last, "items": prior.items}


def write_files(recommender: Recommender, folder: Path, *, users: bool = True) -> dict[str, Any]:
    """Write tower, vectors and ids, and return what the manifest says of them.

    Args:
        recommender: of an encoder.
        folder: an empty folder.
        users: write the histories of the users.

    Raises:
        RunError: if the model cannot be exported.
    """
    whole, log = encoder_of(recommender), recommender.log
    model = without_prior(whole)
    if model.reads == "user" and not users:
        raise RunError(
            f"{model.name} knows users by their number, so that an export without users could "
            "recommend to nobody; leave out --no-users"
        )
    if model.reads == "history":
        program = traced(model, recommender.length)
        torch.export.save(program, folder / PT2)
        write_onnx(program, model.name, folder / ONNX)
        n_outputs = len(program.graph_signature.user_outputs)
        tower = {
            "inputs": list(INPUTS[: 1 + model.needs_times]),
            "outputs": list(OUTPUTS[:n_outputs]),
        }
    else:
        tower = None
    with torch.inference_mode():
        items = whole.items()  # with the popularity of a prior
    _write_items(items, recommender, folder)
    if recommender.catalogue is not None:
        recommender.catalogue.write_parquet(folder / CATALOGUE)
    if users:
        _write_users(model, items, log, folder)
    return {
        "model": {
            "name": model.name,
            "reads": model.reads,
            "needs_times": model.needs_times,
            "interests": model.n_interests,
            "similar": _comparison(model),
            "dim": items.vectors.shape[1],
            "bias": items.bias is not None,
        },
        "tower": tower,
        "length": recommender.length,
        "mask_seen": recommender.mask_seen,
        "n_items": log.n_items,
        "n_users": log.n_users if users else 0,
        "padding": log.n_items,
        "prior": prior_of(whole, folder),
    }


def _comparison(model: Encoder) -> str | None:
    """Return how a model compares items: by cosine, by distance, or in a way of its own: None."""
    if isinstance(model, Scored):
        kind = "distance" if model.scoring.kind == "euclidean" else "cosine"
        return kind if _comparison(model.encoder) else None
    return "cosine" if type(model).similarities is Encoder.similarities else None


def _write_items(items: ItemVectors, recommender: Recommender, folder: Path) -> None:
    columns = {"vectors": items.vectors} | ({} if items.bias is None else {"bias": items.bias})
    arrays = {
        name: np.ascontiguousarray(part.detach().float().numpy()) for name, part in columns.items()
    }
    with replacing(folder / VECTORS) as fresh:
        save_file(arrays, fresh)
    table = recommender.catalogue
    if table is None:
        table = pl.DataFrame({"id": recommender.log.items.raw})
    table = table.drop("bias", "vector", strict=False)
    if "bias" in arrays:
        table = table.with_columns(bias=pl.Series(arrays["bias"]))
    table = table.with_columns(vector=_fixed(arrays["vectors"]))
    table.write_ipc(folder / ITEMS, compat_level=pl.CompatLevel.oldest())


def _fixed(vectors: np.ndarray) -> pl.Series:
    """Return rows as a column of lists of a fixed size."""
    return pl.Series(vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))


def _write_users(model: Encoder, items: ItemVectors, log: Interactions, folder: Path) -> None:
    """Write the users with their histories, and their vectors if the model has a table of them."""
    rows = log.sequences
    number = pl.Series(np.repeat(np.arange(len(rows), dtype=np.uint32), rows.lengths))
    events = {"user": number, "history": pl.Series(rows.items.astype(np.uint32))}
    if model.needs_times and rows.times is not None:
        events["times"] = pl.Series(rows.times)
    lists = pl.DataFrame(events).group_by("user", maintain_order=True).agg(pl.all())
    everybody = pl.DataFrame({"user": np.arange(len(rows), dtype=np.uint32)})
    table = everybody.join(lists, on="user", how="left", maintain_order="left")
    table = table.with_columns(pl.exclude("user").fill_null([]), user=log.users.raw)
    if model.reads == "user":
        table = table.with_columns(vector=_fixed(_vectors_of_users(model, items, log.n_users)))
    table.write_parquet(folder / USERS)


@torch.inference_mode()
def _vectors_of_users(model: Encoder, items: ItemVectors, n_users: int) -> np.ndarray:
    """Return the vectors of all users, (U, D), of a model that identifies users by number."""
    found = []
    for some in blocks(n_users, LIMITS.encoded):
        user = torch.arange(some.start, some.stop)
        history = torch.full((len(user), 1), model.n_items)
        found.append(model(Batch(history, user * 0, user * 0, user), items).users)
    return torch.cat(found).float().numpy()


@torch.inference_mode()
def arrays_of(scores: Scores) -> tuple[ItemScores, np.ndarray, Offsets | None]:
    """Return the items, the user vectors, and the offsets of the scores of an encoder."""
    found = products_of(scores)
    assert found is not None
    vectors, bias, _ = found.items
    items = ItemScores(vectors.numpy(), None if bias is None else bias.numpy())
    offsets = None
    if isinstance(scores, OffsetScores):
        offsets = Offsets(*(part.numpy() for part in scores.offset))
    return items, found.users.numpy(), offsets


def write_manifest(folder: Path, facts: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write the manifest, with the hashes of all other files.

    Args:
        folder: of the export.
        facts: the result of `write_files`.
        about: further entries.
    """
    kept = (ONNX, f"{ONNX}.data", PT2, VECTORS, ITEMS, CATALOGUE, USERS, PRIOR, PARITY)
    names = [name for name in kept if (folder / name).exists()]
    packages = ("torch", "onnx", "onnxruntime", "onnxscript", "polars", "numpy")
    write_facts(
        folder / MANIFEST,
        {
            "format": FORMAT,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("softrec", *packages)},
            **facts,
            **about,
            "files": sealed(folder, names),
        },
    )
