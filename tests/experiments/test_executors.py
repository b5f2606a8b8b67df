"""Where trainings are done: one after the other here, or on Ray, with the same numbers."""

import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from test_reproduction import by_name, paper  # noqa: F401 - a fixture

import softrec
from messages import refused
from softrec.errors import DataError, RecipeError, SoftrecError, TrainingError
from softrec.experiments.executors import Task, executor, results
from softrec.experiments.inputs import read_input
from softrec.extras import has
from softrec.recipe.options import recipe_of

pytestmark = pytest.mark.usefixtures("own_members")
needs_ray = pytest.mark.skipif(
    not has("ray"), reason="Ray is not installed, 240 MB: pip install 'softrec[ray]'"
)
SMALL = {"model": "gru4rec", "model.dim": 4, "epochs": 3, "length": 8, "batch_size": 16,
         "metrics": ["ndcg@10"], "accelerator": "cpu",
         "data.shop": {"n_items": 40, "n_users": 60}}  # fmt: skip
RECIPE = recipe_of({"data": {"source": "shop"}}, {"model": "gru4rec"})

# A target of a user, whose process is killed once in the middle of a training.
KILLING = """
import os, signal
from pathlib import Path
import softrec
from softrec.targets.smoothing import UniformTarget

class Killing:
    packages = ()
    def __init__(self, n_items):
        self.target, self.asked = UniformTarget(n_items), 0
    def __call__(self, batch):
        self.asked += 1
        if self.asked == 7 and Path("armed").exists():
            Path("armed").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.target

@softrec.register("killing")
def killing(training, *, alpha: float = 0.2):
    return Killing(training.n_items)
"""


def doubled(common, number, *, report=None):
    if number < 0:
        raise DataError(f"{number} is below 0")
    return common + 2 * number if report is None else report(number, common)


def task_of(number, **more):
    return Task(f"task {number}", RECIPE, doubled, 100, (number,), **more)


# --- here ---


def test_results_are_in_the_order_of_the_tasks_and_the_first_error_ends_them():
    with executor("here") as where:
        assert results(where, [task_of(n) for n in (3, 1)]) == [106, 102]
        taken = []
        with pytest.raises(DataError):
            results(where, (taken.append(n) or task_of(n) for n in (1, -1, 2)))
        assert taken == [1, -1]
        reported = task_of(5, report=lambda value, epoch: (value, epoch))
        assert results(where, [reported]) == [(5, 100)]


def test_a_task_is_taken_after_the_outcome_of_the_one_before():
    found = []

    def tasks():
        for number in (1, -1, 2):
            assert len(found) == max(0, {1: 0, -1: 1, 2: 2}[number])
            yield task_of(number)

    with executor("here") as where:
        for task, outcome in where.outcomes(tasks()):
            assert isinstance(outcome, Future)
            found.append((task.arguments[0], type(outcome.exception())))
    assert found == [(1, type(None)), (-1, DataError), (2, type(None))]


