"""The command line: `softrec demo | data | recipes | fit | evaluate | recommend | ...`."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from softrec.data_cli import data_app
from softrec.errors import RecipeError, SoftrecError

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
INTERRUPTED = 130  # the exit code of Typer after Ctrl-C
out_console = Console()
err_console = Console(stderr=True)

DATA, MODEL, TARGET, TRAINING = "Data", "Model", "Target and loss", "Training"


def option(panel: str | None, text: str, *names: str) -> Any:
    """Return an option that may be left out, shown in a panel of `--help`.

    Its name is that of the command's parameter unless `names` says otherwise.
    """
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False)


# The options that several commands share, said once.
Source = Annotated[
    str,
    typer.Argument(
        help="A log (CSV, TSV, JSON lines, Parquet file or folder, Arrow), the name of a data set "
        "(see `softrec data list`, or `shop`, the simulated one), or a recipe (a .yaml, or one of "
        "`softrec recipes`)."
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a finished run.")]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Take the run's files as they are; for edits made on purpose."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        envvar="SOFTREC_DATA", help="A folder with public data sets, used before any download."
    ),
]
Seeds = Annotated[int, typer.Option(min=1, help="Train each target so often; 1 gives no verdict.")]
Model = Annotated[
    str | None,
    option(
        MODEL,
        "sasrec (default), gru4rec, caser, youtubednn, nfm, deepfm, tisasrec, mind, comirec-sa, "
        "comirec-dr, timirec, mf, lightgcn or ngcf.",
        "--model",
        "-m",
    ),
]
Preset = Annotated[
    str | None,
    option(MODEL, "The model's settings in a paper: original, softrec, desorec, timirec, bsl."),
]
Target = Annotated[
    str | None,
    option(
        TARGET,
        "one-hot (default), uniform (label smoothing), pop+ (popularity), csn (neighbours), kd "
        "(a teacher), interest-sharing (DesoRec).",
        "--target",
        "-t",
    ),
]
Alpha = Annotated[
    float | None,
    option(
        TARGET,
        "Weight of the soft target, 0 to 1. pop+, csn and kd spread alpha/2, others alpha.",
    ),
]
Temperature = Annotated[float | None, option(TARGET, "Of pop+, csn and kd: more is flatter.")]
Teacher = Annotated[
    str | None,
    option(
        TARGET,
        "For kd, skd, ckd, interest-sharing and csn: the folder of a trained run, or a recipe "
        "(.yaml), whose run is found or trained first.",
    ),
]
Loss = Annotated[
    str | None,
    option(
        TARGET,
        "mixed (default) or decoupled; sl or bsl on cosines; with one-hot also bpr, weighted-bpr, "
        "bce, gbce, mse, ccl, cml.",
    ),
]
Candidates = Annotated[
    str | None,
    option(TARGET, "What a label is told from: full (default), sampled or in-batch."),
]
Ratio = Annotated[float | None, option(TARGET, "Of sampled candidates: the share drawn.")]
Number = Annotated[int | None, option(TARGET, "Of sampled candidates: how many are drawn.")]
Score = Annotated[str | None, option(TARGET, "inner (default of most losses), cosine, euclidean.")]
ScoreTemperature = Annotated[
    float | None, option(TARGET, "Scores are divided by it in training (1; sl and bsl: 0.1).")
]
Balance = Annotated[
    str | None,
    option(TARGET, "Of the decoupled loss: the share of 'label or not', or red-line."),
]
Epochs = Annotated[int | None, option(TRAINING, "At most (100).")]
BatchSize = Annotated[int | None, option(TRAINING, "Examples in a batch (128).")]
LearningRate = Annotated[float | None, option(TRAINING, "Learning rate of Adam (0.001).")]
Length = Annotated[int | None, option(TRAINING, "Longest history the model reads (50).")]
Windows = Annotated[
    str | None,
    option(
        TRAINING,
        "What is predicted of a sequence: last, positions (default), prefixes, pieces, "
        "interactions (for mf).",
    ),
]
Patience = Annotated[
    int | None, option(TRAINING, "Stop after so many epochs without improvement (5).")
]
Monitor = Annotated[
    str | None, option(TRAINING, "Validation metric that chooses the best epoch (ndcg@10).")
]
User = Annotated[str | None, option(DATA, "Column of the user.")]
Item = Annotated[str | None, option(DATA, "Column of the item.")]
Time = Annotated[
    str | None, option(DATA, "Column of the time; without one, the order of the rows counts.")
]
Weight = Annotated[str | None, option(DATA, "Column of the rating or weight.")]
TextIds = Annotated[
    bool | None, option(DATA, "Read ids as text even where they look like numbers.", "--text-ids")
]
Header = Annotated[
    bool | None,
    option(DATA, "Whether CSV and TSV files start with names; without, columns are column_1, ..."),
]
Clean = Annotated[
    list[str] | None,
    option(
        DATA,
        "A cleaning step: drop-duplicates, min-weight=4, k-core=5, min-user=5, min-item=5. May be "
        "given several times.",
    ),
]
SplitKind = Annotated[
    str | None,
    option(DATA, "leave-last-out (default), time, user-ratio, or given with --valid and --test."),
]
ValidFile = Annotated[str | None, option(DATA, "The validation part, as a file.")]
TestFile = Annotated[str | None, option(DATA, "The test part, as a file.")]
ShortUsers = Annotated[
    str | None,
    option(DATA, "Users with fewer than 3 events: keep to train on (default), drop, error."),
]
ColdItems = Annotated[
    str | None,
    option(DATA, "Items in no training event: drop their events (default), keep as misses, error."),
]
Set = Annotated[
    list[str] | None,
    option(
        None,
        "Any field of a recipe, such as --set model.dim=64 --set evaluation.metrics=[ndcg@5]. May "
        "be given several times.",
        "--set",
    ),
]


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


@app.command()
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
    data_dir: DataDir = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a model towards a target, choose its best epoch on validation, and test it.

    An interrupted run goes on where it stood when the same command is given again.

    Examples:

      softrec fit clicks.csv --model sasrec --target pop+ --alpha 0.4 --out runs/first

      softrec fit recipes/diginetica-gru4rec-base.yaml --data-dir data --out runs/base
    """
    from softrec.experiments.run import fit_recipe

    recipe = _recipe(source, locals())
    run = fit_recipe(recipe, out, data_dir=data_dir, overwrite=overwrite, tell=_tell)
    _print_metrics(
        f"{recipe.model.name} towards {recipe.target.name}, best epoch "
        f"{run.facts['best_epoch']} of {run.facts['epochs']}",
        {"validation": run.valid, "test": run.test},
    )
    _tell(f"The run is in {run.folder}. Next: softrec recommend {run.folder} --user ID")


