"""`softrec export`: from a finished run to a folder that serves its model without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from softrec.cli.options import Plugins, RunFolder, Trust, load
from softrec.cli.show import out_console, print_line

if TYPE_CHECKING:
    from softrec.serving.exported import ExportedRecommender


def export(
    run: RunFolder,
    to: Annotated[
        Path, typer.Option("--to", "--out", help="The folder to write; it must not exist yet.")
    ],
    users: Annotated[
        bool,
        typer.Option(
            "--users/--no-users",
            help="Whether to write the users of the log with their histories. Without them only "
            "given histories are served.",
        ),
    ] = True,
    histories: Annotated[
        int,
        typer.Option(
            min=1, help="For how many histories of the log, at most, the export is compared."
        ),
    ] = 10_000,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0,
            help="The largest difference of scores that is accepted, for scores up to 1; for "
            "larger scores times the largest one.",
        ),
    ] = 1e-3,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the export in --to if there is one.")
    ] = False,
    trust: Trust = False,
    plugins: Plugins = None,
) -> None:
    """Write a model as files that serve it without torch, and compare them with the run.

    The folder has the user tower (histories to user vectors) for ONNX Runtime and for torch.export,
    the vectors and ids of the items, and parity.json: how far scores and lists of the export are
    from those of the run.

    Examples:
      softrec export runs/first --to exports/first

      softrec recommend exports/first --history tea,jam
    """
    load(plugins)
    from softrec.experiments.export import export_run
    from softrec.experiments.train import open_run

    exported = export_run(
        open_run(run, trust=trust), to, users=users, histories=histories, tolerance=tolerance,
        overwrite=overwrite,
    )  # fmt: skip
    print_parity(exported)


def print_parity(exported: ExportedRecommender) -> None:
    """Print what the parity report of an export says, and its size."""
    from rich.table import Table

    report = exported.parity()
    table = Table("export against run", "", box=None)
    rows = {
        "histories": f"{report['histories']:,}",
        "items": f"{report['items']:,}",
        "largest score": f"{report['largest_score']:.4g}",
        "largest difference of scores": f"{report['largest_difference']:.2e}",
        f"equal top-{report['depth']} lists": f"{report['equal_lists']:.2%}",
        "the same but for ties": f"{report['equal_but_ties']:.2%}",
    }
    if "largest_difference_pt2" in report:
        rows["largest difference of vectors, .pt2"] = f"{report['largest_difference_pt2']:.2e}"
    for name, value in rows.items():
        table.add_row(name, value)
    out_console.print(table)
    size = sum(file.stat().st_size for file in exported.folder.iterdir())
    print_line(f"The export is {exported.folder} ({size / 2**20:,.1f} MiB)")
