"""From options of the command line or of a Python call to the fields of a recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from softrec.errors import RecipeError, no_such, one_line
from softrec.recipe.fields import options as common
from softrec.recipe.objects import member_name, target_fields
from softrec.recipe.plugins import load_plugins
from softrec.recipe.reading import RECIPES, exists, parsed, read_yaml
from softrec.recipe.recipe import FOR_COUNTED, Recipe, merged, read_recipe
from softrec.recipe.specs.models import is_counted
from softrec.recipe.specs.trials import without_tried
from softrec.renamed import RUNS, current, current_option

NAMED = (
    "model",
    "target",
    "loss",
    "candidates",
    "weights",
)  # sections whose other fields depend on their name
NOT_TRAINING = ("data", "model", "evaluation", "seed", "plugins")
FILES = ("source", "valid", "test", "items", "user_table", *RUNS)
EXAMPLES = {
    "target": "pop+(alpha=0.4,temperature=2)",
    "model": "sasrec(dim=64)",
    "loss": "decoupled(balance=0.3)",
    "candidates": "sampled(number=1000)",
    "weights": "slatk(rank=20)",
}


def recipe_of(
    base: Mapping[str, Any],
    options: Mapping[str, Any],
    place: str = "the recipe",
    adapt: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> Recipe:
    """Return the recipe `base`, changed by `options`; options that are None change nothing.

    An option is flat ("alpha"), dotted ("model.dim") or a section (target={"name": ...}). If an
    option names another model, target or loss than the base, the settings of that section start
    from the defaults. Errors name `place`, where the base comes from. `adapt` may change the fields
    before they are read.

    Raises:
        RecipeError: if an option is unknown or does not fit.
    """
    fields = with_plugins(base, options, place)
    changes = dotted(options)
    fields = _begun(without_tried(fields, changes), changes)
    for section in NAMED:
        named = changes.get(f"{section}.name")
        if isinstance(named, str) and ("(" in named or section in ("target", "weights")):
            changes |= {f"{section}.{k}": v for k, v in parse_member(section, named).items()}
    if "target.name" not in changes and _name(fields.get("target")) is None:
        unused = [name for name in changes if name.startswith("target.")]
        if unused:
            raise RecipeError(
                f"{unused[0].removeprefix('target.')} is a setting of a soft target, "
                "but none is chosen; add --target uniform or --target pop+"
            )
    files = _files(place)
    return read_recipe(adapt(_anchored(merged(fields, _with_runs(changes, files)), files)), place)


def with_plugins(
    base: Mapping[str, Any], options: Mapping[str, Any], place: str = "the recipe"
) -> dict[str, Any]:
    """Return the fields of a recipe, after loading its plugins and those of the options."""
    fields = dict(current(base))
    plugins = [*_texts(fields.get("plugins")), *_texts(options.get("plugins"))]
    if plugins:  # first, because other fields may name members of the plugins
        fields["plugins"] = _loaded(plugins, _files(place))
    return fields


def _files(place: str) -> tuple[Path, ...]:
    return (Path(place),) if place.endswith(RECIPES) else ()


def _with_runs(changes: Mapping[str, Any], files: tuple[Path, ...]) -> dict[str, Any]:
    """Return changes with the fields of recipes in place of their paths.

    Changed by options, a recipe may have the run of its own file as its teacher.
    """
    return {
        place: _read(value, files, ())
        if place.rpartition(".")[2] in FILES and str(value).endswith(RECIPES)
        else value
        for place, value in changes.items()
    }


def _begun(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base without the settings of members that are replaced by other members."""
    begun = dict(fields)
    for section in NAMED:
        wanted = changes.get(f"{section}.name")
        if wanted is not None and wanted != _name(begun.get(section)):
            begun[section] = {}
    model = str(changes.get("model.name")).partition("(")[0].strip()
    return _for_counted(begun) if is_counted(model) else begun


def _for_counted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a recipe that a counted model uses."""
    training = fields.get("training")
    if not isinstance(training, Mapping):
        return {name: value for name, value in fields.items() if name in NOT_TRAINING}
    kept = {name: value for name, value in training.items() if name in FOR_COUNTED}
    return {**_for_counted({**fields, "training": None}), "training": kept}


def dotted(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options by their places in a recipe, such as {"target.alpha": 0.4}."""
    places = {name: option.path for name, option in common().items()}
    changes: dict[str, Any] = {}
    for name, value in spread(options):
        if value is None or name == "plugins":
            continue
        name = current_option(name)
        if "." not in name and name not in places:
            there = no_such("option", name, places)
            raise RecipeError(f"{there}, and dotted fields of a recipe such as model.dim")
        changes[places.get(name, name)] = value
    return changes


