"""The command line: `softrec demo | data | recipes | fit | evaluate | recommend | ...`."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from softrec.cli.cache import cache_app
from softrec.cli.data import data_app
from softrec.cli.options import (
    Alpha,
    Balance,
    Baselines,
    BatchSize,
    Candidates,
    Clean,
    ColdItems,
    Command,
    DataDir,
    Epochs,
    Header,
    Item,
    LearningRate,
    Length,
    Loss,
    Model,
    Monitor,
    Number,
    Out,
    Overwrite,
    Patience,
    Plugins,
    Preset,
    Ratio,
    RunFolder,
    Score,
    ScoreTemperature,
    Seeds,
    Set,
    ShortUsers,
    Source,
    SplitKind,
    Target,
    Teacher,
    Temperature,
    TestFile,
    TextIds,
    Time,
    Trust,
    User,
    ValidFile,
    Weight,
    Windows,
)
from softrec.cli.settings import settings
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError, RecipeError, SoftrecError, of_the_system, one_line, shown
from softrec.progress import telling

app = typer.Typer(
    name="softrec",
    help="Train recommenders on soft targets: keep your log and your model, change only what the "
    "model is trained towards.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")
app.add_typer(cache_app, name="cache")
app.command(cls=Command)(settings)
INTERRUPTED = 130  # the exit code of Typer after Ctrl-C
out_console = Console()
err_console = Console(stderr=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"softrec {version('softrec')}")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options of all commands."""


