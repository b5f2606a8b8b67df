"""What others bring: modules that register members, and where the members of a recipe come from.

A recipe names them (`plugins: [my_module, ./my_target.py]`), a command line (`--plugin`), or an
installed package in the entry point group `softrec.plugins`. To load a plugin is to run its code:
a recipe that is given to `fit` or `compare` may ask for it, a run folder that is opened may not.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from softrec.data.sources import SOURCES
from softrec.errors import RecipeError, one_line
from softrec.evaluation.metrics import METRICS
from softrec.models.given import GivenModel
from softrec.models.registry import MODELS
from softrec.recipe.recipe import Recipe
from softrec.registry import Chosen, PluginWarning, Registry


def load_plugins(plugins: Iterable[str | Path]) -> None:
    """Import modules and files, which register what they bring.

    Args:
        plugins: names of modules, or paths that end with .py.

    Raises:
        RecipeError: if one cannot be imported.
    """
    for plugin in plugins:
        name = str(plugin)
        try:
            if name.endswith(".py"):
                _run_file(Path(name))
            else:
                import_module(name)
        except RecipeError:
            raise
        except Exception as error:
            what = one_line(f"{type(error).__name__}: {error}", 200)
            raise RecipeError(
                f"the plugin {name} cannot be loaded ({what}); name a module that Python can "
                "import, or a file that ends with .py, and fix its errors"
            ) from error


def _run_file(path: Path) -> None:
    """Import a file as the module of its name, once."""
    if not path.is_file():
        raise RecipeError(f"there is no plugin {path}; give the path of a Python file")
    kept = sys.modules.get(path.stem)
    if kept is not None:
        if _file_of(kept) == path.resolve():
            return
        raise RecipeError(
            f"the plugin {path} has the name of another module, {path.stem}; rename the file"
        )
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise


def _file_of(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


# --- where the members of a recipe come from ---


def members_of(recipe: Recipe) -> Iterator[tuple[Registry[Any], str]]:
    """Yield the registry and the name of everything that a recipe chooses by name."""
    yield MODELS, recipe.model.name
    if recipe.data.source in SOURCES:
        yield SOURCES, recipe.data.source
    yield from ((METRICS, metric.partition("@")[0]) for metric in recipe.evaluation.metrics)
    yield from _chosen(recipe)


def _chosen(value: Any) -> Iterator[tuple[Registry[Any], str]]:
    if isinstance(value, Chosen):
        yield value.registry, value.name
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _chosen(getattr(value, name))
    elif isinstance(value, tuple):
        for part in value:
            yield from _chosen(part)


def plugins_of(recipe: Recipe) -> list[dict[str, str]]:
    """Return kind, name, module, file and hash of each member that does not come with softrec.

    Of a model that was given as an instance, the class instead of file and hash.
    """
    found = []
    for registry, name in members_of(recipe):
        member = registry.member(name)
        if isinstance(member.thing, GivenModel):
            kind = member.thing.kind
            own = {"module": kind.__module__, "instance": kind.__qualname__}
            found.append({"kind": registry.kind, "name": name, **own})
        elif not member.in_tree:
            found.append({"kind": registry.kind, "name": name, **_origin(member.module)})
    return found


def _origin(module: str) -> dict[str, str]:
    """Return a module, its file, and the hash of that."""
    path = _file_of(sys.modules.get(module))
    facts = {"module": module}
    if path is not None and path.is_file():
        facts |= {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return facts


def missing_plugins(needed: Iterable[Mapping[str, str]]) -> str | None:
    """Return what is missing of the members that a run needs, with the remedy; None if nothing is.

    One that comes from another file than it did is told in a warning.

    Args:
        needed: as `plugins_of` returned it.
    """
    registries = {registry.kind: registry for registry in Registry.all}
    for one in needed:
        registry = registries[one["kind"]]
        place = one.get("file") or one["module"]
        what = f"the {one['kind']} {one['name']!r} of {place}"
        if "instance" in one:
            if one["name"] in registry:
                continue
            return (
                f"the model {one['name']!r}, given as an instance of {one['instance']}; build one "
                "with the same settings, and call softrec.open_run(folder, model=instance)"
            )
        if one["name"] not in registry:
            mark = f" (sha256 {one['sha256'][:12]})" if "sha256" in one else ""
            return (
                f"{what}{mark}, which is not loaded; load it with --plugin {place}, in Python "
                "with softrec.load_plugins, or import the module that registers it"
            )
        now = _origin(registry.member(one["name"]).module)
        if now.get("sha256") != one.get("sha256"):
            warnings.warn(
                f"{what} was changed since, or is a different one now, so its results may differ",
                PluginWarning,
                stacklevel=3,
            )
    return None
