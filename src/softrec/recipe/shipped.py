"""The recipes that come with softrec, in a wheel or in a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def find(name: str) -> Path | None:
    """Return the recipe of that name (with or without folder and .yaml), or None."""
    stem = Path(name).name.removesuffix(".yaml")
    return next((path for path in paths() if path.stem == stem), None)


def folders() -> tuple[Path, ...]:
    """Return the folders where recipes may be: in a wheel, and in a checkout."""
    return PACKAGE / "recipes", PACKAGE.parents[1] / "recipes"


def paths() -> list[Path]:
    """Return the files of all recipes, by name."""
    folder = next((folder for folder in folders() if folder.is_dir()), None)
    return sorted(folder.glob("*.yaml")) if folder else []


def purpose(path: Path) -> str:
    """Return the purpose of a recipe: its first line, which is a comment."""
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").rstrip(": ")
