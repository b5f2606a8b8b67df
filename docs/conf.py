"""How the site is built of these pages: `make site`."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "softrec"
author = "The softrec developers"
copyright = "The softrec developers, Apache-2.0"
release = version = version_of("softrec")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "made",  # pages made at each build, in _made/
    "links",  # links that work on a code host, too
    "docstrings",
]
exclude_patterns = ["_build", "_ext", "_made/runs", "**/.ipynb_checkpoints"]

# --- pages: Markdown as code hosts read it ---
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
nb_execution_mode = "force"  # the notebook is kept without its output
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

# --- reference: from the docstrings ---
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
default_role = "code"
add_module_names = False
toc_object_entries_show_parents = "hide"
python_display_short_literal_types = True

# --- names of others: lists kept here, so that a build needs no network ---
INVENTORIES = {
    "python": "https://docs.python.org/3/",
    "torch": "https://docs.pytorch.org/docs/stable/",
    "polars": "https://docs.pola.rs/api/python/stable/",
    "numpy": "https://numpy.org/doc/stable/",
}
intersphinx_mapping = {
    name: (url, str(HERE / "_inventories" / f"{name}.txt")) for name, url in INVENTORIES.items()
}

# --- looks ---
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "softrec"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_prev_next": True,
    "navigation_depth": 3,
    "show_toc_level": 2,
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

# --- links: those inside are checked at each build, these by `make linkcheck` ---
linkcheck_timeout = 20
linkcheck_ignore = [r"http://127\.0\.0\.1.*", r"http://localhost.*"]
