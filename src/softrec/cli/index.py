"""`softrec index`: exact against approximate search among the items of an export or a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from softrec.cli.options import Plugins, RunOrExport, Trust, load
from softrec.cli.show import out_console, print_line

if TYPE_CHECKING:
    from softrec.experiments.index import Indexed


def index(
    run: RunOrExport,
    kind: Annotated[
        str,
        typer.Option(
            help="auto, exact (no index), or hnsw, ivf or usearch. auto measures all that are "
            "installed."
        ),
    ] = "auto",
    k: Annotated[
        int, typer.Option("-k", min=1, help="For how many items recall is measured.")
    ] = 20,
    questions: Annotated[
        int,
        typer.Option(
            min=1,
            help="For how many users of the log an index is asked; of an export without users, for "
            "how many histories of one item.",
        ),
    ] = 1000,
    fast: Annotated[
        float,
        typer.Option(
            min=0,
            help="auto scores all items exactly if that takes at most so many milliseconds a "
            "question (the median on this machine).",
        ),
    ] = 10.0,
    recall: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Otherwise the fastest index is chosen that finds such a share of "
            "the k best items.",
        ),
    ] = 0.95,
    trust: Trust = False,
    plugins: Plugins = None,
) -> None:
    """Compare exact with approximate search among the items, and keep what is chosen in an export.

    For each kind of index and a few settings it prints the recall, the milliseconds of a question,
    the size and the time to build. An export recommends with the chosen index from then on; rules
    that leave out most items are answered exactly. A run is only measured.

    Example:
      softrec index exports/first
    """
    load(plugins)
    from softrec.experiments.index import index_folder

    found = index_folder(
        run, kind=kind, k=k, questions=questions, fast=fast, recall=recall, trust=trust
    )
    print_index(found, k)
    what = "all items, exactly" if found.chosen.built is None else found.chosen.kind
    told = f"{run} recommends with" if found.stored else "an export would recommend with"
    print_line(f"{told}: {what}")


def print_index(found: Indexed, k: int) -> None:
    """Print the report, a row for each index and effort; the chosen one is marked."""
    from rich.table import Table

    table = Table(
        "", "index", "effort", f"recall@{k}", "p50 ms", "p99 ms", "MiB", "build s", box=None
    )
    for row in found.rows:
        built = " ".join(f"{value} {name}" for name, value in list(row.settings.items())[:1])
        table.add_row(
            "*" if row == found.chosen else "", f"{row.kind}, {built}" if built else row.kind,
            str(row.effort or ""), f"{row.recall:.4f}", f"{row.p50:.2f}", f"{row.p99:.2f}",
            f"{row.mib:,.1f}", f"{row.seconds:.1f}",
        )  # fmt: skip
    out_console.print(table)
