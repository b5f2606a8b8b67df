"""Packages of extras: imported only where they are used, asked for before anything is trained."""

import ast
import os
import sys
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import softrec
from messages import refused
from softrec.errors import SoftrecError
from softrec.extras import EXTRAS, SILENT, has, require

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

ROOT = Path(softrec.__file__).parent
PYPROJECT = ROOT.parents[1] / "pyproject.toml"
TINY = {"epochs": 1, "batch_size": 64, "length": 5, "model.dim": 4, "model.layers": 1}


@pytest.fixture
def clicks():
    items = np.random.default_rng(0).integers(10, size=(20, 1)) + np.arange(6)
    return pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": items.ravel() % 10})


@pytest.fixture(params=sorted(EXTRAS))
def absent(request, monkeypatch):
    """A package of an extra, as if it were not installed."""
    monkeypatch.setitem(sys.modules, request.param, None)
    return request.param


def test_a_package_that_is_absent_is_named_with_its_extra(absent):
    assert not has(absent)
    with refused(SoftrecError):
        require(absent, "the target")


def test_each_extra_installs_its_package_and_the_core_does_not():
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    distributions = {"faiss": "faiss-cpu", "prometheus_client": "prometheus-client",
                     "mlflow": "mlflow-skinny", "huggingface_hub": "huggingface-hub",
                     "sklearn": "scikit-learn"}  # fmt: skip
    for package, extra in EXTRAS.items():
        distribution = distributions.get(package, package)
        installed = project["optional-dependencies"][extra]
        assert distribution in [need.partition(">")[0] for need in installed]
        assert len(installed) <= len(project["optional-dependencies"]["serve"])
        assert not any(need.startswith(distribution) for need in project["dependencies"])


LATER = {"experiments/tuning/study.py": {"optuna"}, "report/": {"matplotlib"},
         "serving/http/": {"fastapi", "uvicorn", "prometheus_client"}}  # fmt: skip
"""What is imported by functions only, after `require`: the study of a search, figures, a server."""


def imported(node):
    """Yield the packages that a file imports when it runs, not those of its types alone."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    yield from (name.partition(".")[0] for name in names)
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def test_few_files_import_a_package_of_an_extra_by_themselves():
    for path in ROOT.rglob("*.py"):
        place = path.relative_to(ROOT).as_posix()
        later = set().union(*(some for start, some in LATER.items() if place.startswith(start)))
        found = EXTRAS.keys() & set(imported(ast.parse(path.read_text())))
        assert found <= later, path


@pytest.mark.parametrize("target", ["csn", "interest-sharing"])
def test_a_missing_package_is_told_before_a_teacher_is_trained(
    target, monkeypatch, tmp_path, clicks
):
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    clicks.write_csv(tmp_path / "log.csv")
    (tmp_path / "teacher.yaml").write_text(
        f"data: {{source: {tmp_path}/log.csv}}\nmodel: {{name: sasrec, dim: 4}}\n"
    )
    with refused(SoftrecError):
        softrec.fit(
            tmp_path / "log.csv", out=tmp_path / "run", target=target,
            teacher=str(tmp_path / "teacher.yaml"), progress=False, **TINY,
        )  # fmt: skip
    assert not list((tmp_path / "cache").rglob("model.safetensors"))


def test_without_tensorboard_a_run_has_logs_only(monkeypatch, tmp_path, clicks):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    run = softrec.fit(clicks, out=tmp_path / "run", progress=False, **TINY)
    assert (run.folder / "logs").exists()
    assert not (run.folder / "tensorboard").exists()


@pytest.mark.parametrize("package", sorted(SILENT))
def test_a_package_that_sends_statistics_is_kept_from_it_unless_the_user_wants_it(
    package, monkeypatch
):
    if not has(package):
        pytest.skip(f"{package} is not installed")
    name, value = SILENT[package]
    monkeypatch.delenv(name, raising=False)
    found = Path(require(package, "the target").__file__).parent
    assert os.environ[name] == value
    files = (file for kind in ("*.py", "*.so*") for file in found.rglob(kind) if file.is_file())
    assert any(name.encode() in file.read_bytes() for file in files)  # the package still reads it
    monkeypatch.setenv(name, "as the user wants")
    require(package, "the target")
    assert os.environ[name] == "as the user wants"
