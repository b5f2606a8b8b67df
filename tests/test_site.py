"""The site: every page has its place, and it is built without a warning."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import softrec
from softrec.candidates import CANDIDATES
from softrec.losses.settings import LOSSES
from softrec.models import MODELS
from softrec.targets.settings import TARGETS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [path for path in DOCS.rglob("*.md") if not {"_made", "_build"} & set(path.parts)]
TREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)


def entries(page):
    """Yield the pages that a page has below it, as paths without an ending."""
    for block in TREE.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.strip() and not line.startswith(":"):
                place = line.rpartition("<")[2].rstrip(">").strip()
                yield (page.parent / place).resolve()


def test_each_page_has_one_place():
    placed = [entry for page in PAGES for entry in entries(page)]
    written = [entry for entry in placed if "_made" not in entry.parts]
    assert len(set(placed)) == len(placed)
    known = {page.with_suffix("") for page in PAGES} - {DOCS / "index"}
    assert set(written) == known, "add a new page to the toctree of its part of docs/"


@pytest.mark.slow
def test_the_site_is_built(tmp_path):
    """Warnings are errors: lost links, docstrings that cannot be read, pages without a place."""
    pytest.importorskip("sphinx", reason="the extra docs builds the site")
    pytest.importorskip("myst_nb", reason="the extra docs builds the site")
    built = tmp_path / "html"
    options = f"-W --keep-going -q -b html -D nb_execution_mode=off -d {tmp_path / 'trees'}"
    command = [sys.executable, "-m", "sphinx", *options.split(), str(DOCS), str(built)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert not ended.returncode, ended.stderr[-3000:]
    losses = (built / "_made/api/softrec.losses.html").read_text(encoding="utf-8")
    assert "docs.pytorch.org/docs/stable/tensors.html#torch.Tensor" in losses
    assert "<math" in (built / "_made/api/softrec.models.html").read_text(encoding="utf-8")
    board = (built / "_made/leaderboard.html").read_text(encoding="utf-8")
    rows = [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in board.split("<tr ")]
    told = [cells[-3:] for cells in rows if cells]
    assert len(told) > 50
    for seconds, recipe, when in told:
        assert float(re.sub("<.*?>|,", "", seconds)) >= 0
        assert "how-it-was-run" in recipe
        assert re.search(r"20\d\d-\d\d-\d\d, \d", when)
    commands = (built / "_made/cli.html").read_text(encoding="utf-8")
    assert "softrec data describe" in commands
    outside = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"https?://", losses)
    assert not outside  # a page needs nothing of other servers


def levels(name):
    """Return the level of each name in a table of the page on stability."""
    page = (DOCS / "reference" / "stability.md").read_text(encoding="utf-8")
    table = page.split(f"<!-- stability of {name} -->")[1].split("<!-- end -->")[0]
    return dict(re.findall(r"^\| ([\w.]+) \| (stable|provisional|experimental) \|", table, re.M))


def test_each_public_name_has_a_level_of_stability():
    assert sorted(levels("softrec")) == sorted(softrec.__all__)
    spaces = {f"softrec.{part}" for part in softrec.PARTS
              if hasattr(getattr(softrec, part), "__all__")}  # fmt: skip
    assert set(levels("namespaces")) == spaces


@pytest.mark.parametrize(
    ("page", "registry"),
    [("targets", TARGETS), ("losses", LOSSES), ("candidates", CANDIDATES), ("backbones", MODELS)],
)
def test_the_overviews_name_every_member(page, registry):
    text = (DOCS / "choose" / f"{page}.md").read_text(encoding="utf-8")
    names = {name for name, member in registry.items() if member.__module__.startswith("softrec")}
    assert names - {"object", "given"} <= set(re.findall(r"`([^`\s]+)`", text))


def test_each_warning_has_its_words():
    """Of all classes of warnings that softrec has."""
    texts = (path.read_text(encoding="utf-8") for path in (DOCS.parent / "src").rglob("*.py"))
    classes = {name for text in texts for name in re.findall(r"^class (\w+Warning)\(", text, re.M)}
    page = (DOCS / "concepts" / "warnings.md").read_text(encoding="utf-8")
    assert classes
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == classes
