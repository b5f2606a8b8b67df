"""What the shipped recipes train with, defaults included, one line each.

    python tests/resolved.py write    # where a recipe is added, or meant to train something else

A default may change; what repeats a paper may not. `test_shipped_settings.py` compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from softrec.recipe import shipped
from softrec.recipe.options import recipe_of
from softrec.recipe.reading import read_yaml
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import settings_of

KEPT = Path(__file__).with_name("resolved.json")


def resolved() -> dict[str, Any]:
    """Return the settings of each shipped recipe by its name, none left to a default."""
    files = {path.stem: path for path in shipped.paths()}
    recipes = {name: recipe_of(read_yaml(path), {}, str(path)) for name, path in files.items()}
    return {name: json.loads(json.dumps(filled(recipe))) for name, recipe in recipes.items()}


def filled(recipe: Recipe) -> dict[str, Any]:
    """Return the fields of a recipe, with those of the recipes that it depends on."""
    stages = {place: filled(stage) for place, stage in recipe.stages().items()}
    told = recipe.with_stages(lambda place, _: place)
    own = told.model_dump(mode="json", exclude={"plugins", "tune"})
    model = {"name": recipe.model.name, **defaults(recipe.model.name), **recipe.model.settings}
    return {**own, "data": recipe.data.source, "model": model, "stages": stages}


def defaults(model: str) -> dict[str, Any]:
    """Return what a model is built with where nothing is said."""
    fields = settings_of(model).items()
    return {name: field.default for name, field in fields if not field.is_required()}


if __name__ == "__main__":
    now = resolved()
    if sys.argv[1:] == ["write"]:
        lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in now.items()]
        KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        print(f"wrote {len(now)} recipes to {KEPT}")
    else:
        kept = json.loads(KEPT.read_text())
        other = [name for name in kept.keys() | now.keys() if kept.get(name) != now.get(name)]
        print(f"{len(other)} of {len(kept)} recipes differ: {', '.join(sorted(other))}")
        sys.exit(bool(other))
