"""`softrec report` and `recipes`: show what exists already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softrec.cli.show import print_comparison


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
    print_comparison(comparison.results, folder)


def recipes() -> None:
    """List the recipes that come with softrec; `softrec fit NAME` trains one.

    Example:
      softrec recipes
    """
    from softrec.recipe import shipped

    for path in shipped.paths():
        typer.echo(f"{path.stem:<32}  {shipped.purpose(path)}")
