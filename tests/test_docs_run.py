"""What the pages tell to type is done as printed, on a small log: fenced `sh` and `python`.

A block that cannot stand alone is fenced as `py`, or indented.
"""

import re
import shlex
import shutil
from functools import partial
from pathlib import Path

import pytest

import softrec
from softrec.cli import main as cli
from softrec.registry import Registry

DOCS = Path(__file__).parents[1] / "docs"
PARTS = ("start", "choose", "guides", "coming-from", "concepts", "reference")
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [path for part in PARTS for path in sorted((DOCS / part).glob("*.md"))
         if BLOCK.search(path.read_text(encoding="utf-8"))]  # fmt: skip
TRAINS = ("fit", "compare", "tune", "update", "order")
QUICK = {"epochs": 1, "model.dim": 8}


def small(words):
    """Return a command with as little training as it can have; nothing else is changed."""
    words = list(words)
    if words[0] == "data":
        return [*words, "--set", "n_users=60", "--set", "n_items=120"]
    if words[0] not in TRAINS or {"markov", "item-knn", "popularity"} & set(words):
        return words
    for option, value in (("--trials", "2"), ("--tune", "2"), ("--epochs", "1"), ("--seeds", "1")):
        if option in words:
            words[words.index(option) + 1] = value
    return [*words, *(() if "--epochs" in words else ("--epochs", "1"))]


def run_line(line, capsys):
    words = shlex.split(line, comments=True)
    accepted = {0, 3} if words[1] == "update" else {0}  # 3: the new run is not accepted
    assert words[0] == "softrec", f"{line}: only softrec's commands are run"
    with pytest.raises(SystemExit) as done:
        cli.main(small(words[1:]))
    assert done.value.code in accepted, (line, capsys.readouterr().err[-2000:])


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder that Ten minutes leaves: a log, a table of its items, and a run."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        for line in (
            "data shop -o clicks.csv --items items.csv --set n_items=120 --set n_users=60",
            "fit clicks.csv --items items.csv --model gru4rec --epochs 1 --out runs/first",
        ):
            with pytest.raises(SystemExit) as done:
                cli.main(line.split())
            assert not done.value.code
    return folder


@pytest.fixture
def reader(begun, tmp_path, monkeypatch):
    """Somebody who comes from there; what they register is gone afterwards."""
    shutil.copytree(begun, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    for name, given in {"fit": {}, "compare": {"seeds": 1}, "tune": {"seeds": 1}}.items():
        called = partial(getattr(softrec, name), **QUICK, **given)
        monkeypatch.setattr(softrec, name, as_small(called))
    return tmp_path / "here"


def as_small(called):
    def call(*arguments, **options):
        few = {name: 2 for name in ("trials",) if name in options}
        return called(*arguments, **options | few | {n: 1 for n in ("epochs",) if n in options})

    return call


# Lightning's own use of PyTorch, and of torch.export; no part of what is tested here.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore::DeprecationWarning",
                            "ignore::softrec.data.aside.LeakageWarning")  # fmt: skip
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_a_page_does_what_it_says(page, reader, restored, capsys):
    for registry in Registry.all:
        restored(registry)
    text = page.read_text(encoding="utf-8")
    names = {}
    if page.name == "first.md":  # begins with nothing
        shutil.rmtree(reader / "runs")
    for kind, block in BLOCK.findall(text):
        if kind == "python":
            exec(compile(block, str(page), "exec"), names)
            continue
        for line in block.splitlines():
            if line.strip():
                run_line(line, capsys)
