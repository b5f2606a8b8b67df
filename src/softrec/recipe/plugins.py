"""Plugins: modules that register members; and the origin of the members of a recipe.

A plugin is named by a recipe (`plugins: [my_module, ./my_target.py]`), by an option (`--plugin`),
or by an installed package in the entry point group `softrec.plugins`. Loading a plugin runs its
code. The plugins of a recipe that is given to `fit` or `compare` are loaded; those of a run folder
that is opened are not.
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
from softrec.recipe.recipe import Recipe, read_recipe
from softrec.registry import Chosen, PluginWarning, Registry

HASH = "__softrec_sha256__"  # the attribute of a module that has the hash of its file


def load_plugins(plugins: Iterable[str | Path]) -> None:
    """Import modules and files that register members.

    Args:
        plugins: names of modules, or paths of files ending in .py.

    Raises:
        RecipeError: if one cannot be imported.
    """
    for plugin in plugins:
        name = str(plugin)
        try:
            if name.endswith(".py"):
                _run_file(Path(name))
            else:
                _hash_of(import_module(name))
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
    _hash_of(module)  # before the file can change
    sys.modules[path.stem] = module  # dataclasses look up their module in sys.modules
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise


def _hash_of(module: ModuleType) -> str | None:
    """Return the hash that the file of a module had when it was first asked for, if it has one.

    It is asked for when a plugin is loaded, so that it is of the code that runs.
    """
    path, known = _file_of(module), vars(module)
    if HASH not in known and path is not None and path.is_file():
        known[HASH] = hashlib.sha256(path.read_bytes()).hexdigest()
    return known.get(HASH)


def _file_of(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


# --- where the members of a recipe come from ---


def members_of(recipe: Recipe) -> Iterator[tuple[Registry[Any], str]]:
    """Yield registry and name of each member that a recipe names."""
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
    """Return kind, name, module, file and hash of each member that is not part of softrec.

    For a model that was given as an instance, the class is returned instead of file and hash.
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
    """Return the name of a module, its file, and the hash of the code that was loaded."""
    loaded = sys.modules.get(module)
    found = None if loaded is None else _hash_of(loaded)
    if found is None:
        return {"module": module}
    return {"module": module, "file": str(_file_of(loaded)), "sha256": found}


def modules_of(recipe: Recipe) -> list[dict[str, str]]:
    """Return module and file of each member that is not part of softrec, also of its stages."""
    found = plugins_of(recipe)
    for stage in recipe.stages().values():
        found += modules_of(stage)
    return [one for one in found if "instance" not in one]


def unpickled(fields: dict[str, Any], modules: Iterable[Mapping[str, str]]) -> Recipe:
    """Return a recipe that was pickled, perhaps in another process; its members are registered."""
    for one in modules:
        if one["module"] in sys.modules:
            continue
        try:
            import_module(one["module"])
        except ImportError:
            load_plugins([one.get("file", one["module"])])
    return read_recipe(fields)


def missing_plugins(needed: Iterable[Mapping[str, str]]) -> str | None:
    """Return a message about a missing member that a run needs; None if none is missing.

    If a member now comes from another file, there is a warning.

    Args:
        needed: the result of `plugins_of`.
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