def test_what_cannot_be_is_refused(monkeypatch, tmp_path):
    with refused(RecipeError):
        executor("moon")
    with refused(RecipeError):
        executor("here", 2)
    with refused(RecipeError):
        executor("ray", 0)
    monkeypatch.setitem(sys.modules, "ray", None)
    with refused(SoftrecError):
        softrec.compare("shop", out=tmp_path / "c", on="ray", progress=False, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_ray_is_not_imported_unless_it_is_asked_for():
    code = "import sys, softrec, softrec.experiments.compare; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_recipe_is_pickled_with_the_modules_of_its_members(tmp_path):
    (tmp_path / "own_killing.py").write_text(KILLING)
    softrec.load_plugins([tmp_path / "own_killing.py"])
    recipe = read_input("shop", {**SMALL, "target": "killing", "alpha": 0.3}).recipe
    (tmp_path / "recipe").write_bytes(pickle.dumps(recipe))
    code = "import pickle; r = pickle.load(open('recipe', 'rb')); print(r.target.alpha, r.model)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout == f"0.3 {recipe.model}\n"
    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_a_log_on_disk_is_pickled_by_its_place(tmp_path):
    (tmp_path / "log").mkdir()
    items = np.random.default_rng(0).integers(50, size=20_000)
    table = pl.DataFrame({"user": np.repeat(np.arange(2000), 10), "item": items})
    table.write_parquet(tmp_path / "log" / "a.parquet")
    from softrec.experiments.build.data import load_split

    recipe = read_input(str(tmp_path / "log"), {"data.on_disk": True, "relevant": "first"}).recipe
    split = load_split(recipe.data)
    sent = pickle.dumps(split)
    assert len(sent) < 2000
    again = pickle.loads(sent)
    assert (again.relevant, again.facts) == ("first", split.facts)
    assert again.train.frame.equals(split.train.frame)


# --- on Ray ---


@needs_ray
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_known_elsewhere_is_refused_before_ray_begins():
    model = softrec.models.GRU4Rec(40, dim=4)
    asked = {**SMALL, "model": model, "targets": "one-hot", "seeds": 1, "progress": False}
    asked.pop("model.dim")
    with refused(RecipeError):
        softrec.compare("shop", out="c", on="ray", **asked)
    with refused(RecipeError):
        softrec.tune("shop", out="c", on="ray", progress=False, **SMALL, nodes=2)
    assert not list(Path.cwd().iterdir())


@pytest.fixture(scope="module")
def cluster():
    """Ray with two CPUs on this machine."""
    import warnings

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        own = Path(__file__).parent  # of functions of this file
        paths = [str(own), str(own.parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        import ray

        ray.init(num_cpus=2, log_to_driver=False, logging_level="ERROR")
        yield ray
        ray.shutdown()


def numbers(comparison):
    """The results of a comparison without times, and the weights of its runs."""
    plain = comparison.results.model_dump(mode="json")
    weights = {
        path.parent.name: load_file(path)
        for path in comparison.folder.glob("runs/*/model.safetensors")
    }
    return without_times(plain), weights


def files_in(folder):
    """The files of a comparison, but for those that TensorBoard names by time."""
    found = (path for path in folder.rglob("*") if "tfevents" not in path.name)
    return {str(path.relative_to(folder)) for path in found}


def without_times(value):
    if isinstance(value, dict):
        times = ("seconds", "memory", "created", "command")
        return {
            name: without_times(part)
            for name, part in value.items()
            if not any(time in name for time in times)
        }
    return [without_times(part) for part in value] if isinstance(value, list) else value


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_comparison_on_ray_is_that_of_this_process_also_after_a_kill(cluster, tmp_path, capsys):
    (tmp_path / "own_killing.py").write_text(KILLING)
    asked = {**SMALL, "targets": "one-hot,killing", "seeds": 2, "baselines": False,
             "checkpoint_steps": 2, "plugins": [str(tmp_path / "own_killing.py")]}  # fmt: skip
    here, weights = numbers(softrec.compare("shop", out="here", progress=False, **asked))
    Path("armed").touch()
    there, also = numbers(softrec.compare("shop", out="there", on="ray", **asked))
    assert there == here
    assert len(weights) == 4
    for name, own in weights.items():
        assert all(torch.equal(also[name][part], own[part]) for part in own), name
    assert not Path("armed").exists()
    told = capsys.readouterr().err
    assert told.count("its process was lost; it goes on") == 1
    assert "going on in epoch 2 of 3" in told
    assert told.count("epoch 3 of 3") == 4
    assert sorted(p.name for p in Path("there").iterdir()) == sorted(
        p.name for p in Path("here").iterdir()
    )


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_errors_of_tasks_come_back(cluster):
    with executor("ray") as where:
        assert results(where, [task_of(n) for n in (3, 1, 2)]) == [106, 102, 104]
        reported = task_of(5, report=lambda value, epoch: value == 5 and epoch == 100)
        assert results(where, [reported]) == [True]
        with refused(DataError):
            results(where, [task_of(n) for n in (1, -1, 2)])
        wrong = {number: outcome.exception() for (_, _, _, _, (number,), _), outcome
                 in where.outcomes(task_of(n) for n in (-2, "x", 4))}  # fmt: skip
        assert [type(wrong[n]) for n in (-2, "x", 4)] == [DataError, TypeError, type(None)]
        assert "line" in wrong["x"].__notes__[0]
    with refused(TrainingError), executor("ray", 3) as where:
        results(where, [task_of(1)])


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_search_on_ray_tries_two_at_a_time_and_ends_bad_ones(cluster, capsys):
    steps = (np.arange(40)[:, None] + np.arange(12)) % 20
    circle = pl.DataFrame({"user": np.repeat(np.arange(40), 12), "item": steps.ravel()})
    fixed = {"target": "one-hot", "model.dim": 16, "model.dropout": 0, "weight_decay": 0}
    asked = {"space": {**fixed, "lr": "1e-9..1e-1:log"}, "model": "gru4rec", "lr": 0.05,
             "epochs": 4, "length": 6, "batch_size": 16, "trials": 8, "seeds": 2,
             "metrics": "ndcg@10", "mask_seen": False, "accelerator": "cpu"}  # fmt: skip
    found = softrec.tune(circle, out="tuned", on="ray", **asked)
    assert [trial.number for trial in found.trials] == list(range(1, 9))
    assert found.trials[0].settings["training.lr"] == 0.05
    assert len({trial.settings["training.lr"] for trial in found.trials}) == 8
    assert found.best.value == max(trial.value for trial in found.trials)
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned
    assert all(2 <= trial.epochs < 4 for trial in pruned)
    assert [run.recipe.seed for run in found.runs] == [0, 1]
    assert found.runs[0].valid["ndcg@10"] == found.best.value
    told = capsys.readouterr().err
    assert told.count("trial 8 of 8") == 1


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_each_row_of_a_comparison_is_searched_on_ray(cluster):
    space = {"model.dim": "4", "model.dropout": "0.1", "weight_decay": "0", "lr": "1e-3..1e-1:log"}
    asked = {**SMALL, "targets": "one-hot,uniform(alpha=0.1)", "seeds": 2, "epochs": 1, "tune": 2,
             "space": space, "baselines": False, "progress": False}  # fmt: skip
    here, weights = numbers(softrec.compare("shop", out="here", **asked))
    there, also = numbers(softrec.compare("shop", out="there", on="ray", **asked))
    # A trial that is proposed while another one runs is another one: the first of each is given.
    assert [row["tuned"]["trials"] for row in there["variants"]] == [2, 2]
    assert there["tuning"] == here["tuning"]
    best = [[row["tuned"]["settings"] for row in one["variants"]] for one in (here, there)]
    assert files_in(Path("here")) == files_in(Path("there"))
    for number, row in enumerate(there["variants"]):
        assert best[1][number].keys() == best[0][number].keys()
        assert row["valid"]["ndcg@10"]["per_seed"][0] == pytest.approx(row["tuned"]["valid"])
    assert len(also) == len(weights) == 4


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_paper_is_reproduced_on_ray(cluster, paper):  # noqa: F811
    asked = {"row": "Shop", "progress": False, "baselines": False, "defaults": False}
    here = by_name(softrec.reproduce(paper, out="here", **asked))
    there = by_name(softrec.reproduce(paper, out="there", on="ray", **asked))
    assert there.keys() == here.keys()
    # As text, because some numbers are NaN.
    assert {name: str(row.measured) for name, row in there.items()} == {
        name: str(row.measured) for name, row in here.items()
    }
    limited = softrec.reproduce(paper, out="none", on="ray", budget=0, **asked)
    assert {row.reason for row in by_name(limited).values()} == {"the budget was used up"}


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc"), reason="looks for processes in /proc")
def test_ctrl_c_ends_all(tmp_path):
    shop = ["--set", "data.shop.n_items=40", "--set", "data.shop.n_users=60"]
    # A shell that runs this in the background may ignore Ctrl-C, and so would all that it starts.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from softrec.__main__ import main; main()"
    )
    command = [sys.executable, "-c", code, "compare", "shop", "--on", "ray", "--out", "c",
               "--model", "gru4rec", "--epochs", "2000", "--patience", "2000", *shop]  # fmt: skip
    asked = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said = []
    for line in asked.stderr:
        said.append(line)
        if "epoch 2 of" in line:
            break
    asked.send_signal(signal.SIGINT)
    _, rest = asked.communicate(timeout=60)
    assert asked.returncode == 130
    assert "continues where it stopped" in rest
    end = time.monotonic() + 30
    while left := working_in(tmp_path):
        assert time.monotonic() < end, left
        time.sleep(0.2)


def working_in(folder):
    """The processes whose working folder this is, beside this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found