@app.command(cls=Command)
def fit(
    source: Source,
    out: Out,
    model: Model = None,
    preset: Preset = None,
    target: Target = None,
    alpha: Alpha = None,
    temperature: Temperature = None,
    teacher: Teacher = None,
    loss: Loss = None,
    balance: Balance = None,
    score: Score = None,
    score_temperature: ScoreTemperature = None,
    candidates: Candidates = None,
    ratio: Ratio = None,
    number: Number = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    length: Length = None,
    windows: Windows = None,
    patience: Patience = None,
    monitor: Monitor = None,
    user: User = None,
    item: Item = None,
    time: Time = None,
    weight: Weight = None,
    text_ids: TextIds = None,
    header: Header = None,
    clean: Clean = None,
    split: SplitKind = None,
    valid: ValidFile = None,
    test: TestFile = None,
    short_users: ShortUsers = None,
    cold_items: ColdItems = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order, dropout.")] = None,
    set_: Set = None,
    plugins: Plugins = None,
    data_dir: DataDir = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a model towards a target, choose its best epoch on validation, and test it.

    An interrupted run goes on where it stood when the same command is given again.

    Examples:
      softrec fit clicks.csv --model sasrec --target pop+ --alpha 0.4 --out runs/first

      softrec fit recipes/diginetica-gru4rec-base.yaml --data-dir data --out runs/base
    """
    from softrec.experiments.train import fit_recipe
    from softrec.experiments.views import asked, best_of

    recipe = _recipe(source, locals())
    run = fit_recipe(recipe, out, data_dir=data_dir, overwrite=overwrite)
    _print_metrics(
        f"{asked(recipe)}: {best_of(run)}",
        {"validation": run.valid, "test": run.test},
    )
    _print_line(f"The run is in {run.folder}. Next: softrec recommend {run.folder} --user ID")


@app.command(cls=Command)
def compare(
    source: Source,
    out: Out,
    targets: Annotated[
        str,
        typer.Option(
            help="Separated by commas; the first is the baseline. Settings in brackets: "
            "'pop+(alpha=0.4,temperature=2)'."
        ),
    ] = "one-hot,uniform,pop+",
    seeds: Seeds = 3,
    baselines: Baselines = True,
    model: Model = None,
    preset: Preset = None,
    loss: Loss = None,
    balance: Balance = None,
    score: Score = None,
    score_temperature: ScoreTemperature = None,
    candidates: Candidates = None,
    ratio: Ratio = None,
    number: Number = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    length: Length = None,
    windows: Windows = None,
    patience: Patience = None,
    monitor: Monitor = None,
    user: User = None,
    item: Item = None,
    time: Time = None,
    weight: Weight = None,
    text_ids: TextIds = None,
    header: Header = None,
    clean: Clean = None,
    split: SplitKind = None,
    valid: ValidFile = None,
    test: TestFile = None,
    short_users: ShortUsers = None,
    cold_items: ColdItems = None,
    seed: Annotated[int | None, typer.Option(help="The first seed.")] = None,
    set_: Set = None,
    plugins: Plugins = None,
    data_dir: DataDir = None,
    overwrite: Overwrite = False,
) -> None:
    """Train one model towards several targets, same data and budget: did the target help?

    Writes report.html, results.json and per_user.parquet. Finished runs are kept if the
    comparison is interrupted; the same command goes on.

    Example:
      softrec compare diginetica --model gru4rec --targets one-hot,uniform,pop+ --seeds 3 --out DIR
    """
    from softrec.experiments.compare import compare_targets
    from softrec.recipe.options import parse_targets, shared_target

    wanted = parse_targets(targets)
    recipe = _recipe(source, locals(), shared_target(wanted))
    comparison = compare_targets(
        recipe,
        wanted,
        out,
        seeds=range(recipe.seed, recipe.seed + seeds),
        data_dir=data_dir,
        command=" ".join(["softrec", *sys.argv[1:]]),
        overwrite=overwrite,
        baselines=baselines,
    )
    _print_comparison(comparison.results, comparison.folder)


@app.command(cls=Command)
def evaluate(
    run: RunFolder,
    part: Annotated[str, typer.Option(help="test or valid.")] = "test",
    metrics: Annotated[
        str | None,
        typer.Option(help="Such as ndcg@5,recall@50; by default the run's."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="The log, to check it; by default the copy of it that the run keeps."),
    ] = None,
    per_user: Annotated[
        Path | None,
        typer.Option(help="Write the metrics of each user to .csv, .parquet or .json."),
    ] = None,
    trust: Trust = False,
    data_dir: DataDir = None,
    plugins: Plugins = None,
) -> None:
    """Rank items for every user of the test part as the recipe says, and print the mean metrics."""
    from softrec.evaluation.asked import sentence_of
    from softrec.experiments.evaluate import evaluated
    from softrec.experiments.evaluator import means
    from softrec.experiments.runs import open_run
    from softrec.experiments.store.folders import check_apart
    from softrec.serving.files import write_table, writer_of

    _load(plugins)
    if per_user is not None:
        writer_of(per_user)
        check_apart(per_user, run)
    opened = open_run(run, trust=trust)
    table = evaluated(opened, part, metrics or None, data=data, data_dir=data_dir)
    if "evaluation" in opened.facts:
        _print_line(sentence_of(opened.facts["evaluation"]))
    _print_metrics(f"{run}, {len(table):,} users", {part: means(table)})
    if per_user is not None:
        write_table(table, per_user)


KnownUsers = Annotated[
    list[str] | None,
    typer.Option("--user", "-u", help="A user of the log; may be given several times."),
]
UsersFile = Annotated[
    Path | None,
    typer.Option(
        help="A file with a column 'user', or one id a line (.txt). Users named twice count once."
    ),
]
Unknown = Annotated[
    str,
    typer.Option(help="Users of the file that are not in the log: skip and say so, or error."),
]
HistoryItems = Annotated[
    list[str] | None,
    typer.Option(
        help="Items of somebody who is not in the log, oldest first, separated by commas."
    ),
]
KeepSeen = Annotated[
    bool | None,
    typer.Option(
        "--keep-seen/--mask-seen",
        help="Whether items of the history may come again; by default as the run was judged.",
    ),
]
TableFile = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write to .csv, .parquet or .json instead of the screen."),
]


@app.command(cls=Command)
def recommend(
    run: RunFolder,
    user: KnownUsers = None,
    users_file: UsersFile = None,
    unknown: Unknown = "skip",
    history: HistoryItems = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    keep_seen: KeepSeen = None,
    why: Annotated[
        bool,
        typer.Option(
            "--why",
            help="For models with several interests: add the interest that contributed most to the "
            "item, and its part of the score.",
        ),
    ] = False,
    out: TableFile = None,
    trust: Trust = False,
    plugins: Plugins = None,
) -> None:
    """Recommend items to known users, or to anybody with a history.

    Examples:
      softrec recommend runs/first --user ann -k 10

      softrec recommend runs/first --history tea,jam --out best.csv
    """
    _load(plugins)
    recommender, people = _service(run, user, users_file, unknown, history, out, trust)
    mask_seen = None if keep_seen is None else not keep_seen
    _show_table(recommender.recommend(**people, k=k, mask_seen=mask_seen, why=why), out)


@app.command(cls=Command)
def interests(
    run: RunFolder,
    user: KnownUsers = None,
    users_file: UsersFile = None,
    unknown: Unknown = "skip",
    history: HistoryItems = None,
    items: Annotated[int, typer.Option(min=1, help="How many items of each interest.")] = 5,
    keep_seen: KeepSeen = None,
    out: TableFile = None,
    trust: Trust = False,
    plugins: Plugins = None,
) -> None:
    """Show the interests a model sees in a user, each by the items it would rank first.

    For comirec-sa, comirec-dr, mind and timirec. Of timirec also the weight: how much the model
    expects each interest.

    Example:
      softrec interests runs/first --user ann --items 3
    """
    _load(plugins)
    recommender, people = _service(run, user, users_file, unknown, history, out, trust)
    mask_seen = None if keep_seen is None else not keep_seen
    _show_table(recommender.interests(**people, items=items, mask_seen=mask_seen), out)


def _load(plugins: list[str] | None) -> None:
    from softrec.recipe.plugins import load_plugins

    load_plugins(plugins or [])


def _service(
    run: Path,
    user: list[str] | None,
    users_file: Path | None,
    unknown: str,
    history: list[str] | None,
    out: Path | None,
    trust: bool,
) -> tuple[Any, dict[str, Any]]:
    """Return the recommender of a run, and the users and histories a command names."""
    from softrec.experiments.store.folders import check_apart
    from softrec.experiments.train import open_run
    from softrec.serving.files import read_users, writer_of

    if out is not None:
        writer_of(out)
        for given in [run, *([users_file] if users_file else [])]:
            check_apart(out, given)
    if unknown not in ("skip", "error"):
        raise RecipeError(f"--unknown must be skip or error, got {unknown!r}")
    listed = read_users(users_file) if users_file else []
    histories = {f"history {n}": [item.strip() for item in text.split(",")]
                 for n, text in enumerate(history or [], 1)}  # fmt: skip
    if not user and not listed and not histories:
        raise RecipeError("nobody to recommend to; give --user, --users-file or --history")
    recommender = open_run(run, trust=trust).recommender()
    if users_file and unknown == "skip":
        listed = _known(recommender.log.users, listed, users_file)
    people = list(dict.fromkeys([*(user or []), *listed]))
    return recommender, {"users": people, "histories": histories}


def _known(vocabulary: Vocabulary, listed: list[object], users_file: Path) -> list[object]:
    """Return the listed users that are in the log, and say which are left out."""
    known, unknown = vocabulary.sorted_out(listed)
    if not known:
        raise DataError(f"no user of {users_file} is in the log of the run: {shown(unknown)}")
    if unknown:
        _print_line(
            f"{len(unknown):,} of {len(known) + len(unknown):,} users of {users_file} are not in "
            f"the log and left out: {shown(unknown)}",
            "[yellow]note:[/] ",
        )
    return known


def _show_table(table: Any, out: Path | None) -> None:
    """Write a table to a file, or print it; columns without any value are not printed."""
    from softrec.serving.files import write_table

    if out is not None:
        write_table(table, out)
        return
    table = table[[part.name for part in table if part.null_count() < len(part) or not len(part)]]
    shown = Table(*table.columns, box=None)
    for column in shown.columns:
        column.overflow = "fold"  # an id that is cut is of no use
    for row in table.iter_rows():
        shown.add_row(*map(_cell, table.columns, row))
    out_console.print(shown)


def _cell(column: str, value: object) -> str:
    """Return a value of a table as it is printed: ids as they are."""
    if column in ("score", "contribution", "weight"):
        return f"{value:.4f}"
    return escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))


@app.command(cls=Command)
def demo(
    out: Out = Path("demo"),
    seeds: Seeds = 3,
    overwrite: Overwrite = False,
) -> None:
    """Compare one-hot labels, label smoothing and POP+ on a simulated shop, in a few minutes.

    The simulator knows the best ranking any model could reach, so the report shows how much of
    the way each target goes.
    """
    from softrec.experiments.demo import run_demo

    comparison = run_demo(
        out,
        seeds=range(seeds),
        command=" ".join(["softrec", *sys.argv[1:]]),
        overwrite=overwrite,
    )
    _print_comparison(comparison.results, comparison.folder)


@app.command(cls=Command)
def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a finished comparison.")],
) -> None:
    """Write the report of a finished comparison again, from its results.json.

    Example:
      softrec report runs/compared
    """
    from softrec.experiments.comparison import open_comparison

    comparison = open_comparison(folder)
    comparison.write_report()
    _print_comparison(comparison.results, folder)


@app.command(cls=Command)
def recipes() -> None:
    """List the recipes that come with softrec; `softrec fit NAME` trains one.

    Example:
      softrec recipes
    """
    from softrec.recipe import shipped

    for path in shipped.paths():
        typer.echo(f"{path.stem:<32}  {shipped.purpose(path)}")


HEAVY = ("fit", "compare", "demo", "report", "evaluate", "recommend", "interests")


def preload() -> None:
    """Load what the command that was given needs, before it is run."""
    if any(argument in HEAVY for argument in sys.argv[1:]):
        import_module("softrec.experiments.compare")  # all of the library


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors that a user can fix are one line and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        with warnings.catch_warnings(), telling(write=_print_line):
            warnings.simplefilter("always", UserWarning)
            warnings.simplefilter("default", FutureWarning)  # each once
            warnings.showwarning = _show_warning
            app([argument for argument in arguments if argument != "--debug"])
    except Exception as error:
        line = _fixable(error)
        if debug or line is None:
            raise
        _print_line(line, "[bold red]error:[/] ")
        raise SystemExit(2) from None
    except SystemExit as done:
        if done.code == INTERRUPTED:
            _print_line("interrupted; the same command goes on where it stood")
        raise


def _fixable(error: Exception) -> str | None:
    """Return the line for an error that a user can fix; None for a bug."""
    if isinstance(error, SoftrecError):
        return str(error)
    if isinstance(error, MemoryError | RuntimeError) and (
        isinstance(error, MemoryError) or "memory" in str(error)
    ):
        text = f"not enough memory ({one_line(str(error), 200) or 'none left'})"
        return f"{text}; lower --batch-size, --number, --length or the sizes of the model"
    line = of_the_system(error)
    return None if line is None else one_line(line)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
    """Print softrec's own warnings in one line, and no others."""
    if category.__module__.startswith("softrec"):
        _print_line(str(message), "[yellow]note:[/] ")


def _print_line(text: str, label: str = "") -> None:
    """Print one line to the error stream, whatever its width and whatever is in it."""
    line = " ".join(text.split())
    err_console.print(label + escape(line), highlight=False, soft_wrap=True)


def _recipe(source: str, options: dict[str, Any], target: dict[str, Any] | None = None) -> Any:
    """Return the recipe of a file or a log, with the options of a command laid over it."""
    from softrec.experiments.inputs import read_input
    from softrec.recipe.fields import options as common
    from softrec.recipe.options import parse_assignment

    known = common()
    given = {name: value for name, value in options.items() if name in known and name != "source"}
    given |= dict(parse_assignment(text) for text in options.get("set_") or [])
    given |= target or {}
    return read_input(source, given).recipe


def _print_metrics(title: str, columns: dict[str, dict[str, float]]) -> None:
    table = Table("metric", *columns, title=title, title_justify="left", box=None)
    for name in next(iter(columns.values())):
        table.add_row(name, *(f"{values[name]:.4f}" for values in columns.values()))
    out_console.print(table)


def _print_comparison(results: Any, folder: Path) -> None:
    from softrec.report.write import console_table

    out_console.print(console_table(results))
    _print_line(f"The report is {folder / 'report.html'}")


if __name__ == "__main__":
    main()
