"""`softrec settings`: all there is to choose from, with its settings, from where these are said."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from softrec.errors import RecipeError, no_such


def settings(
    kind: Annotated[
        str | None, typer.Argument(help="Such as target, loss, candidates, model; default all.")
    ] = None,
) -> None:
    """List all names that a recipe may hold, what they mean, and their settings with defaults.

    Example:
      softrec settings target
    """
    from softrec.recipe.recipe import sections
    from softrec.registry import Registry

    listed = {one.kind: one for one in Registry.all}
    kinds = {"data", "training", "evaluation", "interest", *listed}
    if kind is not None and kind not in kinds:
        raise RecipeError(no_such("kind of settings", kind, sorted(kinds)))
    for place, fields in sections().items():
        if place and kind in (None, place.partition(".")[0]):
            typer.echo(f"{place.replace('.', ' ')}: {_first_line(fields)}")
            typer.echo("".join(f"    {_line(n, f)}\n" for n, f in fields.model_fields.items()
                               if n != "name"), nl=False)  # fmt: skip
    for name in [] if kind not in (None, "model") else listed["model"]:
        typer.echo(f"model {name}: {_first_line(listed['model'][name])}")


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]


def _line(name: str, field: Any) -> str:
    default = (
        "needed" if field.is_required() else repr(field.get_default(call_default_factory=True))
    )
    return f"{name} ({default}) {field.description or ''}".rstrip()
