"""The recipes that come with softrec, in a wheel or in a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def find(name: str) -> Path | None:
    """Return the recipe of that name (with or without folder and .yaml), or None.

    Those for a kind of log are only found with their folder, as in "best/sessions".
    """
    stem, of_kind = Path(name).name.removesuffix(".yaml"), Path(name).parent.name == "best"
    return (best() if of_kind else {path.stem: path for path in paths()}).get(stem)


def folders() -> tuple[Path, ...]:
    """Return the folders where recipes may be: in a wheel, and in a checkout."""
    return PACKAGE / "recipes", PACKAGE.parents[1] / "recipes"


def paths() -> list[Path]:
    """Return the files of all recipes, by name."""
    folder = next((folder for folder in folders() if folder.is_dir()), None)
    return sorted(folder.glob("*.yaml")) if folder else []


def best() -> dict[str, Path]:
    """Return the recipe that is best for each kind of log; these name no log."""
    folder = next((folder for folder in folders() if folder.is_dir()), None)
    return {path.stem: path for path in sorted(folder.glob("best/*.yaml"))} if folder else {}


def purpose(path: Path) -> str:
    """Return the purpose of a recipe: its first line, which is a comment."""
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").rstrip(": ")
