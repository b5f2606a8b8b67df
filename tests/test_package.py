"""What an installed softrec has without a checkout: recipes, types, a page without dead links."""

import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import softrec
from softrec import __version__
from softrec.cli import main as cli
from softrec.experiments.inputs import read_input
from softrec.recipe import shipped
from softrec.serving.http.page import PAGE

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.name for path in (ROOT / "recipes").glob("*.yaml"))

REPRODUCTION = ROOT / "src" / "softrec" / "experiments" / "reproduction"
PUBLISHED = [*REPRODUCTION.glob("published/*"), *REPRODUCTION.glob("papers/*")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    build = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel")
    folder = tmp_path_factory.mktemp("dist")
    (built,) = build.WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return zipfile.ZipFile(built)


def test_the_wheel_has_all_recipes_and_is_typed(wheel):
    inside = set(wheel.namelist())
    assert {f"softrec/recipes/{name}" for name in NAMES} <= inside
    papers = {path.relative_to(ROOT / "src").as_posix() for path in PUBLISHED}
    assert len(papers) > 20
    assert papers <= inside
    assert {"softrec/py.typed", "softrec/report/report.html.j2"} <= inside
    page = {f"softrec/serving/http/page/{name}" for name, _ in PAGE.values()}
    assert page <= inside
    assert not [name for name in inside if name.startswith(("tests/", "benchmarks/"))]


def test_the_wheel_has_no_data(wheel):
    """Of tables it has the published numbers alone."""
    tables = [name for name in wheel.namelist()
              if name.endswith((".csv", ".parquet", ".npz", ".safetensors", ".gz"))]  # fmt: skip
    assert tables
    assert not [name for name in tables if "/reproduction/published/" not in name]
    assert not [name for name in wheel.namelist() if Path(name).suffix in (".pkl", ".pt", ".bin")]


def test_two_builds_have_the_same_bytes(wheel, tmp_path):
    build = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel")
    (again,) = build.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    assert Path(again).read_bytes() == Path(wheel.filename).read_bytes()


def test_the_page_has_no_dead_links(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_bytes(wheel.read(name))
    page = metadata.get_payload()
    assert "# softrec" in page
    assert "docs/start/install.md" in page
    assert "soft-targets.svg" not in page
    assert not re.findall(r"\]\((?!https://|#)", page)
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert all(
        link.split(", ")[1].startswith("https://") for link in metadata.get_all("Project-URL")
    )


# --- recipes by name ---


@pytest.fixture(params=["wheel", "checkout"])
def installed(request, tmp_path, monkeypatch):
    """An empty folder to work in; the recipes lie in the package, or beside `src`."""
    if request.param == "wheel":
        (tmp_path / "package").symlink_to(ROOT / "recipes")
        monkeypatch.setattr(shipped, "folders", lambda: (tmp_path / "package", tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path / "empty"


@pytest.mark.parametrize(
    "source",
    [
        "recipes/diginetica-gru4rec-csn.yaml",
        "diginetica-gru4rec-csn.yaml",
        "diginetica-gru4rec-csn",
    ],
)
def test_a_recipe_that_comes_along(installed, source):
    recipe = read_input(source, {"alpha": 0.3}).recipe
    assert (recipe.data.source, recipe.model.name) == ("diginetica", "gru4rec")
    assert (recipe.target.name, recipe.target.alpha) == ("csn", 0.3)


def test_one_that_rests_on_another(installed):
    stages = read_input("movielens-1m-timirec-plus", {}).recipe.stages()
    assert [stage.model.name for stage in stages.values()] == ["comirec-sa"]


def test_ones_own_recipe_comes_first(installed):
    own = installed / "diginetica-gru4rec-csn.yaml"
    own.write_text("{data: {source: shop}}")
    assert read_input(own.name, {}).recipe.data.source == "shop"
    assert read_input("diginetica-gru4rec-csn", {}).recipe.data.source == "diginetica"
    (installed / "diginetica-gru4rec-csn").write_text("a log")
    assert read_input("diginetica-gru4rec-csn", {}).recipe.data.source.endswith("-csn")


def test_a_data_set_is_no_recipe(installed):
    assert read_input("diginetica", {}).recipe.data.source == "diginetica"


def test_the_recipes_are_listed(installed, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["recipes"])
    assert done.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] + ".yaml" for line in lines] == NAMES
    assert all(len(line.split()) > 2 for line in lines)


# --- the command itself ---


def test_the_version(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"softrec {__version__}\n"


@pytest.mark.parametrize("command", [[], ["fit"], ["compare"], ["data"], ["data", "list"]])
def test_help_is_short_everywhere(capsys, command):
    shown = []
    for flag in ("-h", "--help"):
        with pytest.raises(SystemExit) as done:
            cli.main([*command, flag])
        assert done.value.code == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "Usage: " in shown[0]


# --- namespaces ---

PARTS = ("", "candidates", "data", "evaluation", "losses", "models", "report", "serving",
         "simulation", "targets", "testing")  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_public_names_resolve_and_say_what_they_are(part):
    namespace = getattr(softrec, part) if part else softrec
    assert len(set(namespace.__all__)) == len(namespace.__all__)
    for name in namespace.__all__:
        thing = getattr(namespace, name)
        assert (thing.__doc__ or "").strip(), f"{part}.{name} has no docstring"


def test_the_library_alone_imports_neither_torch_nor_polars():
    code = "import sys, softrec; print({'torch', 'polars', 'lightning'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
