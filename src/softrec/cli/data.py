"""`softrec data`: public data sets, their terms of use and their content."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from softrec.cli.options import Command

if TYPE_CHECKING:
    import numpy as np

    from softrec.data.interactions import Interactions
    from softrec.data.sources import RemoteFile, Source

data_app = typer.Typer(help="Public data sets: list, get and describe them.", no_args_is_help=True)

WIDE = 200  # characters

Name = Annotated[str, typer.Argument(help="A data set, as in `softrec data list`.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="A folder with public data sets, searched before the cache and before any "
        "download." + escape(" [env: SOFTREC_DATA]"),
        show_default=False,
    ),
]


@data_app.command("list", cls=Command)
def list_sources(data_dir: DataDir = None) -> None:
    """List the data sets, their sizes, and where they are."""
    from softrec.data import sources

    table = Table("Name", "Users", "Items", "Events", "Here", "Title", box=None)
    table.columns[0].no_wrap = True  # names are copied from here
    for column in table.columns[1:4]:
        column.justify = "right"
    for source in map(sources.get, sources.names()):
        counts = source.counts
        sizes = (counts.users, counts.items, counts.events) if counts else ()
        cells = [f"{size:,}" for size in sizes] or ["-", "-", "-"]
        table.add_row(source.name, *cells, _here(source, data_dir), source.title)
    # A pipe has no width, so that each data set is one line.
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


@data_app.command("get", cls=Command)
def get_source(name: Name, data_dir: DataDir = None) -> None:
    """Find or download a data set, verify its files, and print its terms of use."""
    from softrec.data import sources

    source = sources.get(name)
    typer.echo(_terms(source))
    paths = sources.locate(source, data_dir)
    for file in source.files:
        typer.echo(f"{file.name}: {paths[file.name]} ({_trust(file, paths[file.name])})")


@data_app.command("describe", cls=Command)
def describe_source(name: Name, data_dir: DataDir = None) -> None:
    """Print the terms of use of a data set, its counts, lengths of sequences, and times.

    The data set is downloaded if it is not here.
    """
    from softrec.data import sources

    source = sources.get(name)
    typer.echo(_terms(source))
    parts = sources.load(name, data_dir)
    typer.echo("\n".join(measured(parts.whole)))
    if parts.published is not None:
        train, test = parts.published
        typer.echo(f"parts: {len(train):,} training events, {len(test):,} test events")
    typer.echo("split: " + ", ".join(f"{key}={value}" for key, value in source.split.items()))


@data_app.command("items", cls=Command)
def list_items(
    name: Name,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A file for the table (.csv, .parquet or .json); by default it is printed.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Print or write the titles of the items of a data set: the columns item and title."""
    from softrec.data import sources
    from softrec.serving.files import write_table

    table = sources.item_table(name, data_dir)
    if out is None:
        typer.echo(table.write_csv(separator="\t"), nl=False)
        return
    write_table(table, out)
    typer.echo(f"{len(table):,} items: {out}")


@data_app.command("shop", cls=Command)
def simulate_shop(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file of the log (.csv).")],
    items: Annotated[
        Path | None, typer.Option(help="A file for the table of the items (.csv, .parquet).")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A parameter of the shop, such as n_items=300."),
    ] = None,
) -> None:
    """Write a log of the simulated shop, and the table of its items: title, category, price, stock.

    Example:
      softrec data shop -o shop.csv --items shop-items.csv --set n_items=300 --set n_users=500
    """
    import polars as pl

    from softrec.experiments.build.shop import shop_of, simulated
    from softrec.recipe.options import parse_assignment
    from softrec.recipe.recipe import read_recipe
    from softrec.serving.files import write_table
    from softrec.simulation import item_table

    given = {"times": True} | dict(parse_assignment(text) for text in set_ or [])
    spec = read_recipe({"data": {"source": "shop", "shop": given}}).data
    log = simulated(spec)
    times = {"time": log.ordered["time"]} if log.has_time else {}
    numbers = {kind: log.ordered[kind].to_numpy() for kind in ("user", "item")}
    raw = {"user": log.users.ids(numbers["user"]), "item": log.items.ids(numbers["item"])}
    write_table(pl.DataFrame(raw | times), out)
    typer.echo(f"{len(log):,} events of {log.n_users:,} users: {out}")
    if items is not None:
        table = item_table(shop_of(spec))
        write_table(table, items)
        typer.echo(f"{len(table):,} items: {items}")


def _here(source: Source, data_dir: Path | None) -> str:
    from softrec.data import sources

    found = [sources.find(source, file, data_dir) for file in source.files]
    if not all(found):
        return "no"
    inside_cache = all(
        path is not None and path.is_relative_to(sources.cache_dir()) for path in found
    )
    return "cache" if inside_cache else "data folder"


def _trust(file: RemoteFile, path: Path) -> str:
    from softrec.data import sources

    if not path.is_relative_to(sources.cache_dir()):
        return "from your data folder, used as it is"
    if file.checksum is None:
        return "not verified, because no checksum is known"
    return f"verified, {file.checksum}"


def _terms(source: Source) -> str:
    lines = [
        f"{source.name}: {source.title}",
        f"licence: {source.licence}",
        *(f"cite: {line}" for line in source.citation.splitlines()),
        f"homepage: {source.homepage}",
    ]
    return "\n".join([*lines, f"note: {source.notes}"] if source.notes else lines)


def measured(log: Interactions) -> list[str]:
    """Return lines that describe a log: counts, quantiles of lengths, times, weights."""
    from softrec.data import sources
    from softrec.experiments.views import moments

    counts = sources.Counts.of(log)
    per_user = log.sequences.lengths[log.sequences.lengths > 0]
    per_item = log.item_counts[log.item_counts > 0]
    lines = [
        f"users: {counts.users:,}",
        f"items: {counts.items:,}",
        f"events: {counts.events:,}",
        f"events per user: {_quantiles(per_user)}",
        f"events per item: {_quantiles(per_item)}",
    ]
    if log.has_time:
        times = log.frame["time"].to_numpy()
        first, last = moments(int(times.min()), int(times.max()))
        lines.append(f"times: {first} to {last}")
    else:
        lines.append("times: none")
    if "weight" in log.frame.columns:
        weights = log.frame["weight"].to_numpy()
        lines.append(f"weights: {weights.min():g} to {weights.max():g}, mean {weights.mean():.2f}")
    return lines


def _quantiles(lengths: np.ndarray) -> str:
    import numpy as np

    points = np.quantile(lengths, [0, 0.25, 0.5, 0.75, 0.99, 1])
    names = ("min", "25%", "median", "75%", "99%", "max")
    listed = ", ".join(f"{name} {point:g}" for name, point in zip(names, points, strict=True))
    return f"{listed}, mean {lengths.mean():.2f}"
