"""The options of commands: those of `fit` and `compare` are made of the settings of a recipe."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from typer.core import TyperCommand

from softrec.cli.before import before
from softrec.cli.listed import Listed, listed
from softrec.errors import RecipeError


def option(panel: str | None, text: str, *names: str) -> Any:
    """Return an optional command-line option, shown in a panel of `--help`.

    By default it has the name of the command's parameter.
    """
    return typer.Option(*names, help=escape(text), rich_help_panel=panel, show_default=False)


class Command(TyperCommand):
    """A command that refuses an option given twice; Typer would silently use the last one.

    In its help, the lines of a paragraph are joined, because Typer keeps their breaks, which do not
    fit the width of the terminal.
    """

    def __init__(self, *args: Any, help: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, help=_joined(help or ""), **kwargs)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return the remaining arguments, as the base class does.

        Raises:
            RecipeError: if an option with one value is given twice.
        """
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option in given:
            once = option.param_type_name == "option" and not getattr(option, "multiple", False)
            if once and given.count(option) > 1:
                times = given.count(option)
                raise RecipeError(f"{option.opts[0]} is given {times} times; give it once")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command, once what it names is known to be there and all modules are loaded."""
        before(self.name or "", ctx.params)
        return super().invoke(ctx)


def _joined(text: str) -> str:
    """Return a text with each paragraph in one line, except for indented lines."""
    return re.sub(r"(?<=\S)\n(?=\S)", " ", inspect.cleandoc(text))


class SettingsCommand(Command):
    """A command with an option for each common setting of a recipe.

    These options are made on first use. The values that were given are in `ctx.obj`, by keyword.
    """

    left_out: tuple[str, ...] = ()
    """The sections of a recipe whose settings have no options."""

    @property
    def params(self) -> list[Any]:
        """Return the command's own parameters, and those made from settings."""
        if not self._made:
            own = {parameter.name for parameter in self._params}
            wanted = [
                one for one in listed() if one.name not in own and one.section not in self.left_out
            ]
            self._made = {one.name for one in wanted}
            self._params += parameters(wanted)
        return self._params

    @params.setter
    def params(self, own: list[Any]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._params, self._made = list(own), set[str]()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return the remaining arguments, and store the settings in `ctx.obj`.

        Plugins are loaded first, because they may register settings, which become options.
        """
        plugins = _plugins_in(args)
        if plugins:
            load(plugins)
            self._params = [one for one in self._params if one.name not in self._made]
            self._made = set()
        rest = super().parse_args(ctx, args)
        given = {name: ctx.params.pop(name, None) for name in self._made}
        ctx.obj = {name: value for name, value in given.items() if value not in (None, (), [])}
        return rest


def _plugins_in(args: list[str]) -> list[str]:
    """Return the plugins that arguments name; a file is looked for first in a recipe's folder."""
    both = [*pairwise(args), *(arg.split("=", 1) for arg in args if "=" in arg)]
    named = [value for flag, value in both if flag == "--plugin"]
    if not named:
        return []
    from softrec.recipe.options import plugin_path
    from softrec.recipe.reading import RECIPES

    recipes = tuple(Path(arg) for arg in args[:1] if arg.endswith(RECIPES))
    found = [plugin_path(name, recipes) for name in named]
    return [name for name in found if not name.endswith(".py") or Path(name).is_file()]


class TargetsCommand(SettingsCommand):
    """A command whose targets are not settings but an option of its own."""

    left_out = ("target",)


class ProtocolCommand(SettingsCommand):
    """A command that does not train: its options say how a log is read, split and evaluated."""

    left_out = ("", "model", "target", "loss", "candidates", "weights", "training", "interest")


def parameters(options: Iterable[Listed]) -> list[Any]:
    """Return the parameters of a command for options made from settings."""

    def command() -> None: ...

    made = [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[one.type | None, _option(one)],
        )
        for one in options
    ]
    command.__signature__ = inspect.Signature(made)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {one.name: one.annotation for one in made}
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return list(typer.main.get_command(app).params)


def _option(one: Listed) -> Any:
    flags, text = list(one.flags), one.text
    if one.type is bool:
        flags[0] = f"{flags[0]}/--no-{flags[0].removeprefix('--')}"
    if one.type == list[str]:
        text += ". May be given several times"
    return option(one.section.title() or None, f"{text}.", *flags)


