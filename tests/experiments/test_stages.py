"""Runs that rest on others: found by their recipe, trained once, taken up after a kill."""

import json

import polars as pl
import pytest
import torch
import yaml

from messages import refused
from softrec.cli import main as cli
from softrec.data.interactions import Interactions
from softrec.data.splits import leave_last_out
from softrec.errors import RecipeError, RunError
from softrec.experiments import fitted as fitting
from softrec.experiments import stages
from softrec.experiments.build import objective as objectives
from softrec.experiments.build.data import load_split
from softrec.experiments.compare import compare_targets
from softrec.experiments.described import describe
from softrec.experiments.store.changes import difference
from softrec.experiments.train import fit_recipe, open_run, resolved
from softrec.progress import telling
from softrec.recipe.options import recipe_of
from softrec.recipe.reading import read_yaml
from softrec.recipe.recipe import merged, read_recipe

SHOP = {"n_items": 30, "n_categories": 4, "n_archetypes": 4, "n_users": 40, "max_length": 12}
TRAINING = {"epochs": 1, "batch_size": 64, "length": 5, "lr": 0.05, "accelerator": "cpu",
            "windows": "prefixes"}  # fmt: skip
FULL = {"candidates": {"name": "full"}, "training": TRAINING}
COMIREC = {"model": {"name": "comirec-sa", "dim": 8, "interests": 2}, **FULL}
GRU = {"model": {"name": "gru4rec", "dim": 8}, **FULL}
TIMIREC = {
    "data": {"source": "shop", "cold_items": "keep", "shop": SHOP},
    "model": {"name": "timirec", "dim": 8, "interests": 2},
    "candidates": {"name": "full"},
    "training": TRAINING | {"start": COMIREC},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def split():
    return load_split(read_recipe(TIMIREC).data)


def trained(recipe, folder, split, **options):
    """Return the run and what was told."""
    told = []
    with telling(write=told.append):
        made = fit_recipe(recipe, folder, split=split, **options)
    return made, told


def test_a_stage_is_trained_once_and_found_again(split, tmp_path):
    recipe = read_recipe(TIMIREC)
    made, told = trained(recipe, tmp_path / "one", split)
    assert (
        told[0] == "a chain of runs: comirec-sa with target one-hot -> timirec with target one-hot"
    )
    assert "training.start" in told[1]
    assert "training in" in told[1]
    start = open_run(made.facts["stages"]["training.start"])
    assert start.recipe.model.name == "comirec-sa"
    assert start.recipe.data == recipe.data
    again, told = trained(recipe, tmp_path / "two", split)
    assert "found in" in told[1]
    for name, one in made.encoder().state_dict().items():
        assert torch.equal(one, again.encoder().state_dict()[name])
    assert made.recipe == recipe
    assert yaml.safe_load((made.folder / "recipe.yaml").read_text()) == json.loads(
        json.dumps(recipe.model_dump(mode="json"))
    )


def test_the_model_begins_with_the_weights_of_its_start(split, tmp_path):
    recipe = read_recipe(TIMIREC)
    complete = resolved(recipe, split)
    encoder, objective, _ = objectives.build(complete, split)
    start = open_run(complete.training.start).encoder()
    for name, own in encoder.extractor.state_dict().items():
        assert torch.equal(own, start.state_dict()[name])
    assert objective.interest_part is not None


def test_the_seed_and_the_data_are_those_of_the_whole(split):
    folders = {
        stages.folder_of(read_recipe(TIMIREC | {"seed": seed}).stages()["training.start"], split)
        for seed in (0, 1)
    }
    assert len(folders) == 2
    stage = read_recipe(TIMIREC | {"seed": 7}).stages()["training.start"]
    assert stage.seed == 7
    other = merged(TIMIREC, {"training.epochs": 9})  # of the last stage, not of the first
    assert read_recipe(other | {"seed": 7}).stages()["training.start"] == stage


def test_another_run_in_the_place_of_a_named_one_makes_another_stage(split, tmp_path):
    """A stage that names a run by its folder is found by that run's weights."""
    recipe = read_recipe(
        {"data": TIMIREC["data"]} | GRU | {"target": {
            "name": "kd", "teacher": GRU | {"target": {"name": "kd", "teacher": "TEACHER"}}}}
    )  # fmt: skip
    (stage,) = recipe.stages().values()
    assert stage.runs() == ["TEACHER"]
    teacher = tmp_path / "teacher"
    trained(read_recipe({"data": TIMIREC["data"]} | GRU), teacher, split)
    student = read_recipe(merged(stage.model_dump(mode="json"), {"target.teacher": str(teacher)}))
    before = stages.folder_of(student, split)
    assert stages.folder_of(student, split) == before
    other = read_recipe({"data": TIMIREC["data"], "seed": 1} | GRU)
    trained(other, teacher, split, overwrite=True)
    assert stages.folder_of(student, split) != before
    with refused(RunError):
        trained(recipe, tmp_path / "run", split)


def test_a_chain_of_three(split, tmp_path):
    """Base, then a student of shared labels, then a student of that student."""
    base = GRU | {"training": TRAINING | {"epochs": 2}}
    student = GRU | {
        "target": {"name": "interest-sharing", "teacher": base, "clusters": 2, "keep": 30}
    }
    recipe = read_recipe(
        {"data": TIMIREC["data"]}
        | GRU
        | {"target": {"name": "mixture", "of": [
            {"weight": 0.5, "target": {"name": "uniform"}},
            {"weight": 0.5, "target": {"name": "kd", "teacher": student}},
        ]}}
    )  # fmt: skip
    assert [stages.named(stage) for stage in stages.chain_of(recipe)] == [
        "gru4rec with target one-hot",
        "gru4rec with target interest-sharing",
        "gru4rec with target mixture",
    ]
    made, told = trained(recipe, tmp_path / "three", split)
    assert sum("training in" in line for line in told) == 2
    assert list(made.facts["stages"]) == ["target.of.1.target.teacher"]


def test_an_interrupted_chain_goes_on_where_it_stopped(split, tmp_path, monkeypatch):
    recipe = read_recipe(TIMIREC)
    train = fitting.train
    fitted = []

    def killed(encoder, *arguments, **options):
        fitted.append(type(encoder).__name__)
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return train(encoder, *arguments, **options)

    monkeypatch.setattr(fitting, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, tmp_path / "run", split)
    _, told = trained(recipe, tmp_path / "run", split)
    assert fitted == ["ComiRecSA", "TiMiRec", "TiMiRec"]
    assert "found in" in told[1]


def test_recipes_of_files_are_found_beside_the_file_and_kept_within(tmp_path):
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(COMIREC | {"data": {"source": "else"}}))
    whole = merged(TIMIREC, {"training.start": "first.yaml"})
    path = tmp_path / "second.yaml"
    path.write_text(yaml.safe_dump(whole))
    recipe = recipe_of(read_yaml(path), {}, str(path))
    assert recipe.training.start["model"] == COMIREC["model"]
    assert recipe.stages()["training.start"].data.source == "shop"
    with refused(RecipeError):
        recipe_of(read_yaml(path), {"start": "missing.yaml"}, str(path))


