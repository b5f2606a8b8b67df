"""Losses, gradients and three small runs as they were once, for changes that change no number.

    python tests/golden.py          # compares to the last digit: on one machine, before and after
    python tests/golden.py add      # what is new, and leave the others as they are
    python tests/golden.py write    # where a number is meant to change: say so under [Numerics]

`test_golden.py` compares with what is written, up to the rounding of another machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch

from softrec.data.splits import Split
from softrec.experiments.build.data import load_split
from softrec.experiments.build.objective import build
from softrec.experiments.train import fit_recipe
from softrec.recipe.recipe import Recipe, merged, read_recipe
from softrec.recipe.specs.data import DataSettings

KEPT = Path(__file__).with_name("golden.json")
BASE = {
    "data": {
        "source": "shop",
        "cold_items": "keep",
        "shop": {"n_items": 60, "n_categories": 6, "n_archetypes": 6, "n_users": 80,
                 "max_length": 12},
    },
    "model": {"name": "sasrec", "dim": 16, "heads": 2},
    "candidates": {"name": "full"},
    "training": {"epochs": 2, "batch_size": 64, "length": 8, "lr": 0.01, "accelerator": "cpu",
                 "windows": "prefixes"},
}  # fmt: skip
POP = {"target": {"name": "pop+", "alpha": 0.3}}
SPARSE = {"target": {"name": "interest-sharing", "alpha": 0.3, "clusters": 4, "teacher": "TEACHER"}}
KD = {"target": {"name": "kd", "alpha": 0.3, "teacher": "TEACHER"}}
TAUGHT = {"model": {"name": "gru4rec", "dim": 16}, "seed": 5}
CSN = {"target": {"name": "csn", "alpha": 0.3}}
FULL = {"name": "full"}
SAMPLED = {"name": "sampled", "number": 20}
ROWS = {"name": "sampled", "number": 20, "per_row": True}
CANDIDATES = {
    "full": FULL,
    "sampled": SAMPLED,
    "sampled by popularity": SAMPLED | {"sampler": "popularity"},
    "sampled, exact": SAMPLED | {"soft": "exact"},
    "of each row": ROWS,
    "in-batch": {"name": "in-batch"},
}
MASKED = {
    "not interacted": ROWS | {"mask_positives": True},
    "in-batch, masked": {"name": "in-batch", "mask_positives": True},
}
LOSSES: dict[str, dict[str, Any]] = {
    "decoupled": {"name": "decoupled", "balance": 0.7},
    "red line": {"name": "decoupled", "balance": "red-line"},
    "euclidean": {"name": "mixed", "score": "euclidean"},
    "cosine": {"name": "mixed", "score": "cosine", "score_temperature": 0.2},
}
HARD_LOSSES: dict[str, dict[str, Any]] = {
    "sl": {"name": "sl", "score_temperature": 0.2},
    "bsl": {"name": "bsl", "score_temperature": 0.2},
    "bsl multi": {"name": "bsl", "mode": "multi", "score_temperature": 0.2},
    "bsl bilateral": {"name": "bsl", "mode": "bilateral", "score_temperature": 0.2,
                      "positive_temperature": 0.1},
    **{name: {"name": name} for name in
       ("bpr", "weighted-bpr", "bce", "bce-sum", "mse", "gbce", "ccl", "cml")},
}  # fmt: skip
MODELS = (
    "gru4rec", "sasrec", "caser", "nfm", "youtubednn", "deepfm", "mf", "lightgcn", "ngcf", "mind",
    "comirec-dr", "comirec-sa", "timirec",
)  # fmt: skip
TIMED: dict[str, dict[str, Any]] = {  # of tisasrec, on a log with times
    "": {},
    ", scale": {"scale": True, "init": "uniform"},
    ", post": {"norm": "post", "heads": 1, "tied": False, "output_bias": True},
    ", query": {"norm": "query", "scale": True, "projection": False, "unit": "published",
                "intervals": 8},
}  # fmt: skip
PINNED: dict[str, dict[str, Any]] = {"sasrec": {"heads": 2}, "nfm": {"batch_norm": True},
                                     "comirec-dr": {"same_maps": False, "scale": False},
                                     "tisasrec": {"norm": "pre", "scale": False}}  # fmt: skip
"""Settings whose defaults are others now, or may become so."""
RUNS = {
    "sasrec": merged(BASE, POP),
    "gru4rec": merged(BASE, {"model": {"name": "gru4rec", "dim": 16}, **SPARSE,
                             "loss": {"name": "decoupled", "balance": 0.7},
                             "candidates": SAMPLED}),
    "lightgcn": merged(BASE, {"model": {"name": "lightgcn", "dim": 16},
                              "loss": HARD_LOSSES["bsl"], "candidates": ROWS}),
}  # fmt: skip


def steps() -> dict[str, dict[str, Any]]:
    """Return the recipes whose first step is looked at, by name."""
    found: dict[str, dict[str, Any]] = {}
    for target in (POP, SPARSE, KD, CSN):
        name = target["target"]["name"]
        for loss, fields in LOSSES.items():
            found[f"{name}, {loss}"] = {**target, "loss": fields}
        for candidates, fields in CANDIDATES.items():
            exact = fields.get("soft") == "exact"
            if not exact or target is POP:
                found[f"{name}, {candidates}"] = {**target, "candidates": fields}
    for loss, fields in HARD_LOSSES.items():
        found[f"{loss}, shared"] = {"loss": fields, "candidates": SAMPLED}
        found[f"{loss}, of each row"] = {"loss": fields, "candidates": ROWS}
    for model in MODELS:
        fields = {"name": model, "dim": 16, **PINNED.get(model, {})}
        found[f"model {model}"] = {"model": fields, "target": {"name": "uniform", "alpha": 0.2}}
    for variant, fields in TIMED.items():
        found[f"model tisasrec{variant}"] = {
            "model": {"name": "tisasrec", "dim": 16, **PINNED["tisasrec"], **fields},
            "data.shop.times": True,
            "training.windows": "positions" if variant else "prefixes",
            "target": {"name": "uniform", "alpha": 0.2},
        }  # fmt: skip
    found |= {name: {"candidates": fields} for name, fields in MASKED.items()}
    found["l2"] = {**POP, "loss": {"name": "mixed", "l2": 0.01}}
    found["sparse-adam"] = {"candidates": ROWS, "training.optimizer": "sparse-adam"}
    return {name: merged(BASE, fields) for name, fields in found.items()}


def recipe_of(fields: dict[str, Any], teacher: str) -> Recipe:
    """Return a recipe, with the folder of the teacher where it is named."""
    return read_recipe(json.loads(json.dumps(fields).replace("TEACHER", teacher)))


@cache
def _split(data: str) -> Split:
    return load_split(DataSettings.model_validate_json(data))


def split_of(recipe: Recipe) -> Split:
    """Return the parts of the log of a recipe, the same for all that have the same log."""
    return _split(recipe.data.model_dump_json())


def step(recipe: Recipe) -> dict[str, Any]:
    """Return the loss of the first batch, its parts, and the gradients in a few numbers."""
    encoder, objective, batches = build(recipe, split_of(recipe))
    assert isinstance(encoder, torch.nn.Module)
    torch.manual_seed(7)
    value = objective(encoder, next(iter(batches)))
    value.total.backward()
    gradients = [
        part.grad.to_dense().double() for part in encoder.parameters() if part.grad is not None
    ]
    return {
        "loss": float(value.total),
        "parts": {name: float(part.double().mean()) for name, part in value.parts.items()},
        "gradients": sorted(
            [list(g.shape), float(g.abs().sum()), float(g.flatten() @ _weights(g.numel()))]
            for g in gradients
        ),
    }


def _weights(n: int) -> torch.Tensor:
    """Return numbers that tell which places a gradient stands at, (n,) float64."""
    return torch.cos(torch.arange(n, dtype=torch.float64))


def run(recipe: Recipe) -> dict[str, Any]:
    """Return the metrics of a whole run and the hash of its weights, whatever their names."""
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as folder:
        made = fit_recipe(recipe, Path(folder) / "run", split=split_of(recipe))
        weights = load_file(made.folder / "model.safetensors").values()
        digests = sorted(hashlib.sha256(w.numpy().tobytes()).hexdigest() for w in weights)
    return {
        "weights": hashlib.sha256("".join(digests).encode()).hexdigest(),
        "sums": sorted([list(w.shape), float(w.double().abs().sum())] for w in weights),
        "metrics": {"valid": made.facts["valid"], "test": made.facts["test"]},
    }


def measured(*, runs: bool = True) -> dict[str, Any]:
    """Return all golden results as the code gives them now."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        teacher = str(Path(folder) / "teacher")
        taught = read_recipe(merged(BASE, TAUGHT))
        fit_recipe(taught, teacher, split=split_of(taught))
        found = {f"step: {n}": step(recipe_of(f, teacher)) for n, f in steps().items()}
        if runs:
            found |= {f"run: {n}": run(recipe_of(f, teacher)) for n, f in RUNS.items()}
    return json.loads(json.dumps(found))


def main() -> int:
    """Write the results, or tell which differ from what is written."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SOFTREC_CACHE"] = cache
        now = measured()
    kept = json.loads(KEPT.read_text())
    if sys.argv[1:] in (["add"], ["write"]):
        if sys.argv[1] == "add":
            now = {name: kept.get(name, result) for name, result in now.items()}
        lines = [f"{json.dumps(name)}: {json.dumps(result)}" for name, result in now.items()]
        KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        print(f"wrote {len(now)} results to {KEPT}, {len(now.keys() - kept.keys())} of them new")
        return 0
    other = [name for name in kept.keys() | now.keys() if kept.get(name) != now.get(name)]
    for name in sorted(other):
        print(f"{name}\n  was {json.dumps(kept.get(name))}\n  is  {json.dumps(now.get(name))}")
    print(f"{len(other)} of {len(kept)} results differ from {KEPT.name}")
    return min(1, len(other))


if __name__ == "__main__":
    sys.exit(main())
