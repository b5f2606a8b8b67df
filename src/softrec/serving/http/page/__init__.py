"""The page: static files of the package, which fetch nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib import resources

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/page/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Path -> name of the file beside this one, and its media type. Nothing else is read."""


@cache
def content(path: str) -> tuple[bytes, str]:
    """Return the content of a file of the page, and its media type."""
    name, media_type = PAGE[path]
    return resources.files(__name__).joinpath(name).read_bytes(), media_type
