"""Former names are accepted, with a warning that says the present one."""

import json
import warnings

import numpy as np
import pytest
import torch
import yaml

import softrec
from messages import refused, warned
from softrec import testing
from softrec.data.batches import examples
from softrec.data.interactions import Sequences
from softrec.errors import RecipeError
from softrec.experiments.runs import open_run
from softrec.files import read_facts, write_facts
from softrec.recipe.options import recipe_of
from softrec.recipe.recipe import read_recipe
from softrec.renamed import RenamedWarning, current
from softrec.targets.build.propagation.labels import PropagatedLabels
from softrec.targets.smoothing import popularity

OLD = {
    "data": {"source": "a.csv", "valid_share": 0.2, "test_share": 0.3},
    "training": {"windows": "pieces", "padding": "left"},
    "target": {
        "name": "mixture",
        "of": [
            {"share": 0.25, "target": {"name": "uniform"}},
            {"share": 0.75, "target": {"name": "pop+", "scale": "share"}},
        ],
    },
}
NEW = {
    "data": {"source": "a.csv", "valid_fraction": 0.2, "test_fraction": 0.3},
    "training": {"windows": "sliding", "padding_side": "left"},
    "target": {
        "name": "mixture",
        "of": [
            {"weight": 0.25, "target": {"name": "uniform"}},
            {"weight": 0.75, "target": {"name": "pop+", "scale": "frequency"}},
        ],
    },
}
TINY = {"model": "mf", "epochs": 2, "batch_size": 16, "model.dim": 4, "candidates": "sampled",
        "candidates.number": 3, "accelerator": "cpu"}  # fmt: skip


def test_a_recipe_in_former_names():
    with pytest.warns(RenamedWarning) as said:
        assert read_recipe(OLD) == read_recipe(NEW)
    assert len(said) == 1
    for name in ("valid_fraction", "test_fraction", "sliding", "padding_side", "weight",
                 "frequency"):  # fmt: skip
        assert name in str(said[0].message)


def test_the_order_of_fields_stays():
    assert json.dumps(current(OLD, warn=False)) == json.dumps(NEW)


def test_a_recipe_inside_a_recipe():
    inner = {"training": OLD["training"], "target": {"name": "pop+", "scale": "share"}}
    outer = {"data": NEW["data"], "target": {"name": "kd", "teacher": inner}}
    with pytest.warns(RenamedWarning):
        stage = read_recipe(outer).stages()["target.teacher"]
    assert (stage.training.windows, stage.training.padding_side) == ("sliding", "left")
    assert stage.target.scale == "frequency"


@pytest.mark.parametrize("name", ["padding", "training.padding"])
def test_an_option_in_its_former_name(name):
    with warned(RenamedWarning):
        recipe = recipe_of({"data": {"source": "a.csv"}}, {name: "left"})
    assert recipe.training.padding_side == "left"


def test_an_option_lies_over_the_former_name_of_a_file():
    with pytest.warns(RenamedWarning):
        recipe = recipe_of(OLD, {"data.valid_fraction": 0.05, "data.test_share": 0.15})
    assert (recipe.data.valid_fraction, recipe.data.test_fraction) == (0.05, 0.15)


def test_both_names_at_once():
    fields = {"data": {"source": "a.csv", "valid_share": 0.1, "valid_fraction": 0.2}}
    with refused(RecipeError):
        read_recipe(fields)


def test_the_same_names_elsewhere_stay():
    fields = {"data": {"share": 1}, "target": {"name": "mine", "scale": "share", "of": [
        {"share": 1}]}, "model": {"padding": 2}}  # fmt: skip
    assert current(fields) == fields


def test_functions_take_the_former_values():
    counts = torch.tensor([3.0, 0.0, 1.0])
    with warned(RenamedWarning):
        old = popularity(counts, scale="share")
    assert old.tolist() == [0.75, 0.0, 0.25]
    log = Sequences.of([[1, 2, 3, 4, 5]])
    with warned(RenamedWarning):
        assert len(examples(log, "pieces", 2)) == len(examples(log, "sliding", 2))
    with warned(RenamedWarning):
        assert testing.popular_shares is testing.popular_probabilities
    with refused(AttributeError):
        testing.popular_parts  # noqa: B018


def test_propagated_labels_under_the_former_name_of_their_file(tmp_path):
    table = np.array([[1, 0]], dtype=np.int32), np.array([[0.75, 0.25]], dtype=np.float32)
    PropagatedLabels(*table, 0.75, 1.0, 1, 0).save(tmp_path)
    (tmp_path / "probabilities.npy").rename(tmp_path / "shares.npy")
    assert PropagatedLabels.load(tmp_path).probs.tolist() == [[0.75, 0.25]]


def log_of(tmp_path):
    lines = [f"u{u},i{(u + 3 * t) % 11},{t}" for u in range(12) for t in range(8)]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user,item,time", *lines]))
    return path


def former(fields):
    """A recipe as the release before wrote it."""
    data, training = dict(fields["data"]), dict(fields["training"])
    data["valid_share"], data["test_share"] = data.pop("valid_fraction"), data.pop("test_fraction")
    training["padding"] = training.pop("padding_side")
    return fields | {"data": data, "training": training}


def test_an_old_run_opens_without_a_word(tmp_path):
    run = softrec.fit(log_of(tmp_path), out=tmp_path / "run", progress=False, **TINY)
    facts = {name: value for name, value in read_facts(run.folder / "run.json").items()
             if name != "sha256"}  # fmt: skip
    write_facts(run.folder / "run.json", facts | {"recipe": former(facts["recipe"])})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_run(run.folder).recipe == run.recipe


def test_an_old_unfinished_run_goes_on(tmp_path):
    """Its recipe is the same; before, it was refused as the run of another one."""
    from softrec.experiments.store.folders import RUN, Place

    recipe = read_recipe({"data": {"source": "a.csv"}}).model_dump(mode="json")
    ordered = {  # as it was written: new names stand where the former ones stood
        section: {
            {"valid_fraction": "valid_share", "test_fraction": "test_share",
             "padding_side": "padding"}.get(name, name): value
            for name, value in inside.items()
        } if isinstance(inside, dict) else inside
        for section, inside in recipe.items()
    }  # fmt: skip
    place = Place(tmp_path / "run", RUN)
    place.part.mkdir()
    (place.part / "recipe.yaml").write_text(yaml.safe_dump(ordered, sort_keys=False))
    place.check_free(yaml.safe_dump(recipe, sort_keys=False), overwrite=False)


def test_the_command_line_says_it_once(tmp_path, capsys):
    from softrec.cli.main import main

    command = ["fit", str(log_of(tmp_path)), "--out", str(tmp_path / "run"), "--model", "mf",
               "--epochs", "1", "--set", "training.padding=left"]  # fmt: skip
    with pytest.raises(SystemExit) as done:
        main(command)
    assert done.value.code == 0
    assert capsys.readouterr().err.count("note: training.padding is now training.padding_side") == 1
