"""The model card of a run: Markdown, with the front matter of the Hugging Face Hub.

Everything in it is read from the run folder, except the licences, which only its owner knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import yaml

from softrec.data.aside import SetAside
from softrec.data.sources.base import SOURCES
from softrec.errors import one_line
from softrec.evaluation.asked import Asked, sentence_of
from softrec.evaluation.significance import paired
from softrec.experiments.runs import Run
from softrec.experiments.sliced import case_slices
from softrec.experiments.updating.update import UPDATE, open_update
from softrec.experiments.views import asked, best_of, data_text
from softrec.models.registry import MODELS
from softrec.recipe.specs.models import is_counted
from softrec.recipe.specs.prior import as_chosen
from softrec.renamed import RUNS

NOT_SAID = "not stated; ask whoever gave the log before you use or share this model"


class Licences(NamedTuple):
    """What only the owner of a run knows.

    Attributes:
        model: the identifier of the Hub, such as "apache-2.0"; None leaves it out.
        data: a sentence on the terms of the log; by default those of a public data set.
    """

    model: str | None = None
    data: str | None = None


def card_of(run: Run, licences: Licences | None = None, name: str | None = None) -> str:
    """Return the model card of a run as Markdown.

    Args:
        run: a finished run.
        licences: of the model and of the data.
        name: of the model; by default that of the folder.
    """
    licences = licences or Licences()
    name = name or run.folder.resolve().name
    title = f"# {_plain(name)}\n\n{_plain(asked(run.recipe))}; {_plain(best_of(run))}."
    parts = [
        title,
        _use(run),
        _data(run, licences),
        _metrics(run),
        _slices(run),
        _limits(run),
        _training(run),
    ]
    return _front(run, licences, name) + "\n\n".join(part for part in parts if part) + "\n"


def _front(run: Run, licences: Licences, name: str) -> str:
    """Return the front matter, which the Hub reads."""
    metrics = [{"type": metric, "value": round(value, 6)} for metric, value in run.test.items()]
    data = {"name": run.recipe.data.title, "type": run.recipe.data.title}
    task = {"type": "recommendation", "name": "Next-item recommendation"}
    front: dict[str, Any] = {
        "library_name": "softrec",
        "tags": ["recommendation", "softrec", run.recipe.model.name, run.recipe.target.name],
        "metrics": list(run.test),
        "model-index": [
            {"name": name, "results": [{"task": task, "dataset": data, "metrics": metrics}]}
        ],
    }
    if licences.model is not None:
        front = {"license": licences.model, **front}
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n"


def _use(run: Run) -> str:
    version = run.facts.get("versions", {}).get("softrec", "")
    lines = [
        "## Use", "",
        "    import softrec", "",
        '    recommender = softrec.open_run("FOLDER").recommender()',
        "    recommender.recommend([user], k=10)", "",
        f"`FOLDER` is the folder of this card; made with softrec {_plain(version)}. "
        "`softrec recommend FOLDER --user ID` does the same on the command line.",
    ]  # fmt: skip
    return "\n".join(lines)


def _data(run: Run, licences: Licences) -> str:
    spec, split = run.recipe.data, run.split()
    source = SOURCES.get(spec.source)
    terms = licences.data or (source.licence if source else NOT_SAID)
    left = SetAside(**run.facts["data"].get("set_aside", {})).sentence() or "nothing is set aside"
    lines = [
        "## Data", "",
        f"- {_plain(data_text(split) if run.refit != 'all' else _whole(run))}.",
        f"- Source: {_plain(spec.title)}.",
        f"- Cleaning: {_plain(', '.join(spec.clean) or 'none')}; {_plain(left)}.",
        f"- Licence of the data: {_plain(terms)}",
        *([f"- To cite: {_plain(source.citation)}"] if source else []),
        "- The run folder contains this log and its ids, and is as confidential as they are.",
    ]  # fmt: skip
    return "\n".join(lines)


def _whole(run: Run) -> str:
    log = run.log
    sizes = f"{len(log):,} events of {log.n_users:,} users and {log.n_items:,} items"
    return f"{sizes}, all of them trained on"


def _metrics(run: Run) -> str:
    """Return the metrics with 95 % intervals over users."""
    table = run.per_user
    rows = [
        (name, *_interval(table[name].to_numpy()), f"{run.valid.get(name, float('nan')):.4f}")
        for name in run.test
    ]
    facts = run.facts.get("evaluation")
    protocol = f" In the ranking {_plain(sentence_of(facts))}." if facts else ""
    head = f"Means over {len(table):,} users, with 95 % intervals over users.{protocol}"
    listed = _table(("metric", "test", "from", "to", "validation"), rows)
    return f"## Metrics\n\n{head}\n\n{listed}"


def _interval(values: np.ndarray) -> tuple[str, str, str]:
    """Return the mean and the ends of its t interval."""
    found = paired(np.zeros(len(values)), values)
    return f"{found.mean:.4f}", f"{found.low:.4f}", f"{found.high:.4f}"


def _slices(run: Run) -> str:
    """Return the metric that chose the epoch in slices of the test cases."""
    if run.refit == "all":
        return ""  # its weights were trained on the test part
    metric, split = run.recipe.training.monitor, run.split()
    table = case_slices(run.recipe, split, Asked.of(split, run.mask_seen))
    values = run.per_user[metric].to_numpy()
    rows = [
        (name, str(part), f"{rows.sum():,}", *_interval(values[rows]))
        for name in table.columns
        for part, rows in _members(table[name])
    ]
    head = f"## Slices\n\n{metric} on test, where test cases are alike."
    return f"{head}\n\n{_table(('slice', 'value', 'users', 'mean', 'from', 'to'), rows)}"


def _members(column: pl.Series) -> Iterator[tuple[object, np.ndarray]]:
    for part in column.unique().sort().drop_nulls():
        yield part, (column == part).fill_null(False).to_numpy()


def _limits(run: Run) -> str:
    split, seen = run.recipe.data, run.mask_seen
    lines = [
        "It is one training: the intervals are those of the users, and another seed gives other "
        "numbers.",
        "It knows the users and items of its log. "
        + (
            "It cannot recommend to others, because it knows users by number."
            if MODELS[run.recipe.model.name].reads == "user"
            else "To others it recommends from a history of known items."
        ),
        "The metrics are of logged events: what users would have taken had they seen it is not "
        "known, and popular items are favoured by what was shown.",
        "It ranks items that are new to the user." if seen else "It may list items again.",
        *(_leaks(run)),
        *(_gate(run)),
    ]
    if split.false_positives:
        lines.append("It was trained on false positives, for a test of robustness.")
    return "## Limits\n\n" + "\n".join(f"- {_plain(line)}" for line in lines)


def _leaks(run: Run) -> Iterable[str]:
    leak = None if run.refit == "all" else run.split().leak()
    return [] if leak is None else [f"{leak.sentence()}."]


def _gate(run: Run) -> Iterable[str]:
    """Return what the gate of an update said."""
    if not (run.folder / UPDATE).exists():
        return []
    facts = open_update(run).facts
    answer = "accepted" if facts["gate"]["accepted"] else "not accepted"
    lines = [f"It is an update, {answer} by its gate: {facts['gate']['reason']}."]
    if facts.get("refit"):
        lines.append(
            "It was trained once more on all events after it was judged; the metrics are those of "
            "the training before."
        )
    return lines


def _training(run: Run) -> str:
    recipe, facts = run.recipe, run.facts
    kept: dict[str, Any] = {"model": {"name": recipe.model.name, **run.model_settings.settings}}
    if not is_counted(recipe.model.name):
        fields = recipe.model_dump(mode="json", exclude_defaults=True)
        own = ("target", "loss", "candidates", "weights", "training", "interest")
        kept |= {name: _without_folders(fields[name]) for name in own if name in fields}
        prior = as_chosen(recipe.prior, facts)
        if prior is not None:
            kept["prior"] = prior.model_dump(mode="json", exclude_defaults=True)
    kept["seed"] = recipe.seed
    text = yaml.safe_dump(json.loads(json.dumps(kept)), sort_keys=False)
    versions = ", ".join(f"{name} {value}" for name, value in facts.get("versions", {}).items())
    lines = [
        "## Training", "",
        f"{facts['epochs']} epochs in {facts.get('seconds', 0):,.0f} s; {_plain(best_of(run))}. "
        f"Versions: {_plain(versions)}. `recipe.yaml` has all settings; those that differ from the "
        "defaults:", "",
        *(f"    {line}" for line in text.splitlines()),
    ]  # fmt: skip
    return "\n".join(lines)


def _without_folders(value: Any) -> Any:
    """Return settings with the names of other runs' folders, not their places on this machine."""
    if not isinstance(value, dict):
        return value
    return {
        name: Path(part).name if name in RUNS and isinstance(part, str) else _without_folders(part)
        for name, part in value.items()
    }


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_plain(cell) for cell in line)} |" for line in lines)


def _plain(text: object) -> str:
    """Return text that is neither HTML nor the end of a cell."""
    return escape(one_line(str(text), 2000), quote=False).replace("|", "\\|")
