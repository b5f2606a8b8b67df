"""What `--help` shows: whole, at any width, and true."""

import re

import pytest
import typer

from softrec.cli import main as cli
from softrec.recipe.recipe import sections
from softrec.recipe.specs.models import MODELS

ROOT = typer.main.get_command(cli.app)
COMMANDS = {name: ROOT.commands[name] for name in ROOT.commands if name != "data"} | {
    f"data {name}": command for name, command in ROOT.commands["data"].commands.items()
}
FRAME = re.compile(r"[│╭╮╰╯─]")


@pytest.fixture
def shown(monkeypatch, capsys):
    def show(command: str, width: int) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.delenv("TERMINAL_WIDTH", raising=False)  # Typer would keep the first
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            cli.main([*command.split(), "--help"])
        assert done.value.code == 0
        return capsys.readouterr().out

    return show


def words(text: str) -> str:
    """Return a text without the frame and the breaks that a width makes."""
    return "".join(FRAME.sub(" ", text).split())


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("width", [80, 200])
def test_no_text_is_lost(shown, command, width):
    out = shown(command, width)
    assert all(len(line) <= width for line in out.splitlines())
    assert "…" not in out  # a word that is longer than its column
    for parameter in COMMANDS[command].params:
        text = getattr(parameter, "help", None)
        if text and width == 200:  # one line at 80 may be cut in two by its column
            plain = text.replace("\\[", "[")
            assert words(plain)[:60] in words(out), parameter.name


def test_the_lines_of_a_paragraph_are_filled(shown):
    """A break of the docstring is none in the terminal; examples keep theirs."""
    lines = [line.strip() for line in shown("demo", 80).splitlines()]
    assert "It writes a report, demo/report.html by default. The simulator knows the best" in lines
    lines = [line.strip() for line in shown("recipes", 80).splitlines()]
    assert lines[lines.index("Example:") + 1] == "softrec recipes"


def test_brackets_are_shown(shown):
    assert "[env: SOFTREC_DATA]" in re.sub(r"\s+", " ", FRAME.sub(" ", shown("data get", 120)))


def test_all_there_is_to_choose_from(shown):
    out = FRAME.sub(" ", shown("fit", 200))
    named = {name: kind for name, kind in sections().items() if "." in name}
    offered = {name for name, kind in named.items() if getattr(kind, "listed", True)}
    names = {name.partition(".")[2] for name in offered} | set(MODELS)
    presets = {preset for model in MODELS.values() for preset in model.PRESETS}
    listed = set(re.findall(r"[\w+-]+", out))
    assert names - listed == set()
    assert presets - listed == set()


ONCE = {
    "fit log.csv --out run --model mf --model gru4rec": "--model is given 2 times",
    "fit log.csv -o run --out other -o third": "--out is given 3 times",
    "compare log.csv -o run --seeds 2 --seeds 3": "--seeds is given 2 times",
    "recommend run -k 3 -k 4 --user a --user b": "-k is given 2 times",
    "fit log.csv -o run --header --no-header": "--header is given 2 times",
    "data get diginetica --data-dir a --data-dir b": "--data-dir is given 2 times",
}


@pytest.mark.parametrize("command", ONCE)
def test_an_option_of_one_value_is_given_once(capsys, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as done:
        cli.main(command.split())
    assert done.value.code == 2
    assert capsys.readouterr().err == f"error: {ONCE[command]}; give it once\n"


def test_options_of_several_values_are_given_several_times(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main(["fit", "none.csv", "-o", "run", "--set", "model.dim=8", "--set", "seed=1",
                  "--clean", "k-core=2", "--clean", "min-user=3"])  # fmt: skip
    assert "there is no file, folder or data set" in capsys.readouterr().err


def test_all_settings_are_listed_with_their_defaults(capsys):
    with pytest.raises(SystemExit):
        cli.main(["settings"])
    out = capsys.readouterr().out
    for place, fields in sections().items():
        assert not place or f"{place.replace('.', ' ')}: " in out
        assert all(
            f"\n    {name} " in out for name in fields.model_fields if place and name != "name"
        )
    assert "    scale (log) the scale of popularity" in out
    assert all(f"model {name}: " in out for name in MODELS)
    with pytest.raises(SystemExit):
        cli.main(["settings", "loss"])
    some = capsys.readouterr().out
    assert "loss decoupled: " in some
    assert "target" not in {line.split()[0] for line in some.splitlines()}
    with pytest.raises(SystemExit) as done:
        cli.main(["settings", "targets"])
    assert done.value.code == 2
    assert "did you mean target?" in capsys.readouterr().err


def listed(capsys, *arguments):
    with pytest.raises(SystemExit) as done:
        cli.main(["settings", *arguments])
    assert done.value.code == 0
    return capsys.readouterr().out.splitlines()


def test_the_settings_of_one_model_are_listed(capsys):
    first, *rest = listed(capsys, "model.item-knn")
    assert first.startswith("model item-knn: The similarity of items")
    assert [line.split()[0] for line in rest] == [
        "k", "similarity", "power", "shrinkage", "recency", "tune",
    ]  # fmt: skip
    assert (
        "    shrinkage (0) s; a larger s lowers the similarity of pairs with few users more" in rest
    )
    assert [line for line in listed(capsys, "model") if not line.startswith("model ")][:2]
    assert listed(capsys, "loss.ccl")[0].startswith("loss ccl: ")


def test_what_no_member_is_called(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["settings", "model.sasrc"])
    assert done.value.code == 2
    assert "no model 'sasrc', did you mean sasrec?" in capsys.readouterr().err


def test_the_members_of_a_plugin_are_listed(capsys, tmp_path):
    file = tmp_path / "own_scorer_listed.py"
    file.write_text(
        "import softrec\nfrom softrec.models.counted.popularity import Popularity\n"
        "@softrec.register('own-scorer-listed')\n"
        "class Own(Popularity):\n"
        '    """Mine.\n\n    Args:\n        power: of the counts.\n    """\n'
        "    def __init__(self, n_items: int, *, power: float = 0.5) -> None:\n"
        "        super().__init__(n_items)\n"
    )
    try:
        lines = listed(capsys, "model.own-scorer-listed", "--plugin", str(file))
        assert lines == ["model own-scorer-listed: Mine.", "    power (0.5) of the counts"]
    finally:
        MODELS.pop("own-scorer-listed", None)