def load(plugins: list[str] | None) -> None:
    """Load the modules that `--plugin` names."""
    if not plugins:  # without torch, which an export does not need
        return
    from softrec.recipe.plugins import load_plugins

    load_plugins(plugins)


REPORT, SEARCH = "Report", "Search"  # the panels of what adds rows or slices, and of a search

# The options that several commands have in common.
Source = Annotated[
    str,
    typer.Argument(
        help="A log (a CSV, TSV, JSON lines, Parquet or Arrow file, or a folder of Parquet files) "
        "with a column for users and one for items; or the name of a data set (see `softrec data "
        "list`; `shop` is simulated); or a recipe (a .yaml file, or one of `softrec recipes`)."
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a finished run.")]
RunOrExport = Annotated[Path, typer.Argument(help="The folder of a finished run, or of an export.")]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="The folder to write; it must not exist yet.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the folder of --out if it exists.")
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        envvar="SOFTREC_DATA",
        help="A folder with public data sets, searched before the cache and before any download.",
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Use the files of the run without checking their hashes, for instance "
        "because you changed them on purpose.",
    ),
]
Seeds = Annotated[
    int,
    typer.Option(
        min=1,
        help="Number of trainings of each variant, each with another seed; with 1 there is "
        "no verdict.",
    ),
]
Baselines = Annotated[
    bool,
    typer.Option(
        "--baselines/--no-baselines",
        rich_help_panel=REPORT,
        help="Add rows of simple baselines, such as popularity and item-knn, which take seconds.",
    ),
]
ProtocolRows = Annotated[
    Literal["auto", "always", "never"],
    typer.Option(
        metavar="<str>",  # the names are in the help, and leave it more room there
        rich_help_panel=REPORT,
        help="Train the baseline of each model also with other windows, to show how much they "
        "matter. auto: at every position, if the recipe has one label for each sequence (windows: "
        "last). always: with one label for each sequence, too, if it has every position. never: "
        "not at all.",
    ),
]
UserTable = Annotated[
    Path | None,
    option(
        REPORT,
        "A CSV, TSV or Parquet file with a row for each user. The report then has slices of "
        "the test cases by each of its columns. The ids are in the column that is named as in the "
        "log, or else in the first.",
    ),
]
ItemTable = Annotated[
    Path | None,
    option(REPORT, "Such a file with a row for each item, for slices by the item to predict."),
]
Space = Annotated[
    list[str] | None,
    option(
        SEARCH,
        "What the search tries for a field: a range, as in target.alpha=0.05..0.9 or (on a "
        "logarithmic scale) training.lr=1e-4..1e-2:log, or values, as in model.dropout=0,0.2,0.5. "
        "One value is fixed. May be given several times. Other settings have default ranges, and "
        "if no target or loss is named, several are tried: see docs/recipes.md.",
    ),
]
Tune = Annotated[
    int | None,
    typer.Option(
        min=1,
        rich_help_panel=SEARCH,
        help="First search the settings of each variant, one-hot labels included, with this "
        "number of trials, as softrec tune does. What is in brackets or in a grid is not searched.",
    ),
]
On = Annotated[
    Literal["here", "ray"],
    typer.Option(
        metavar="<str>",
        help="Where to train: here, one training after the other; or ray, several at a time on the "
        "machines of a Ray cluster, or on the CPUs of this one. The folder of --out, the working "
        "folder and SOFTREC_CACHE must be on a disk that all of them see.",
    ),
]
CpusPerRun = Annotated[
    int | None,
    typer.Option(min=1, help="CPUs of each training on Ray, which has as many threads; else 1."),
]
Trackers = Annotated[
    list[str] | None,
    option(
        None,
        "Where the curve goes: csv (RUN/logs), tensorboard (RUN/tensorboard), mlflow or wandb; by "
        "default csv and, if it is installed, tensorboard. May be given several times.",
        "--logger",
    ),
]
Set = Annotated[
    list[str] | None,
    option(
        None,
        "Any field of a recipe, such as --set model.dim=64 (`softrec settings` lists them). May "
        "be given several times.",
        "--set",
    ),
]
Plugins = Annotated[
    list[str] | None,
    option(
        None,
        "A module that Python can import, or a file (.py), that registers "
        "targets, losses or models of your own. May be given several times.",
        "--plugin",
    ),
]
