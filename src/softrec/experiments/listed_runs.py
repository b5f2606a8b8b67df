"""The runs below a folder, as a table.

Only their small files are read, without torch, so that a thousand take a second.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from filelock import FileLock, Timeout

from softrec.errors import RecipeError, RunError, no_such
from softrec.experiments.store.folders import LOCK, MARK, RUN, UNFINISHED
from softrec.files import read_facts
from softrec.renamed import current

COLUMNS = {
    "run": pl.String, "state": pl.String, "model": pl.String, "target": pl.String,
    "loss": pl.String, "data": pl.String, "seed": pl.Int64, "epochs": pl.Int64,
    "seconds": pl.Float64, "date": pl.Datetime("us", "UTC"), "accepted": pl.Boolean,
    "monitor": pl.String, "negatives": pl.Int64,
}  # fmt: skip
"""The columns that every table has; those of the metrics follow."""
LEAST_FORMAT = 1  # of run.json: it has no hash of its own


def runs(folder: str | Path = ".", sort: str = "date") -> pl.DataFrame:
    """Return a table of the runs in a folder and the folders below, a row per run.

    Args:
        folder: where they are; runs of comparisons and studies are found, too.
        sort: a column. Metrics and dates begin with the highest, all others with the lowest.

    Returns:
        The columns run (its folder), state, model, target, loss, data, seed, epochs, seconds, date
        (UTC, of its end), accepted (by the gate of an update), monitor (the metric that chose the
        epoch), negatives (how many sampled items a label was ranked among; null for all items: such
        metrics do not compare), and the metrics: "ndcg@10" on test, "valid/ndcg@10" on validation.
        State is "complete"; "in progress"; "interrupted", the same command continues it; or
        "broken": a file is missing or was changed. Contents are not hashed, see
        `softrec.open_run`.

    Raises:
        RunError: if there is no such folder.
        RecipeError: if there is no such column.

    Example:
        softrec.runs("runs", sort="ndcg@10").select("run", "model", "ndcg@10")
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder; name one that has run folders in it")
    rows = [_row(path, path.relative_to(folder)) for path in _found(folder)]
    metrics = dict.fromkeys(name for row in rows for name in row if "@" in name)
    schema = {**COLUMNS, **dict.fromkeys(metrics, pl.Float64)}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    if sort not in table.columns:
        raise RecipeError(no_such("column", sort, table.columns))
    return table.sort(
        sort, "run", descending=["@" in sort or sort == "date", False], nulls_last=True
    )


def _found(folder: Path) -> Iterator[Path]:
    """Yield the run folders, finished or not; what is inside them is not looked at."""
    for place, below, files in os.walk(folder):
        path = Path(place)
        if RUN.result in files or (MARK in files and _kind(path) == RUN.name):
            below.clear()
            yield path
        below.sort()


def _kind(folder: Path) -> str | None:
    with suppress(OSError, ValueError):
        return read_facts(folder / MARK).get("kind")
    return None


def _row(path: Path, name: Path) -> dict[str, Any]:
    """Return what the small files of a run say."""
    facts = _facts(path)
    if path.name.endswith(UNFINISHED):
        out = path.with_name(path.name.removesuffix(UNFINISHED))
        state = "in progress" if _is_locked(out) else "interrupted"
        asked = facts.get("recipe") or _asked(path)
        return {"run": str(name), "state": state, **_of_recipe(asked), "date": _date(path)}
    state = "complete" if facts and not _lacks(path, facts) else "broken"
    metrics = {n: value for n, value in (facts.get("test") or {}).items() if "@" in n}
    metrics |= {f"valid/{n}": value for n, value in (facts.get("valid") or {}).items() if "@" in n}
    about = _of_recipe(facts.get("recipe") or _asked(path))
    if "settings" in facts:  # a counted model
        about |= {"target": None, "loss": None}
    return {
        "run": str(name),
        "state": state,
        **about,
        "epochs": facts.get("epochs"),
        "seconds": facts.get("seconds"),
        "date": _date(path / RUN.result),
        "accepted": _accepted(path),
        **metrics,
    }


def _facts(path: Path) -> dict[str, Any]:
    """Return run.json; {} if it is not there or was changed."""
    with suppress(OSError, ValueError):
        return read_facts(path / RUN.result)
    with suppress(OSError, ValueError, AttributeError):
        facts = json.loads((path / RUN.result).read_text(encoding="utf-8"))
        return facts if facts.get("format") == LEAST_FORMAT else {}
    return {}


def _lacks(path: Path, facts: Mapping[str, Any]) -> bool:
    """Return whether a file is missing or has another size."""
    try:
        sizes = {name: kept["size"] for name, kept in facts.get("files", {}).items()}
        return any((path / name).stat().st_size != size for name, size in sizes.items())
    except (OSError, TypeError, KeyError, AttributeError):
        return True


def _asked(path: Path) -> Any:
    """Return recipe.yaml as plain data; {} if it cannot be read."""
    try:
        return yaml.safe_load((path / RUN.asked).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def _of_recipe(recipe: Any) -> dict[str, Any]:
    """Return the columns that a recipe says; none if it is not one."""
    try:
        recipe = current(recipe, warn=False)
        target, source = recipe["target"], str(recipe["data"]["source"])
        alpha = target.get("alpha")
        return {
            "model": recipe["model"]["name"],
            "target": target["name"] + ("" if alpha is None else f" (alpha {alpha:g})"),
            "loss": recipe["loss"]["name"],
            "data": Path(source).name or source,
            "seed": recipe["seed"],
            "monitor": recipe["training"]["monitor"],
            "negatives": (recipe.get("evaluation") or {}).get("negatives"),
        }
    except (KeyError, TypeError, ValueError, AttributeError, RecipeError):
        return {}


def _accepted(path: Path) -> bool | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return bool(read_facts(path / "update.json")["gate"]["accepted"])
    return None


def _date(path: Path) -> datetime | None:
    with suppress(OSError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return None


def _is_locked(out: Path) -> bool:
    """Return whether a process is writing a folder."""
    path = out.with_name(f".{out.name}{LOCK}")
    if not path.exists():
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False
