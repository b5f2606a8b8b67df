"""`softrec card`: a run for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softrec.cli.options import Plugins, RunFolder, Trust, load
from softrec.cli.show import print_line

Licence = Annotated[
    str | None,
    typer.Option(help="The licence of the model, an identifier of the Hub such as apache-2.0."),
]
DataLicence = Annotated[
    str | None,
    typer.Option(
        help="The terms of the log, in a sentence; by default those of a public data set, else the "
        "card says that they are not stated."
    ),
]


def card(
    run: RunFolder,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write (.md) instead of the screen."),
    ] = None,
    license: Licence = None,
    data_license: DataLicence = None,
    trust: Trust = False,
    plugins: Plugins = None,
) -> None:
    """Write the model card of a run: data, metrics with intervals, slices, limits, how to use it.

    It is Markdown with the front matter of the Hugging Face Hub.

    Example:
      softrec card runs/first --license apache-2.0 --data-license "CC BY 4.0" --out README.md
    """
    load(plugins)
    from softrec.experiments.card import Licences, card_of
    from softrec.experiments.runs import open_run
    from softrec.files import write_text

    text = card_of(open_run(run, trust=trust), Licences(license, data_license))
    if out is None:
        typer.echo(text)
        return
    write_text(out, text)
    print_line(f"The card is {out}")