@app.command()
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
    data_dir: DataDir = None,
    overwrite: Overwrite = False,
) -> None:
    """Train one model towards several targets, same data and budget: did the target help?

    Writes report.html, results.json and per_user.parquet. Finished runs are kept if the
    comparison is interrupted; the same command goes on.

    Example:

      softrec compare diginetica --model gru4rec --targets one-hot,uniform,pop+ --seeds 3 --out DIR
    """
    from softrec.experiments.compare import compare as run_comparison
    from softrec.experiments.options import parse_targets, shared_target

    wanted = parse_targets(targets)
    recipe = _recipe(source, locals(), shared_target(wanted))
    comparison = run_comparison(
        recipe,
        wanted,
        out,
        seeds=range(recipe.seed, recipe.seed + seeds),
        data_dir=data_dir,
        command=" ".join(["softrec", *sys.argv[1:]]),
        overwrite=overwrite,
        say=_tell,
    )
    _print_comparison(comparison.results, comparison.folder)


@app.command()
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
) -> None:
    """Rank items for every user of the test part as the recipe says, and print the mean metrics."""
    from softrec.evaluation.asked import told
    from softrec.experiments.evaluate import evaluated
    from softrec.experiments.run import means, open_run
    from softrec.serving.files import write_table, writer_of

    if per_user is not None:
        writer_of(per_user)
    opened = open_run(run, trust=trust)
    table = evaluated(opened, part, metrics or None, data=data, data_dir=data_dir)
    if "evaluation" in opened.facts:
        _tell(told(opened.facts["evaluation"]))
    _print_metrics(f"{run}, {len(table):,} users", {part: means(table)})
    if per_user is not None:
        write_table(table, per_user)


