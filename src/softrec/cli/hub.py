"""`softrec card`, `push` and `from`: a run for others, and runs of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softrec.cli.options import Out, Plugins, RunFolder, Trust, load
from softrec.cli.show import print_line, print_run

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


def push(
    run: RunFolder,
    repo: Annotated[str, typer.Argument(help="The repository on the Hub, OWNER/NAME.")],
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="Make a new repository that everybody can see. A run folder contains its log.",
        ),
    ] = False,
    license: Licence = None,
    data_license: DataLicence = None,
    trust: Trust = False,
    plugins: Plugins = None,
) -> None:
    """Write a run and its model card to the Hugging Face Hub, by default for its owner alone.

    The run folder contains the log and its ids, and so does the repository. The token is that of
    HF_TOKEN or of `hf auth login`.

    Example:
      softrec push runs/first ann/shop --license mit --data-license "our own"
    """
    load(plugins)
    from softrec.experiments import hub
    from softrec.experiments.card import Licences, card_of
    from softrec.experiments.runs import open_run

    opened = open_run(run, trust=trust)
    text = card_of(opened, Licences(license, data_license), repo.rpartition("/")[2])
    place = hub.push(opened.folder, opened.facts, text, repo, private=not public)
    print_line(f"The run is {place}, with its log of {len(opened.log):,} events")


def from_(
    place: Annotated[str, typer.Argument(help="hf://OWNER/NAME, or hf://OWNER/NAME@REVISION.")],
    out: Out,
) -> None:
    """Copy a run of the Hugging Face Hub to a folder, and check its files.

    Other commands take such an address, too, in place of the folder of a run.

    Example:
      softrec from hf://ann/shop --out runs/shop
    """
    from softrec.experiments.hub import copied
    from softrec.experiments.runs import open_run

    run = open_run(copied(place, out))
    print_run(run.folder)
