"""How many files of softrec a journey enters, counted with a profiler; the design page says it."""

import re
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from lightning import Trainer

import softrec
from softrec.experiments.build.data import load_split
from softrec.experiments.build.objective import build
from softrec.experiments.train import fit_recipe
from softrec.recipe.recipe import read_recipe
from softrec.training.module import SoftTargetModule

ROOT = Path(softrec.__file__).parent
DESIGN = Path(__file__).parents[1] / "docs" / "design.md"
SHOP = {"n_items": 60, "n_categories": 6, "n_archetypes": 6, "n_users": 80, "max_length": 12}
RECIPE = {
    "data": {"source": "shop", "cold_items": "keep", "shop": SHOP},
    "target": {"name": "pop+"},  # all else by default
    "training": {"epochs": 1, "length": 8, "accelerator": "cpu"},
}
JOURNEYS = ("a batch to the loss", "`fit` to the first loss", "a run folder to a recommendation")


@contextmanager
def entered(until=""):
    """Fill a set with the files whose functions are called, up to the first return of one."""
    files, done = set(), []

    def note(frame, event, _):
        code = frame.f_code
        if done or code.co_name == "<module>":  # what is only imported is not entered
            return
        if event == "call" and code.co_filename.startswith(str(ROOT)):
            files.add(Path(code.co_filename).relative_to(ROOT).as_posix())
        if event == "return" and code.co_name == until:
            done.append(until)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(before)


@pytest.fixture(scope="module")
def journeys(tmp_path_factory):
    """The files of each journey, with a recipe that says as little as it can."""
    recipe = read_recipe(RECIPE)
    split = load_split(recipe.data)
    encoder, objective, batches = build(recipe, split)
    module = SoftTargetModule(encoder, objective, lambda _: {}, lr=0.01)
    module.log = lambda *_, **__: None  # of a trainer
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    module.trainer = trainer = Trainer(accelerator="cpu", **quiet)
    batch = next(iter(batches))
    with entered() as step:
        module.training_step(batch, trainer.global_step)
    folder = tmp_path_factory.mktemp("journey") / "run"
    with entered("training_step") as fit:
        fit_recipe(recipe, folder, split=split)
    with entered() as serve:
        softrec.open_run(folder).recommender().recommend([split.test.users.raw[0]], k=3)
    return dict(zip(JOURNEYS, (step, fit, serve), strict=True))


@pytest.mark.parametrize("name", JOURNEYS)
def test_no_journey_is_longer_than_the_design_says(journeys, name):
    (told,) = re.findall(rf"\| {re.escape(name)} \| (\d+) \|", DESIGN.read_text(encoding="utf-8"))
    assert 0 < len(journeys[name]) <= int(told), sorted(journeys[name])


def test_a_step_enters_the_transformer_and_files_that_models_share(journeys):
    step = {name for name in journeys["a batch to the loss"] if name.startswith("models/")}
    shared = {"models/histories.py", "models/lengths.py", "models/dropout.py"}
    assert step == {"models/transformer.py", *shared}