def test_a_recipe_file_that_rests_on_itself_is_refused(tmp_path):
    for name, start in [("one", "two.yaml"), ("two", "./one.yaml"), ("own", "own.yaml")]:
        whole = merged(TIMIREC, {"training.start": start})
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(whole))
    for name in ("one", "own"):
        path = tmp_path / f"{name}.yaml"
        with refused(RecipeError):
            recipe_of(read_yaml(path), {}, str(path))


def test_a_changed_recipe_may_have_the_run_of_its_own_file_as_its_teacher(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(GRU | {"data": TIMIREC["data"]}))
    recipe = recipe_of(read_yaml(path), {"target": "skd", "teacher": "own.yaml"}, str(path))
    assert recipe.target.name == "skd"
    assert recipe.stages()["target.teacher"] == recipe_of(read_yaml(path), {}, str(path))


@pytest.mark.parametrize(
    "changes",
    [
        {"training.start": GRU},
        {"training.start": {"model": {"name": "nobody"}}},
        {"model": {"name": "sasrec"}, "training.start": None, "interest.temperature": 1.0},
        {"target": {"name": "skd", "teacher": GRU}},
    ],
)  # fmt: skip
def test_stages_that_cannot_be_are_refused_when_read(changes):
    with refused(RecipeError):
        read_recipe(merged(TIMIREC, changes))


def test_a_start_of_other_sizes_is_refused(split):
    wide = COMIREC | {"model": COMIREC["model"] | {"dim": 4}}
    complete = resolved(
        read_recipe(merged(TIMIREC, {"training.start": wide})), split
    )  # fmt: skip
    with refused(RunError):
        objectives.build(complete, split)


