"""The command line: `softrec demo | data | recipes | fit | evaluate | recommend | ...`.

This file and those of the commands import little. Torch, and the options that are made of the
settings, are loaded when a command needs them, so that help and completion are fast.
"""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from typing import Annotated, Any

import typer

from softrec.cli.before import INTERRUPTED
from softrec.cli.cache import cache_app
from softrec.cli.data import data_app
from softrec.cli.evaluate import evaluate
from softrec.cli.export import export
from softrec.cli.hub import card, from_, push
from softrec.cli.index import index
from softrec.cli.listing import recipes, report
from softrec.cli.options import Command, ProtocolCommand, SettingsCommand, TargetsCommand
from softrec.cli.recommend import interests, recommend, similar
from softrec.cli.reproduce import reproduce
from softrec.cli.runs import runs
from softrec.cli.serve import serve
from softrec.cli.settings import settings
from softrec.cli.show import print_line
from softrec.cli.train import compare, demo, fit, order
from softrec.cli.tune import tune
from softrec.cli.update import update
from softrec.errors import SoftrecError, of_the_system, one_line
from softrec.progress import telling

app = typer.Typer(
    name="softrec",
    help="Train recommenders on soft targets, and measure whether these help on your data. Start "
    "with `softrec demo`, or with `softrec compare LOG --out DIR` for a log of your own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")
app.add_typer(cache_app, name="cache")


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


app.command(cls=Command)(settings)
app.command(cls=SettingsCommand)(fit)
app.command(cls=SettingsCommand)(tune)
app.command(cls=SettingsCommand)(order)
app.command(cls=TargetsCommand)(compare)
app.command(cls=ProtocolCommand)(evaluate)
for command in (
    update, recommend, similar, interests, export, index, serve, demo, report, runs, card, push,
    recipes, reproduce,
):  # fmt: skip
    app.command(cls=Command)(command)
app.command("from", cls=Command)(from_)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors that a user can fix are one line and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        with warnings.catch_warnings(), telling(write=print_line):
            warnings.simplefilter("always", UserWarning)
            warnings.simplefilter("default", FutureWarning)  # each once
            warnings.showwarning = _show_warning
            app([argument for argument in arguments if argument != "--debug"])
    except Exception as error:
        line = _fixable(error)
        if debug or line is None:
            raise
        print_line(line, "[bold red]error:[/] ")
        raise SystemExit(2) from None
    except SystemExit as done:
        if done.code == INTERRUPTED:  # that of Typer after Ctrl-C
            print_line("interrupted; the same command continues where it stopped")
        raise


def _fixable(error: Exception) -> str | None:
    """Return the message of an error that a user can fix; None for a bug."""
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
    """Print a warning of softrec in one line; other warnings are not printed."""
    if category.__module__.startswith("softrec"):
        print_line(str(message), "[yellow]note:[/] ")


if __name__ == "__main__":
    main()
