"""Train recommenders on soft targets: keep the log and the model, and change the training target.

The names for everyday use are here. Each part has its own namespace (`softrec.data`,
`softrec.models`, `softrec.targets`, `softrec.losses`, ...).
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from softrec.data.interactions import Interactions
    from softrec.experiments.comparison import Comparison
    from softrec.experiments.estimator import Softrec
    from softrec.experiments.listed_runs import runs
    from softrec.experiments.runs import open_run
    from softrec.experiments.train import Run
    from softrec.experiments.tuning.result import Tuning
    from softrec.experiments.updating.call import update
    from softrec.experiments.updating.update import Update
    from softrec.objective import Objective
    from softrec.recipe.plugins import load_plugins
    from softrec.recipe.register import register
    from softrec.report.reproduction import Reproduction
    from softrec.serving.recommender import Recommender
    from softrec.training.trackers import tracking

__version__: str
__all__ = [
    "Comparison",
    "Interactions",
    "Objective",
    "Recommender",
    "Run",
    "Softrec",
    "Tuning",
    "Update",
    "compare",
    "evaluate_lists",
    "fit",
    "load_plugins",
    "open_run",
    "register",
    "reproduce",
    "runs",
    "tracking",
    "tune",
    "update",
]

# Imported on first use: importing torch takes a second, and `import softrec` does not need it.
HOME = {"Comparison": "experiments.comparison", "Run": "experiments.train",
        "open_run": "experiments.runs", "runs": "experiments.listed_runs",
        "Interactions": "data.interactions", "Objective": "objective",
        "Recommender": "serving.recommender", "register": "recipe.register",
        "load_plugins": "recipe.plugins", "Tuning": "experiments.tuning.result",
        "Update": "experiments.updating.update", "update": "experiments.updating.call",
        "Softrec": "experiments.estimator",
        "tracking": "training.trackers"}  # fmt: skip
PARTS = ("adapters", "candidates", "data", "errors", "evaluation", "experiments", "limits",
         "losses", "models", "objective", "recipe", "report", "retrieval", "scoring", "serving",
         "simulation", "targets", "testing", "training", "types", "weights")  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("softrec")
    if name in HOME:
        return getattr(import_module(f"softrec.{HOME[name]}"), name)
    if name in PARTS:
        return import_module(f"softrec.{name}")
    raise AttributeError(f"module 'softrec' has no attribute {name!r}")


def fit(
    source: Any,
    *,
    out: str | Path,
    data_dir: str | Path | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> Run:
    """Train a model, choose its best epoch on validation, test it; return the run stored in `out`.

    Args:
        source: the path of a log, a folder of Parquet files, the name of a data set, a recipe
            (.yaml), a Polars, pandas or Arrow table, or `Interactions`.
        out: the folder of the run.
        data_dir: a folder with public data sets; files are looked for there before a download.
        overwrite: replace a finished run.
        progress: by default print a line for each epoch on the error stream, and in a terminal or
            notebook show a progress bar. True shows the bar everywhere, False prints nothing.
        **options: fields of a recipe, flat (`alpha=0.4`), dotted (`**{"model.dim": 64}`) or by
            section (`model={"name": "gru4rec", "dim": 64}`); `softrec settings` lists them. The
            target may also be a source of your own, or ("name", source, weight). The model may be
            a class, or an instance, of which a copy is trained. The loss may be a function. `items`
            and `user_table` are paths or tables.

    Raises:
        SoftrecError: if source, options or `out` cannot be used; the message says how to fix it.

    Example:
        run = softrec.fit(frame, out="runs/first", model="sasrec", target="pop+", alpha=0.4)
    """
    from softrec.experiments.inputs import read_input
    from softrec.experiments.train import fit_recipe
    from softrec.progress import telling

    with telling(progress):
        given = read_input(source, options, data_dir)
        return fit_recipe(
            given.recipe, out, data_dir=_path(data_dir), log=given.log, overwrite=overwrite
        )


def compare(
    source: Any,
    *,
    out: str | Path,
    targets: Any = "one-hot,uniform,pop+",
    models: Any = None,
    losses: Any = None,
    grid: Any = None,
    tune: int | None = None,
    space: Any = None,
    seeds: int = 3,
    baselines: bool = True,
    protocol_rows: Literal["auto", "always", "never"] = "auto",
    user_table: Any = None,
    item_table: Any = None,
    data_dir: str | Path | None = None,
    overwrite: bool = False,
    on: Literal["here", "ray"] = "here",
    cpus_per_run: int | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Comparison:
    """Train models on several targets, with the same data and budget, and write a report in `out`.

    All combinations of models, targets, losses and values of the grid are trained. Equal ones are
    trained once. Those that make no sense are left out with a note. Each model has a baseline.

    Args:
        source: as for `fit`.
        out: the folder of the comparison.
        targets: names separated by commas, or a list. The first is the baseline. Settings are in
            brackets, "pop+(alpha=0.4,temperature=2)", or in a mapping, {"name": "pop+", "alpha":
            0.4}. A source of your own is ("name", source, weight).
        models: in the same form, "sasrec(dim=64),mf"; also classes and instances. By default the
            model of the recipe, or of `model=`.
        losses: in the same form, "mixed,decoupled(balance=0.3)".
        grid: values to try for fields that have no value in brackets, {"target.alpha": [0.1, 0.3]}.
        tune: search the settings of each variant with so many trials, as `softrec.tune` does; what
            is in brackets or in the grid is not searched.
        space: what is tried then.
        seeds: how many times each variant is trained, each time with another seed. With one
            training there is no verdict.
        baselines: add rows of simple baselines, such as popularity and item-knn, counted once.
        protocol_rows: add the baseline of each model on other windows: "auto", trained at every
            position where it has one label a sequence (windows "last"); "always", with one label a
            sequence where it has more, too; "never".
        user_table: a Polars frame, or the path of a CSV or Parquet file, with a row per user. The
            report then has slices of the test cases by each of its columns. The ids are in the
            column that is named as in the log, else in the first.
        item_table: the same for items; a case belongs to the slice of its label.
        data_dir: a folder with public data sets; files are looked for there before a download.
        overwrite: replace a finished comparison.
        on: where the models are trained: "here", one after the other, or "ray", several at a time
            on a Ray cluster, see docs/scale.md.
        cpus_per_run: of each training on Ray, by default 1.
        progress: as for `fit`.
        **options: fields of a recipe, as for `fit`, for each variant that has them. If the model is
            an instance, every training starts with its weights, so that seeds differ only in the
            order of the batches and in dropout.

    Raises:
        SoftrecError: if source, targets, options or `out` cannot be used.

    Example:
        found = softrec.compare(frame, out="runs/compared", targets=["one-hot", "pop+"])
    """
    from softrec.experiments.combinations import plan
    from softrec.experiments.compare import compare_variants
    from softrec.experiments.inputs import python_call, read_source
    from softrec.experiments.tables import with_users
    from softrec.experiments.variants import axes_of
    from softrec.progress import telling
    from softrec.recipe.listed import shown_list

    axes = axes_of(targets, models, losses, grid, options)
    with telling(progress):
        given = read_source(source, with_users(options, user_table), data_dir)
    lists = {
        "targets": shown_list("target", targets),
        "models": shown_list("model", models),
        "losses": shown_list("loss", losses),
        "grid": grid,
        "tune": tune,
        "space": space,
    }
    arguments = {name: value for name, value in lists.items() if value is not None}
    arguments |= {"seeds": seeds, "out": str(out)}
    arguments |= {} if protocol_rows == "auto" else {"protocol_rows": protocol_rows}
    with telling(progress):
        return compare_variants(
            plan(given, axes, seeds, tune=tune, space=space), out, data_dir=_path(data_dir),
            log=given.log, command=python_call("compare", source, arguments, options),
            overwrite=overwrite, baselines=baselines, protocol_rows=protocol_rows,
            user_table=user_table, item_table=item_table, on=on, cpus_per_run=cpus_per_run,
        )  # fmt: skip


def tune(
    source: Any,
    *,
    out: str | Path,
    trials: int | None = None,
    space: Any = None,
    seeds: int = 3,
    data_dir: str | Path | None = None,
    overwrite: bool = False,
    on: Literal["here", "ray"] = "here",
    cpus_per_run: int | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Tuning:
    """Search settings on validation, train the winner with several seeds, and test it alone.

    The first trials are the recipe as it is and what the label counts suggest; Optuna proposes the
    others and ends those that do worse than half of the others. An interrupted study goes on.

    Args:
        source: as for `fit`.
        out: the folder of the study.
        trials: trainings of the search; by default 20, or what the recipe's section `tune` says.
        space: what is tried, {"training.lr": "1e-4..1e-2:log", "model.dropout": [0, 0.2]}; a single
            value is kept. Other fields have ranges of their own, see docs/recipes.md.
        seeds: train the winner so often.
        data_dir: a folder with public data sets, looked into before any download.
        overwrite: replace a finished study.
        on: as for `compare`; with several trials at a time, others are proposed than with one.
        cpus_per_run: as for `compare`.
        progress: print a line for each trial on the error stream, in a terminal or notebook also a
            bar; True shows the bar anywhere, False nothing.
        **options: fields of a recipe, as for `fit`; they are not searched.

    Raises:
        SoftrecError: if source, space, options or `out` cannot be used, or no trial can be trained.

    Example:
        found = softrec.tune(frame, out="runs/tuned", model="sasrec", trials=20)
        found.best.settings, found.test
    """
    from softrec.experiments.inputs import read_source
    from softrec.experiments.tuning.tune import search_of, tune_recipe
    from softrec.progress import telling

    with telling(progress):
        given = read_source(source, options, data_dir)
        return tune_recipe(
            search_of(given, trials, space), out, seeds=seeds, data_dir=_path(data_dir),
            log=given.log, overwrite=overwrite, on=on, cpus_per_run=cpus_per_run,
        )  # fmt: skip


def evaluate_lists(
    lists: Any,
    data: Any = None,
    *,
    out: str | Path,
    against: Any = None,
    metrics: Any = None,
    baselines: bool = True,
    user_table: Any = None,
    item_table: Any = None,
    data_dir: str | Path | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> Comparison:
    """Evaluate ranked lists of any system on the test part of a log, and write a report in `out`.

    Missing places of a list are no hits, and a test user without a list has no hits. Ties of scores
    count against the relevant item. If the task is to predict new items, seen items are left out of
    the lists.

    Args:
        lists: the path of a table, or a table (Polars, pandas, Arrow), with the columns user, item,
            and rank or score, or user and an array of items, best first; ids as in the log. Or
            {name: table}; several tables of one name are several trainings of one system.
        data: the log, as for `fit`; by default the log of the run in `against`, with its split.
        out: the folder of the comparison.
        against: the baseline: a run, its folder, or other lists, in the same forms. By default the
            first lists are the baseline of the others.
        metrics: such as ["ndcg@10", "recall@50"]; the verdict is by the first.
        baselines: add rows of simple baselines, such as popularity and item-knn, counted once.
        user_table: as for `compare`.
        item_table: as for `compare`.
        data_dir: a folder with public data sets; files are looked for there before a download.
        overwrite: replace a finished comparison.
        progress: as for `fit`.
        **options: fields of a recipe that say how the log is read, split and evaluated, as for
            `fit`.

    Raises:
        SoftrecError: if lists, data or options cannot be used.

    Example:
        found = softrec.evaluate_lists("theirs.parquet", "clicks.csv", out="runs/judged")
    """
    from softrec.experiments.inputs import python_call
    from softrec.experiments.judge import judge_lists
    from softrec.progress import telling

    source = lists if isinstance(lists, str | Path) else "lists"
    arguments = {"data": None if data is None else str(data), "out": str(out)}
    with telling(progress):
        return judge_lists(
            lists, data, out=out, against=against, metrics=metrics, baselines=baselines,
            user_table=user_table, item_table=item_table, data_dir=_path(data_dir),
            overwrite=overwrite, options=options,
            command=python_call("evaluate_lists", source, arguments, options),
        )  # fmt: skip


def reproduce(
    paper: str,
    *,
    out: str | Path,
    table: str | None = None,
    row: str | None = None,
    budget: float | None = None,
    seeds: int = 1,
    baselines: bool = True,
    defaults: bool = True,
    train: bool = True,
    data_dir: str | Path | None = None,
    on: Literal["here", "ray"] = "here",
    cpus_per_run: int | None = None,
    progress: bool | None = None,
) -> Reproduction:
    """Run the trainings of a paper's tables, the cheapest first, and compare the numbers.

    Args:
        paper: "softrec", "desorec", "timirec", "bsl", or a file (.yaml) of your own, see
            docs/reproduction.md.
        out: the folder of the results; an unfinished one is continued.
        table: the name of a table, or a part of it; by default all.
        row: printed names of data set, backbone, method or setting, separated by commas.
        budget: minutes; a training is only started if its estimate fits into the rest.
        seeds: how many times each row is trained, each time with another seed.
        baselines: add the simple baselines to each block.
        defaults: add models with today's defaults to each block.
        train: train rows that are not finished; if False, only simple baselines are counted.
        data_dir: a folder with public data sets; files are looked for there before a download.
        on: as for `compare`.
        cpus_per_run: as for `compare`.
        progress: as for `fit`.

    Raises:
        SoftrecError: if there is no such paper, table or row, or `out` cannot be used. If a
            training fails, its row has the reason.

    Example:
        found = softrec.reproduce("desorec", row="Diginetica,GRU4Rec", out="runs/desorec")
        found.frame().filter(pl.col("verdict") == "below")
    """
    from softrec.experiments.inputs import python_call
    from softrec.experiments.reproduction.run import reproduce_paper
    from softrec.progress import telling

    given = {"out": str(out), "table": table, "row": row, "budget": budget, "seeds": seeds}
    shown = {name: value for name, value in given.items() if value is not None}
    shown |= {} if baselines else {"baselines": False}
    shown |= {} if defaults else {"defaults": False}
    shown |= {} if train else {"train": False}
    with telling(progress):
        return reproduce_paper(
            paper,
            out,
            table=table,
            row=row,
            budget=budget,
            seeds=seeds,
            baselines=baselines,
            defaults=defaults,
            train=train,
            data_dir=_path(data_dir),
            command=python_call("reproduce", paper, shown, {}),
            on=on,
            cpus_per_run=cpus_per_run,
        )


def _path(folder: str | Path | None) -> Path | None:
    return None if folder is None else Path(folder)