def test_a_model_that_predicts_interests_learns_to_unless_told_otherwise():
    assert read_recipe(TIMIREC).interest.temperature == 0.5
    assert read_recipe(merged(TIMIREC, {"interest.weight": 0})).interest.weight == 0
    assert read_recipe(merged(TIMIREC, {"model": {"name": "sasrec"}, "training.start": None})
                       ).interest is None  # fmt: skip


def test_the_command_shows_the_chain(tmp_path, capsys):
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(COMIREC))
    path = tmp_path / "second.yaml"
    path.write_text(yaml.safe_dump(merged(TIMIREC, {"training.start": "first.yaml"})))
    with pytest.raises(SystemExit) as done:
        cli.main(["fit", str(path), "--out", str(tmp_path / "run"), "--seed", "1"])
    assert done.value.code in (0, None)
    told = capsys.readouterr().err
    assert "comirec-sa with target one-hot -> timirec with target one-hot" in told
    assert "training.start, comirec-sa with target one-hot: training in" in told


@pytest.mark.slow
@pytest.mark.parametrize("name", ["comirec-sa", "comirec-dr", "mind"])
@pytest.mark.parametrize("target", ["interest-sharing", "csn", "kd"])
def test_several_interests_as_teacher_and_student(split, name, target, tmp_path):
    """The label picks the interest: of a teacher, of a neighbour, of the student."""
    model = {"name": name, "dim": 8, "interests": 2}
    several = {"model": model, "training": TRAINING}
    recipe = read_recipe(
        {"data": TIMIREC["data"]} | several | {"target": {"name": target, "teacher": several}}
    )
    made, _ = trained(recipe, tmp_path / "run", split)
    assert made.test["recall@10"] > 0


@pytest.mark.slow
def test_a_comparison_with_a_teacher_by_its_recipe(tmp_path):
    """The teacher is one of each seed, and ranking among drawn items is said to be that."""
    base = read_recipe({"data": TIMIREC["data"]} | GRU | {"evaluation": {"negatives": 10}})
    told = []
    with telling(write=told.append):
        found = compare_targets(
            base,
            [
                {"name": "one-hot"},
                {"name": "kd", "teacher": GRU | {"training": TRAINING | {"epochs": 2}}},
            ],
            tmp_path / "compared",
            seeds=(0, 1),
        )
    assert [variant.name for variant in found.results.variants] == [
        "one-hot",
        "kd (alpha 0.4, teacher gru4rec)",
    ]
    assert sum("training in" in line for line in told) == 2
    assert "among 10 sampled items" in found.results.notes[0]
    assert found.results.ceiling is None
    assert "among 10 sampled items" in (found.folder / "report.html").read_text()


def rated(last):
    """Two users with ratings, of which the last one of the second user is given."""
    items, ratings = [0, 1, 2, 3, 1, 2, 3, 0], [1, 2, 3, 4, 5, 4, 3, last]
    frame = pl.DataFrame({"user": [0] * 4 + [1] * 4, "item": items, "rating": ratings})
    return leave_last_out(Interactions.read(frame), cold="keep")


def test_ratings_that_weigh_examples_are_data_of_a_stage():
    """Else a log with other ratings finds the teacher, the trials and the run of the first one."""
    recipe = read_recipe({"data": {"source": "shop"}, "weights": {"name": "confidence"}})
    assert stages.folder_of(recipe, rated(2)) == stages.folder_of(recipe, rated(2))
    assert stages.folder_of(recipe, rated(2)) != stages.folder_of(recipe, rated(1))
    with_, other = describe(rated(2)), describe(rated(1))
    assert difference(with_, other) == "other weights of the events"
    plain = {name: v for name, v in other.items() if name != "weights_fingerprint"}
    assert difference(with_, plain) is None  # of a log without ratings


@pytest.mark.parametrize("place", ["data.items", "target.vectors"])
def test_a_file_that_a_stage_reads_is_known_by_what_is_in_it(split, tmp_path, place):
    path = tmp_path / "titles.csv"
    fields = {"data.source": "shop", "target.name": "text-neighbours", place: str(path)}
    folders = []
    for text in ("one", "one", "another"):
        path.write_text(f"id,title\n1,{text}\n")
        folders.append(stages.folder_of(recipe_of({"data": {"source": "shop"}}, fields), split))
    assert folders[0] == folders[1] != folders[2]