KnownUsers = Annotated[
    list[str] | None,
    typer.Option("--user", "-u", help="A user of the log; may be given several times."),
]
UsersFile = Annotated[
    Path | None,
    typer.Option(help="A file with a column 'user', or one id a line (.txt)."),
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


@app.command()
def recommend(
    run: RunFolder,
    user: KnownUsers = None,
    users_file: UsersFile = None,
    history: HistoryItems = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    keep_seen: KeepSeen = None,
    why: Annotated[
        bool,
        typer.Option(
            "--why",
            help="Of models with interests: also which interest did most for the item, and its "
            "share of the score.",
        ),
    ] = False,
    out: TableFile = None,
    trust: Trust = False,
) -> None:
    """Recommend items to known users, or to anybody with a history.

    Examples:

      softrec recommend runs/first --user ann -k 10

      softrec recommend runs/first --history tea,jam --out best.csv
    """
    recommender, people = _service(run, user, users_file, history, out, trust)
    mask_seen = None if keep_seen is None else not keep_seen
    _show_table(recommender.recommend(**people, k=k, mask_seen=mask_seen, why=why), out)


@app.command()
def interests(
    run: RunFolder,
    user: KnownUsers = None,
    users_file: UsersFile = None,
    history: HistoryItems = None,
    items: Annotated[int, typer.Option(min=1, help="How many items of each interest.")] = 5,
    keep_seen: KeepSeen = None,
    out: TableFile = None,
    trust: Trust = False,
) -> None:
    """Show the interests a model sees in a user, each by the items it would rank first.

    For comirec-sa, comirec-dr, mind and timirec. Of timirec also the weight: how much the model
    expects each interest.

    Example:

      softrec interests runs/first --user ann --items 3
    """
    recommender, people = _service(run, user, users_file, history, out, trust)
    mask_seen = None if keep_seen is None else not keep_seen
    _show_table(recommender.interests(**people, items=items, mask_seen=mask_seen), out)


def _service(
    run: Path,
    user: list[str] | None,
    users_file: Path | None,
    history: list[str] | None,
    out: Path | None,
    trust: bool,
) -> tuple[Any, dict[str, Any]]:
    """Return the recommender of a run, and the users and histories a command names."""
    from softrec.experiments.run import open_run
    from softrec.serving.files import read_users, writer_of

    if out is not None:
        writer_of(out)
    known = [*(user or []), *(read_users(users_file) if users_file else [])]
    strangers = {f"history {n}": [item.strip() for item in text.split(",")]
                 for n, text in enumerate(history or [], 1)}  # fmt: skip
    if not known and not strangers:
        raise RecipeError("nobody to recommend to; give --user, --users-file or --history")
    return open_run(run, trust=trust).recommender(), {"users": known, "histories": strangers}


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
    if column in ("score", "share", "weight"):
        return f"{value:.4f}"
    return escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))


@app.command()
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
        say=_tell,
    )
    _print_comparison(comparison.results, comparison.folder)


@app.command()
def recipes() -> None:
    """List the recipes that come with softrec; `softrec fit NAME` trains one.

    Example:

      softrec recipes
    """
    from softrec.experiments import shipped

    for path in shipped.paths():
        typer.echo(f"{path.stem:<32}  {shipped.purpose(path)}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors a user can mend are one line and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _show_warning
            app([argument for argument in arguments if argument != "--debug"])
    except SoftrecError as error:
        if debug:
            raise
        _tell(str(error), "[bold red]error:[/] ")
        raise SystemExit(2) from None
    except SystemExit as done:
        if done.code == INTERRUPTED:
            _tell("interrupted; the same command goes on where it stood")
        raise


def _show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
    """Print softrec's own warnings in one line, and no others."""
    if category.__module__.startswith("softrec"):
        _tell(str(message), "[yellow]note:[/] ")


def _tell(text: str, label: str = "") -> None:
    """Print one line to the error stream, whatever its width and whatever is in it."""
    line = " ".join(text.split())
    err_console.print(label + escape(line), highlight=False, soft_wrap=True)


def _recipe(source: str, options: dict[str, Any], target: dict[str, Any] | None = None) -> Any:
    """Return the recipe of a file or a log, with the options of a command laid over it."""
    from softrec.experiments.inputs import read_input
    from softrec.experiments.options import FIELDS, parse_assignment

    given = {name: value for name, value in options.items() if name in FIELDS and name != "source"}
    given |= dict(parse_assignment(text) for text in options.get("set_") or [])
    given |= target or {}
    return read_input(source, given).recipe


def _print_metrics(title: str, columns: dict[str, dict[str, float]]) -> None:
    table = Table("metric", *columns, title=title, title_justify="left", box=None)
    for name in next(iter(columns.values())):
        table.add_row(name, *(f"{values[name]:.4f}" for values in columns.values()))
    out_console.print(table)


def _print_comparison(results: dict[str, Any], folder: Path) -> None:
    from softrec.experiments.report import console_table

    out_console.print(console_table(results))
    _tell(f"The report is {folder / 'report.html'}")


if __name__ == "__main__":
    main()
