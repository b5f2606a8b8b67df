"""`softrec cache`: lists and removes the content of the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from softrec.errors import RecipeError

cache_app = typer.Typer(
    help="List or remove what softrec keeps for later use: data sets, artifacts, runs "
    "of stages, hashes.",
    no_args_is_help=True,
)

Kind = Annotated[
    str | None,
    typer.Option(
        help="What to remove: data, artifacts, runs or hashes; by default all.", show_default=False
    ),
]
KINDS = {
    "data": "public data sets; downloaded again when they are needed",
    "artifacts": "teachers' vectors, neighbours, propagated labels; computed again when they "
    "are needed",
    "runs": "runs that others depend on (teachers, initial weights); trained again when "
    "they are needed",
    "hashes": "hashes of large files, so that these are not read each time; computed again "
    "when they are needed",
}


@cache_app.command("list")
def list_cache() -> None:
    """List the content of the cache: kinds, numbers of entries, sizes, and the folder."""
    from softrec.data.sources.base import cache_dir
    from softrec.experiments.store.cache import entries

    total = 0
    for kind, what in KINDS.items():
        found = entries(kind)
        size = sum(entry.size for entry in found)
        total += size
        typer.echo(f"{kind:<10} {len(found):>7,} {sized(size):>11}  {what}")
    typer.echo(
        f"{sized(total)} in {cache_dir()}; the environment variable SOFTREC_CACHE "
        "chooses another folder"
    )


@cache_app.command("clear")
def clear_cache(
    kind: Kind = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
) -> None:
    """Remove the content of the cache; what is needed later is downloaded or computed again.

    Files that softrec did not put there, and runs in training, are not removed.
    """
    from softrec.data.sources.base import cache_dir
    from softrec.experiments.store.cache import clear, entries

    if kind is not None and kind not in KINDS:
        raise RecipeError(f"--kind must be one of {', '.join(KINDS)}, got {kind!r}")
    found = [entry for name in ([kind] if kind else KINDS) for entry in entries(name)]
    if not found:
        typer.echo(f"nothing to remove in {cache_dir()}")
        return
    whole = f"{len(found):,} entries, {sized(sum(entry.size for entry in found))}"
    if not yes and not typer.confirm(f"Remove {whole} from {cache_dir()}?"):
        typer.echo("nothing was removed")
        return
    kept = clear(found)
    for path in kept:
        typer.echo(f"not removed: {path}, because another process is writing it")
    typer.echo(f"removed {len(found) - len(kept):,} of {whole}")


def sized(size: int) -> str:
    """Return a number of bytes as text, with a unit.

    Example:
        >>> sized(1536), sized(3 << 30)
        ('1.5 KiB', '3.0 GiB')
    """
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f} {units[0]}" if units[0] != "B" else f"{size} B"
