"""`softrec settings`: lists everything that a recipe can name, with its settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from softrec.cli.options import Plugins, load
from softrec.errors import RecipeError, no_such


def settings(
    what: Annotated[
        str | None,
        typer.Argument(
            help="A section of a recipe, such as target, loss, model or training, or one of its "
            "names, such as model.sasrec; by default all."
        ),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """List all names that a recipe may contain, with their meaning, settings and defaults.

    Examples:
      softrec settings target

      softrec settings model.sasrec
    """
    load(plugins)
    places = dict(_places())
    kinds = {place.partition(".")[0] for place in places}
    if what is not None and what not in places and what not in kinds:
        raise RecipeError(_unknown(what, kinds, places))
    for place, (meaning, fields) in places.items():
        if what in (None, place, place.partition(".")[0]):
            typer.echo(f"{place.replace('.', ' ', 1)}: {meaning}".rstrip())
            for name, field in fields.items():
                typer.echo(f"    {_line(name, field)}")


def _places() -> Iterator[tuple[str, tuple[str, Mapping[str, Any]]]]:
    """Yield everything that has settings or a name: its place, its meaning and its fields."""
    from softrec.recipe.fields import places
    from softrec.recipe.specs.data import SHOP_FIELDS
    from softrec.recipe.specs.docstrings import summary
    from softrec.recipe.specs.models import settings_of
    from softrec.registry import Registry

    sections = places()
    for place, kind in sections.items():
        if place:
            named = "." in place  # by which it is chosen
            fields = {n: f for n, f in kind.model_fields.items() if not (named and n == "name")}
            yield place, (summary(kind), fields)
    yield "data.shop", ("The simulated shop.", SHOP_FIELDS)
    for registry in Registry.all:
        for name in registry.choices():
            place = f"{registry.kind}.{name}"
            if place not in sections:
                thing = registry[name]
                of_model = settings_of(name) if registry.kind == "model" else {}
                yield place, (summary(thing) if callable(thing) else "", of_model)


def _unknown(what: str, kinds: set[str], places: Mapping[str, Any]) -> str:
    kind, dot, name = what.partition(".")
    below = [place.partition(".")[2] for place in places if place.startswith(f"{kind}.")]
    return (
        no_such(kind, name, below)
        if dot and below
        else no_such("kind of settings", what, sorted(kinds))
    )


def _line(name: str, field: Any) -> str:
    from softrec.recipe.fields import default_of, meaning

    default = default_of(field)
    return f"{name}{f' ({default})' if default else ''} {meaning({'': field})}".rstrip()