def spread(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield single options, of a section each field, as plain Python types."""
    for name, value in options.items():
        if name == "target":
            value = target_fields(value)
        elif name in ("model", "loss"):
            value = member_name(name, value)
        if name in Recipe.model_fields and isinstance(value, Mapping):
            yield from ((f"{name}.{field}", plain(inside)) for field, inside in value.items())
        else:
            yield name, plain(value)


def plain(value: Any) -> Any:
    """Return a value as a plain Python type."""
    if isinstance(value, Mapping):
        return {name: plain(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def _name(section: object) -> object:
    return section.get("name") if isinstance(section, Mapping) else section


def _anchored(fields: dict[str, Any], files: tuple[Path, ...]) -> dict[str, Any]:
    """Make paths of files and runs absolute, and replace paths of recipes by their fields.

    A run must find its files from any folder, and a recipe must contain everything that it depends
    on.

    Args:
        fields: of a recipe.
        files: the recipe files from the outermost to this one. Other files are looked for first in
            the folder of the last one.

    Raises:
        RecipeError: if a recipe depends on itself.
    """
    fields = dict(fields)
    if fields.get("plugins"):  # first, because other fields may name members of the plugins
        fields["plugins"] = _loaded(_texts(fields["plugins"]), files)
    return {
        name: absolute(section, files) if name in ("data", "target", "training") else section
        for name, section in fields.items()
    }


def _texts(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given] if given else []


def _loaded(plugins: list[Any], files: tuple[Path, ...]) -> list[Any]:
    """Load plugins, and return them with absolute paths."""
    found = [plugin_path(name, files) for name in plugins]
    load_plugins(found)
    return found


def plugin_path(name: Any, files: tuple[Path, ...]) -> Any:
    """Return the absolute path of a plugin file, looked for first in the folder of the recipe."""
    if not str(name).endswith(".py"):
        return name
    beside = (files[-1].parent if files else Path()) / str(name)
    return str((beside if exists(beside) else Path(str(name))).absolute())


def absolute(section: Any, files: tuple[Path, ...] = ()) -> Any:
    """Return a section with absolute paths, and with fields in place of paths of recipes."""
    if isinstance(section, list | tuple):
        return [absolute(part, files) for part in section]
    if not isinstance(section, Mapping):
        return section
    return {
        name: _found(value, files, run=name in RUNS)
        if name in FILES and isinstance(value, str)
        else absolute(value, files)
        for name, value in section.items()
    }


def _found(path: str, files: tuple[Path, ...], *, run: bool) -> Any:
    """Return an absolute path, the fields of a recipe, or the name of a data set unchanged.

    Where a run is meant, the name of a counted model is a recipe of it: nothing is trained.
    """
    if path.endswith(RECIPES):
        return _read(path, files, files)
    if exists(Path(path)):
        return str(Path(path).absolute())
    counted = run and is_counted(path.partition("(")[0].strip())
    return {"model": parse_member("model", path)} if counted else path


def _read(path: str, files: tuple[Path, ...], dependent: tuple[Path, ...]) -> dict[str, Any]:
    """Return the fields of a recipe file, on which the `dependent` files depend."""
    beside = (files[-1].parent if files else Path()) / path
    file = beside if exists(beside) else Path(path)
    if file.resolve() in [other.resolve() for other in dependent]:
        way = " -> ".join(str(other) for other in (*dependent, file))
        raise RecipeError(f"a recipe cannot depend on itself: {way}; name another run")
    return _anchored(read_yaml(file), (*dependent, file))


def parse_target(text: str) -> dict[str, Any]:
    """Return the target section of a text such as "pop+(alpha=0.4,temperature=2)".

    Example:
        >>> parse_target("pop+(alpha=0.4)")
        {'name': 'pop+', 'alpha': 0.4}
    """
    return parse_member("target", text)


def parse_member(section: str, text: str) -> dict[str, Any]:
    """Return a section of a recipe for a name, or a name with settings in brackets.

    Example:
        >>> parse_member("model", "youtubednn(dim=64,layers=[64,32])")
        {'name': 'youtubednn', 'dim': 64, 'layers': [64, 32]}
    """
    found = re.fullmatch(r"\s*([\w+-]+)\s*(?:\((.*)\))?\s*", text)
    if found is None:
        raise RecipeError(
            f"{text!r} is not a {section}; expected a name, or a name with settings such as "
            f"{EXAMPLES.get(section, section)}"
        )
    name, inside = found.groups()
    return {"name": name, **dict(map(parse_assignment, parts_of(inside or "")))}


def parts_of(text: str) -> list[str]:
    """Return the parts of a text between commas outside brackets, without empty ones.

    Example:
        >>> parts_of("one-hot,pop+(alpha=1,scale=log)")
        ['one-hot', 'pop+(alpha=1,scale=log)']
    """
    depth, parts = 0, [""]
    for letter in text:
        depth = max(0, depth + (letter in "([{") - (letter in ")]}"))
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]


def parse_assignment(text: str) -> tuple[str, Any]:
    """Return (name, value) of "name=value"; the value is read as YAML.

    Example:
        >>> parse_assignment("model.dim=64")
        ('model.dim', 64)
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise RecipeError(f"expected name=value, got {one_line(repr(text), 200)}")
    try:
        return name.strip(), parsed(value)
    except ValueError as error:
        came = one_line(repr(text), 200)
        raise RecipeError(f"the value in {came} cannot be read ({error}); quote it") from error
