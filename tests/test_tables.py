"""The tables of the documents are those that the settings make."""

from pathlib import Path

import pytest
from pydantic import create_model

from messages import refused
from softrec.cli.listed import TABLE
from softrec.errors import RecipeError
from softrec.models.registry import MODELS
from softrec.recipe import tables
from softrec.recipe.recipe import sections
from softrec.recipe.specs.docstrings import described_arguments, source, summary
from softrec.recipe.specs.models import settings_of
from softrec.settings import setting
from softrec.targets.one_hot import OneHotSettings
from softrec.targets.settings import TARGETS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("recipes.md", "models.md")
OWN = [name for name in MODELS.choices() if MODELS.member(name).in_tree]


def test_every_table_is_in_a_page():
    text = "".join((DOCS / page).read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in tables.TABLES if text.count(tables.BEGIN.format(name)) != 1] == []


def test_text_outside_of_the_markers_stays():
    page = "before\n<!-- generated: fields of interest -->\nold\n<!-- end -->\n| a | b |\nafter\n"
    new = tables.written(page)
    assert new.startswith("before\n<!-- generated: fields of interest -->\n\n| field |")
    assert new.endswith("|\n\n<!-- end -->\n| a | b |\nafter\n")
    assert "old" not in new
    assert tables.written(new) == new


def test_the_command_line_reads_what_the_settings_are():
    assert TABLE.read_text(encoding="utf-8") == tables.listed()


def test_a_marker_of_no_table_is_refused():
    with refused(RecipeError):
        tables.written("<!-- generated: fields of losses -->\n<!-- end -->\n")


def rows(table):
    """Return the rows of a table by their first cell."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {first: rest for first, *rest in cells[2:]}


def test_a_row_says_option_default_and_meaning():
    data, loss = rows(tables.fields_table("data")), rows(tables.fields_table("loss"))
    evaluation = rows(tables.fields_table("evaluation"))
    assert data["source"][:2] == ["argument", "required"]
    assert data["header"][:2] == ["--header, --no-header", "true"]
    assert evaluation["negatives_seed"] == [
        "-", "0", "seed of that sample, the same in validation and test",
    ]  # fmt: skip
    assert data["split"][1] == ""  # the text says it
    scores = [part.rpartition(": ")[::2] for part in loss["score"][1].split("; ")]
    assert {score: names.split(", ")[-1] for names, score in scores} == {
        "inner": "weighted-bpr", "cosine": "talos", "euclidean": "cml",
    }  # fmt: skip
    assert loss["margin"][2].startswith("ccl: cosine above which")
    assert loss["name"][0] == "--loss"


@pytest.mark.parametrize("section", tables.SECTIONS)
def test_every_field_has_a_row(section):
    found = rows(tables.fields_table(section))
    for place, kind in sections().items():
        if place.partition(".")[0] == section and getattr(kind, "listed", True):
            assert set(kind.model_fields) <= set(found), place


def test_members_from_outside_have_no_row(restored):
    restored(TARGETS)
    before = tables.names_table("target"), tables.fields_table("target")
    create_model(
        "OwnSettings",
        __base__=OneHotSettings,
        __cls_kwargs__={"name": "own-target"},
        alpha=(float, setting(0.7, "its own")),
    )
    assert "own-target" in TARGETS
    assert (tables.names_table("target"), tables.fields_table("target")) == before


@pytest.mark.parametrize("name", OWN)
def test_every_setting_of_a_model_is_described(name):
    untold = [one for one, info in settings_of(name).items() if not info.description]
    assert not untold, (
        f"{MODELS[name].__name__}: say in the Args: of its docstring what {untold} is"
    )


@pytest.mark.parametrize("name", OWN)
def test_the_docstring_of_a_model_names_no_argument_that_it_lacks(name):
    known = {*settings_of(name), "n_items", "n_users", "edges", "catalogue"}
    assert set(described_arguments(MODELS[name])) <= known


def test_a_model_without_a_line_for_an_argument_is_noticed(restored):
    class Bare(MODELS["popularity"]):
        """Of no use.

        Args:
            n_items: size N of the catalogue.
            told: it is.
        """

        def __init__(self, n_items: int, *, told: int = 1, untold: bool = True) -> None:
            super().__init__(n_items)

    restored(MODELS)
    MODELS.add("bare", Bare)
    assert {n: info.description for n, info in settings_of("bare").items()} == {
        "told": "it is", "untold": None,
    }  # fmt: skip


def test_a_model_says_what_it_reads_and_what_is_tried():
    text = (DOCS / "models.md").read_text(encoding="utf-8")
    part = {name: text.split(f"### {name}\n")[1].split("\n### ")[0] for name in OWN}
    assert "It reads the number of the user, and the training part as a graph." in part["lightgcn"]
    assert "data without times are refused" in part["tisasrec"]
    assert "- `preset: original` is dim 50, length 200, layers 2, heads 1," in part["sasrec"]
    assert "| shrinkage | 0 | [0, 10] | s; a larger s" in part["item-knn"]
    assert "It has no settings." in part["popularity"]
    assert "tune" not in part["sasrec"]


def test_what_a_docstring_says():
    class Told:
        """One, in
        two lines.

        Args:
            a: first,
                and more.
            b: "x": or "y".

        Source: Somebody,
        somewhere.

        Other: text
        """

    assert summary(Told) == "One, in two lines."
    assert described_arguments(Told) == {"a": "first, and more", "b": '"x": or "y"'}
    assert source(Told) == "Somebody, somewhere."

    class Untold(Told):
        pass

    assert (summary(Untold), described_arguments(Untold), source(Untold)) == ("", {}, "")
