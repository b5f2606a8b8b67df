"""The documents hold: what they tell to type exists, their links lead somewhere."""

import re
import shlex
from functools import partial
from pathlib import Path

import polars as pl
import pytest
import torch
import typer

import softrec
from softrec.cli import main as cli
from softrec.cli.main import app
from softrec.data import sources
from softrec.recipe import tables
from softrec.recipe.options import recipe_of
from softrec.recipe.reading import read_yaml
from softrec.recipe.recipe import Recipe, sections
from softrec.targets.settings import TARGETS

ROOT = Path(__file__).parents[1]
PAGES = [path for path in sorted((ROOT / "docs").rglob("*.md"))
         if not {"_made", "_build"} & set(path.parts)]  # fmt: skip
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *PAGES]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
COMMAND = typer.main.get_command(app)


def text_of(path):
    return path.read_text(encoding="utf-8")


def named(path):
    return path.relative_to(ROOT).as_posix()


def blocks(text):
    """Return the lines of fenced and of indented blocks."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    (.*)$", text, re.MULTILINE)
    return [line for block in fenced for line in block.splitlines()] + indented


def typed_commands():
    """Yield (where, arguments) for each softrec command that a reader is told to type."""
    for path in [*DOCUMENTS, *RECIPES]:
        text = text_of(path)
        lines = re.findall(r"^#\s+(softrec .*)$", text, re.MULTILINE)
        for line in blocks(text) if path.suffix == ".md" else lines:
            found = re.match(r"(?:\S*/)?softrec (.*)", line)
            if found:
                yield pytest.param(
                    shlex.split(found[1], comments=True), id=f"{named(path)}: {found[1][:40]}"
                )


def parse(command, arguments, parent=None):
    """Read the arguments as the command line would, without doing anything."""
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        command.make_context(command.name, list(arguments), parent=parent)
        return
    name, *rest = arguments
    assert name in subcommands, f"no command {name!r}; there are {', '.join(subcommands)}"
    parse(subcommands[name], rest, parent)


def walk(command, path=()):
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


def options_of(command):
    given = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return {name for name in given if name.startswith("-")} | {"--help"}


@pytest.mark.parametrize("arguments", list(typed_commands()))
def test_a_command_can_be_typed(arguments):
    parse(COMMAND, arguments)


@pytest.mark.parametrize("wrong", [["fit", "a.csv", "--out", "b", "--nosuch"], ["nosuch"]])
def test_a_wrong_command_is_noticed(wrong):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of Click, wherever Typer has it
        parse(COMMAND, wrong)
    assert type(caught.value).__name__ in ("NoSuchOption", "AssertionError")


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_options_named_in_the_text_exist(path):
    known = set().union(*(options_of(command) for _, command in walk(COMMAND)))
    others = r"^.*\b(pip|make|ruff|pytest|torchrun|srun)\b.*$"
    outside = re.sub(others, "", text_of(path), flags=re.MULTILINE)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![-a-z])", outside)) <= known


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_lead_to_files(path):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text_of(path))
    lost = [t for t in targets if "://" not in t and not (path.parent / t).exists()]
    assert not lost


def test_what_contributors_are_sent_to_exists():
    """A name stands in the file that the page says it is in."""
    told = re.findall(r"`(\w+)`(?: and `(\w+)`)? in `([\w/]+\.py)`",
                      text_of(ROOT / "CONTRIBUTING.md"))  # fmt: skip
    assert len(told) >= 2
    for *names, file in told:
        (path,) = (found for found in (ROOT / file, ROOT / "src" / "softrec" / file)
                   if found.exists())  # fmt: skip
        for name in filter(None, names):
            assert re.search(rf"^(def |class )?{name}\b", text_of(path), re.MULTILINE), (name, file)


def test_make_targets_exist():
    rules = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    told = {t for path in DOCUMENTS for line in blocks(text_of(path))
            for t in re.findall(r"^make ([a-z]+)", line)}  # fmt: skip
    assert told
    assert told <= rules


@pytest.mark.parametrize("page", ["recipes.md", "models.md"])
def test_the_tables_are_those_of_the_settings(page):
    text = text_of(ROOT / "docs" / page)
    assert tables.written(text) == text, f"docs/{page} is out of date; run `make docs`"


@pytest.mark.parametrize("path", RECIPES, ids=named)
def test_a_recipe_is_valid(path):
    assert isinstance(recipe_of(read_yaml(path), {}, str(path)), Recipe)


PLACES = sections()


@pytest.mark.parametrize("section", sorted({name.partition(".")[0] for name in PLACES} - {""}))
def test_every_field_of_a_recipe_is_told(section):
    text = text_of(ROOT / "docs" / "recipes.md")
    told = re.search(rf"^### {section}\n(.*?)^### ", text, re.MULTILINE | re.DOTALL)[1]
    specs = [spec for name, spec in PLACES.items() if name.partition(".")[0] == section]
    fields = {field for spec in specs for field in spec.model_fields}
    assert not [field for field in fields if not re.search(rf"\b{field}\b", told)]


@pytest.mark.parametrize("section", ["loss", "target", "candidates"])
def test_every_name_of_a_section_is_told(section):
    text = text_of(ROOT / "docs" / "recipes.md")
    told = re.search(rf"^### {section}\n(.*?)^### ", text, re.MULTILINE | re.DOTALL)[1]
    names = [key.partition(".")[2] for key in PLACES if key.startswith(f"{section}.")]
    assert len(names) >= 3
    tables = re.findall(r"^\| .*", told, re.MULTILINE)
    assert set(names) <= set(re.findall(r"[\w+-]+", " ".join(tables)))


def test_the_table_of_data_sets_is_complete():
    text = text_of(ROOT / "docs" / "data.md")
    table = text.split("## Public data sets")[1]
    rows = dict(re.findall(r"^\| ([a-z][a-z0-9-]+) \| .* \| ([a-z-]+) \|$", table, re.MULTILINE))
    rows.pop("name")
    assert rows == {name: sources.get(name).split["split"] for name in sources.names()}
    assert f"{len(rows)} public sets" in text_of(ROOT / "README.md")


def test_the_files_of_the_trees_exist():
    text = text_of(ROOT / "docs" / "design.md") + text_of(ROOT / "README.md")
    known = {path.name for path in (ROOT / "src" / "softrec").rglob("*") if path.is_dir()}
    told = set(re.findall(r"^ {6,8}([a-z_]+)/ ", text, re.MULTILINE))
    assert told
    assert told <= known


@pytest.fixture
def clicks(tmp_path, monkeypatch):
    """The folder of somebody who reads the README, with a log of the names it uses."""
    items = ["tea", "jam", *(f"i{n}" for n in range(18))]
    users = ["ann", *(f"u{n}" for n in range(40))]
    rows = [(user, items[(n * 7 + step * step) % 20])
            for n, user in enumerate(users) for step in range(6)]  # fmt: skip
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(tmp_path / "clicks.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Lightning's own use of PyTorch; no part of what is tested here.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_the_python_of_the_readme_runs(clicks, monkeypatch, restored, capsys):
    for name in ("fit", "compare"):  # as written, but not for a hundred epochs
        monkeypatch.setattr(softrec, name, partial(getattr(softrec, name), epochs=1))
    snippets = re.findall(r"```python\n(.*?)```", text_of(ROOT / "README.md"), re.DOTALL)
    assert snippets
    restored(TARGETS)  # what a snippet registers is gone after it
    for snippet in snippets:
        assert len([line for line in snippet.splitlines() if line.strip()]) <= 10
        names = {"states": torch.zeros(2, 3, 4, requires_grad=True), "table": torch.ones(5, 4),
                 "labels": torch.ones(2, 3).long(), "counts": torch.ones(5)}  # fmt: skip
        exec(compile(snippet, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "ann" in printed
    assert "p_holm=" in printed
    assert "np.float64" not in printed  # plain numbers
    assert (clicks / "runs" / "compared" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_the_shell_of_the_readme_runs(clicks, capsys):
    """In the order of the page, but for an epoch and trials; not what needs a public data set."""
    (block,) = re.findall(r"```sh\n(.*?)```", text_of(ROOT / "README.md"), re.DOTALL)
    small = ["--epochs", "1", "--set", "model.dim=8"]
    tiny = {"fit": small, "compare": small, "tune": ["--epochs", "1"]}
    few = re.sub(r"--(tune|trials) \d+", r"--\1 2", block)
    told = [shlex.split(line, comments=True) for line in few.splitlines()]
    commands = [words[1:] for words in told if words and "--data-dir" not in words]
    assert {words[0] for words in commands} >= {"fit", "tune", "recommend", "compare"}
    for words in commands:
        with pytest.raises(SystemExit) as done:
            cli.main([*words, *tiny.get(words[0], [])])
        assert done.value.code == 0, (words, capsys.readouterr().err)
    assert pl.read_csv(clicks / "best.csv")["rank"].to_list() == list(range(1, 11))
    assert (clicks / "runs" / "compared" / "report.html").is_file()
