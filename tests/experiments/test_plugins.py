"""What is brought from outside: registered, named in recipes, kept in runs, given as objects."""

import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
import typer

import softrec
from messages import refused, warned
from softrec import registry as registries
from softrec.cli import main as cli
from softrec.errors import RecipeError, RunError, SoftrecError
from softrec.evaluation.metrics import METRICS
from softrec.experiments.stages import folder_of
from softrec.losses.settings import LOSSES
from softrec.models.gru4rec import GRU4Rec
from softrec.models.registry import MODELS
from softrec.models.sasrec import SASRec
from softrec.models.tisasrec import TiSASRec
from softrec.recipe.options import recipe_of
from softrec.recipe.plugins import load_plugins
from softrec.registry import PluginWarning, Registry
from softrec.targets.objects import ObjectSettings
from softrec.targets.settings import TARGETS
from softrec.targets.smoothing import PopularityTarget, UniformTarget, popularity

pytestmark = [
    pytest.mark.usefixtures("own_members"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]
SHOP = {"n_items": 30, "n_categories": 4, "n_archetypes": 4, "n_users": 24, "max_length": 10}
SMALL = {"data.shop": SHOP, "cold_items": "keep", "model": "gru4rec", "epochs": 1,
         "length": 5, "accelerator": "cpu"}  # fmt: skip
OWN = """
import softrec
from softrec.targets.smoothing import PopularityTarget, popularity

@softrec.register("sharp")
def sharp(training, *, alpha: float = 0.2, power: float = 2.0):
    counts = training.item_counts
    return PopularityTarget(popularity(counts, temperature=1 / power))
"""


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "own_sharp.py"
    path.write_text(OWN)
    return path


def train(out="run", **options):
    own = {} if isinstance(options.get("model"), str | torch.nn.Module) else {"model.dim": 4}
    return softrec.fit("shop", out=out, progress=False, **SMALL | own | options)


def test_a_function_is_a_target_with_settings(tmp_path):
    seen = []

    @softrec.register("sharp")
    def sharp(training, *, alpha: float = 0.2, power: float = 2.0):
        seen.append(power)
        return PopularityTarget(popularity(training.item_counts, temperature=1 / power))

    run = train(target="sharp", **{"target.power": 3})
    assert seen == [3.0]
    assert run.recipe.target.model_dump() == {
        "name": "sharp",
        "mass": None,
        "alpha": 0.2,
        "power": 3.0,
    }
    assert run.facts["soft_weight"] == 0.2
    (record,) = run.facts["plugins"]
    assert (record["kind"], record["name"], record["module"]) == ("target", "sharp", __name__)
    assert Path(record["file"]) == Path(__file__).resolve()
    with refused(RecipeError):
        recipe_of({"data": {"source": "shop"}}, {"target": "sharp", "target.pwer": 2})


DESCRIBED = '''
import softrec
from softrec.targets.smoothing import UniformTarget

@softrec.register("told")
def told(training, *, alpha: float = 0.3, power: float = 2.0, silent: int = 1):
    """Give all items something.

    Args:
        training: the data.
        alpha: how much they get
            together.
        power: how steep it is.
    """
    return UniformTarget(training.n_items)
'''


def test_what_a_docstring_says_of_arguments_is_told(tmp_path, capsys):
    path = tmp_path / "own_told.py"
    path.write_text(DESCRIBED)

    def printed(*arguments):
        with pytest.raises(SystemExit) as done:
            cli.main([*arguments, "--plugin", str(path)])
        assert done.value.code == 0
        return " ".join(capsys.readouterr().out.replace("│", " ").split())

    listed = printed("settings", "target.told")
    assert "power (2) how steep it is" in listed
    assert "alpha (0.3) how much they get together" in listed
    assert "silent (1)" in listed
    assert "told: how much they get together (0.3)" in printed("fit", "shop", "--help")
    recipe = recipe_of({"data": {"source": "shop"}}, {"target": "told", "alpha": 0.1})
    assert recipe.target.alpha == recipe.target.soft_weight == 0.1


def test_losses_models_and_metrics_of_ones_own(tmp_path):
    @softrec.register("gentle")
    def gentle(stats, answers, weight, *, factor: float = 0.5):
        return factor * torch.nn.functional.softplus(stats.rest_lse - stats.label_logit)

    @softrec.register("hinged")
    def hinged(label, others, count):
        return ((others - label[:, None] + 1).relu() * count).sum(1)

    @softrec.register("first")
    def first(ranks, k):
        return METRICS["hit_rate"](ranks, 1)

    @softrec.register("mine")
    class Mine(GRU4Rec):
        def __init__(self, n_items, *, dim: int = 8, note: str = ""):
            super().__init__(n_items, dim=dim)

    metrics = ["ndcg@10", "first@1"]
    run = train(loss="gentle", model="mine", metrics=metrics, **{"model.note": "x"})
    assert type(run.encoder()) is Mine
    assert {f"{one['kind']} {one['name']}" for one in run.facts["plugins"]} == {
        "loss gentle", "model mine", "metric first"}  # fmt: skip
    assert train("pairs", loss="hinged").recipe.loss.name == "hinged"
    with refused(RecipeError):
        recipe_of({"data": {"source": "shop"}}, {"loss": "hinged", "target": "uniform"})


@pytest.mark.parametrize(
    "thing",
    [lambda a, b: 0, 3,
     lambda training, k: 0,
     lambda training, **rest: 0],
)  # fmt: skip
def test_what_cannot_be_registered(thing):
    with refused(RecipeError):
        softrec.register("wrong", thing)
    assert not any("wrong" in one for one in Registry.all)


def test_a_name_that_is_taken():
    with refused(RecipeError):
        softrec.register("uniform", lambda training: UniformTarget(3))


def test_a_recipe_names_its_plugins(plugin, tmp_path):
    (tmp_path / "below").mkdir()
    recipe = tmp_path / "below" / "recipe.yaml"
    recipe.write_text("data: {source: shop}\nplugins: [../own_sharp.py]\ntarget: {name: sharp}\n")
    run = softrec.fit("below/recipe.yaml", out="run", progress=False, **SMALL)
    assert "sharp" in TARGETS
    assert [Path(name).resolve() for name in run.recipe.plugins] == [plugin]


# In a process that has not imported the plugin.
WITHOUT_AND_WITH = """
import sys, softrec
from softrec.cli import main as cli
from softrec.errors import RunError
try:
    softrec.open_run("run")
except RunError as error:
    print(error)
cli.main(["evaluate", "run", "--plugin", sys.argv[1]])
"""


@pytest.mark.slow
def test_a_run_says_which_plugin_it_needs(plugin, capsys):
    train(target="sharp", plugins=["own_sharp.py"])
    done = subprocess.run([sys.executable, "-c", WITHOUT_AND_WITH, str(plugin)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    lost, found = done.stdout.split("\n", 1)
    assert "needs the target 'sharp' of" in lost
    assert f"--plugin {plugin}" in lost
    assert "ndcg@10" in found
    plugin.write_text(OWN + "# changed\n")
    softrec.open_run("run")  # the code that is loaded is that of the run
    again(plugin)
    with warned(PluginWarning):
        softrec.open_run("run")


def test_a_run_folder_runs_no_code(plugin):
    train(target="sharp", plugins=["own_sharp.py"])
    del TARGETS["sharp"]
    with refused(RunError):
        softrec.open_run("run")


def test_the_command_line_takes_plugins(plugin, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["fit", "shop", "-o", "run", "--plugin", "own_sharp.py", "--target", "sharp",
                  "--epochs", "1", "--set", f"data.shop={SHOP}",
                  "--set", "model.dim=8"])  # fmt: skip
    assert done.value.code == 0
    assert softrec.open_run("run").recipe.target.power == 2.0


SETTINGS = """
from softrec.settings import setting
from softrec.targets.one_hot import OneHotSettings

class OwnSettings(OneHotSettings, name="own-sharp"):
    own_power: float = setting(2.0, "how sharp it is", common=True)
"""


@pytest.mark.parametrize("given", [["--plugin", "own_options.py"], ["--plugin=own_options.py"]])
def test_the_settings_of_a_plugin_are_options(tmp_path, given, capsys):
    (tmp_path / "own_options.py").write_text(SETTINGS)
    command = typer.main.get_command(cli.app).commands["fit"]
    line = ["shop", "-o", "run", "--target", "own-sharp", "--own-power", "3"]
    assert "own_power" not in {one.name for one in command.params}  # made before the plugin came
    assert command.make_context("fit", [*line, *given]).obj["own_power"] == 3.0
    with pytest.raises(SystemExit):
        cli.main(["fit", "--help", *given])
    assert "--own-power" in capsys.readouterr().out


def test_a_plugin_beside_a_recipe_has_options(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "own_beside.py").write_text(SETTINGS)
    command = typer.main.get_command(cli.app).commands["fit"]
    line = ["recipes/some.yaml", "-o", "run", "--plugin", "own_beside.py", "--own-power", "3"]
    assert command.make_context("fit", line).obj["own_power"] == 3.0


@pytest.mark.parametrize(
    "name",
    ["nowhere.py", "no_such_module_at_all",
     "own_broken.py",
     "json.py"],
)  # fmt: skip
def test_plugins_that_cannot_be_loaded(tmp_path, name):
    (tmp_path / "own_broken.py").write_text("1 / 0")
    (tmp_path / "json.py").write_text("")
    with refused(RecipeError):
        softrec.load_plugins([name])


def test_installed_packages_bring_members(monkeypatch, plugin):
    monkeypatch.syspath_prepend(plugin.parent)
    points = [EntryPoint("sharp", "own_sharp", "softrec.plugins"),
              EntryPoint("broken", "own_missing", "softrec.plugins")]  # fmt: skip
    monkeypatch.setattr(registries, "entry_points", lambda group: points)
    with warned(PluginWarning):
        registries.load_installed.__wrapped__()
    assert "sharp" in TARGETS


@pytest.mark.slow
def test_targets_that_are_objects_are_compared(tmp_path):
    source = PopularityTarget(torch.linspace(0.1, 1, 30) / torch.linspace(0.1, 1, 30).sum())
    targets = ["one-hot", ("own", source, 0.3), ("even", UniformTarget(30), 0.3)]
    twice = {"seeds": 2, "progress": False, "baselines": False, **SMALL}
    found = softrec.compare("shop", out="compared", targets=targets, **twice)
    assert [v.name for v in found.results.variants] == ["one-hot", "own (alpha 0.3)",
                                                        "even (alpha 0.3)"]  # fmt: skip
    assert (found.folder / "report.html").is_file()
    named = softrec.compare("shop", out="named", targets="one-hot,uniform(alpha=0.3)", **twice)
    assert found.results.variants[2].test == named.results.variants[1].test
    assert found.results.variants[1].test != named.results.variants[1].test


def test_the_recipe_of_an_object_says_so():
    source = PopularityTarget(torch.full((30,), 1 / 30))
    run = train(target=("own", source, 0.3))
    assert run.recipe.target.label == "own"
    assert run.recipe.target.kind.endswith("PopularityTarget")
    ObjectSettings.objects.clear()
    again = softrec.open_run("run")
    assert again.test == run.test
    with refused(RecipeError):
        again.recipe.target.build(None)


def test_equal_objects_have_one_fingerprint_and_others_another():
    def mark(*values):
        return ObjectSettings.of(PopularityTarget(torch.tensor(values)))["fingerprint"]

    assert mark(0.5, 0.5) == mark(0.5, 0.5)
    assert len({mark(0.5, 0.5), mark(0.4, 0.6), mark(1.0)}) == 3


def constant(value, *, scale=1.0):
    return lambda batch: value * scale


@dataclass(frozen=True, slots=True)
class Slotted:
    value: float

    def __call__(self, batch):
        return self.value


class Private(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self._value = value

    def forward(self, batch):
        return self._value


@pytest.mark.parametrize(
    "pair",
    [
        (Private(1), Private(2)),
        (constant(1), constant(2)),
        (constant(1), constant(1, scale=2.0)),
        (lambda batch: 1, lambda batch: 2),
        (partial(max, 1), partial(max, 2)),
        (UniformTarget(3).prob_of, UniformTarget(4).prob_of),
        (Slotted(1.0), Slotted(2.0)),
    ],
)
def test_functions_of_other_values_are_not_taken_for_one_another(pair):
    one, other = (ObjectSettings.of(source)["fingerprint"] for source in pair)
    assert one != other


def test_a_function_is_known_again():
    marks = {ObjectSettings.of(constant(3))["fingerprint"] for _ in range(2)}
    assert len(marks) == 1


def test_classes_and_functions_are_given_themselves():
    class Small(GRU4Rec):
        pass

    def soft(stats, answers, weight):
        return torch.nn.functional.softplus(stats.rest_lse - stats.label_logit)

    first = train(model=Small, loss=soft, target=UniformTarget(30), alpha=0.2)
    assert (first.recipe.model.name, first.recipe.loss.name) == ("Small", "soft")
    assert train("again", model=Small, loss=soft).recipe.loss.name == "soft"
    assert MODELS["Small"] is Small
    assert LOSSES["soft"].function is soft


def same(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def small(seed=0, dim=4):
    torch.manual_seed(seed)
    return GRU4Rec(30, dim=dim)


def test_an_instance_is_trained_as_a_copy():
    model = small()
    run = train(model=model)
    assert same(model, small()), "the instance itself was trained"
    assert not same(run.encoder(), model)
    again = train("again", model=model)
    assert run.recipe == again.recipe
    assert same(run.encoder(), again.encoder())
    other = train("other", model=small(seed=1))
    assert other.recipe.model.name != run.recipe.model.name
    assert not same(other.encoder(), run.encoder())
    assert run.recipe.model.name not in MODELS.choices()


@pytest.mark.slow
def test_an_instance_begins_with_its_weights_for_every_seed():
    frozen = {"lr": 1e-12, "progress": False, "baselines": False, **SMALL, "model": small()}
    found = softrec.compare("shop", out="compared", targets="one-hot,uniform", seeds=2, **frozen)
    folders = sorted((found.folder / "runs").iterdir())
    assert len(folders) == 4
    for folder in folders:
        pairs = zip(softrec.open_run(folder).encoder().parameters(), small().parameters(),
                    strict=True)  # fmt: skip
        assert all(torch.allclose(one, other, atol=1e-6) for one, other in pairs)
    assert "model=GRU4Rec(...)" in found.results.command


def test_a_run_of_an_instance_is_opened_with_another():
    run = train(model=small())
    name = run.recipe.model.name
    del MODELS[name]
    with refused(RunError):
        softrec.open_run("run")
    with refused(RunError):
        softrec.open_run("run", model=Lonely(30))
    with refused(RunError):
        softrec.open_run("run", model=small(dim=8))
    assert name not in MODELS
    fresh = small(seed=7)
    opened = softrec.open_run("run", model=fresh)
    assert same(fresh, small(seed=7))
    assert opened.test == run.test
    assert opened.evaluate() == pytest.approx(run.test)
    train("named", model="gru4rec")
    with refused(RunError):
        softrec.open_run("named", model=small())


class Lonely(GRU4Rec):
    pass


@pytest.mark.parametrize(
    "model",
    [GRU4Rec(20, dim=4), SASRec(30, dim=4, length=3), torch.nn.Linear(2, 3),
     TiSASRec(30, dim=4, length=5)],
    ids=["items", "length", "module", "times"],
)  # fmt: skip
def test_an_instance_that_does_not_fit(model, tmp_path):
    (tmp_path / "log.csv").write_text("user,item\n" + "".join(
        f"{user},{(user + step) % 30}\n" for user in range(30) for step in range(5)))  # fmt: skip
    options = {name: value for name, value in SMALL.items() if "." not in name} | {"model": model}
    with refused(SoftrecError):
        softrec.fit("log.csv", out="run", progress=False, **options)
    assert not Path("run").exists()


@pytest.mark.parametrize("target", [3, 0.5, object(), UniformTarget])
def test_what_is_no_target(target):
    with refused(RecipeError):
        recipe_of({"data": {"source": "shop"}}, {"target": target})


def again(plugin):
    """Load a plugin once more, as another process would."""
    if "sharp" in TARGETS:
        del TARGETS["sharp"]
    sys.modules.pop(plugin.stem, None)
    load_plugins([plugin])


def test_a_stage_is_trained_again_when_its_code_has_changed(plugin, split):
    """Else a teacher with one's own target is that of the code before."""
    folders = []
    for code in (OWN, OWN, OWN.replace("1 / power", "power")):
        plugin.write_text(code)
        again(plugin)
        recipe = recipe_of({"data": {"source": "shop"}}, {"target.name": "sharp"})
        folders.append(folder_of(recipe, split))
        plugin.write_text(code + "# edited, but not loaded")
        assert folder_of(recipe, split) == folders[-1]
    assert folders[0] == folders[1] != folders[2]
