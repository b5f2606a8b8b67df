"""Fills the templates of the HTML pages."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def fill(template: str, **values: Any) -> str:
    """Return a page; all texts in it are escaped, and a name without a value is an error.

    Args:
        template: the name of a file beside this one.
        values: of the names in the template.
    """
    environment = Environment(
        loader=PackageLoader("softrec.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)
