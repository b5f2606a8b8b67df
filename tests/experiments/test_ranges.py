"""Every number that a recipe may hold has a range, and nothing that is no number gets in."""

import inspect
import math

import pytest

from softrec.errors import RecipeError
from softrec.recipe.recipe import read_recipe, sections
from softrec.recipe.specs.arguments import arguments
from softrec.recipe.specs.models import MODELS, OF_THE_DATA
from softrec.settings import numeric
from softrec.simulation import make_shop, simulate

LOG = {"data": {"source": "log.csv"}}
NO_NUMBERS = [math.nan, math.inf, -math.inf, 10**20, -(10**20), 10**400, -1e300, 1e300, 1e20]
NO_NUMBERS += [True, False]
SECTIONS = sections()


def section_of(place: str, field: str, value: object) -> dict:
    """Return the fields of a recipe with one field of one place set."""
    section, _, name = place.partition(".")
    named = {"name": name} if name else {}
    if section == "data":
        named["source"] = "log.csv"
    if section == "trials":
        named["settings"] = [{"training.lr": 0.1}, {"training.lr": 0.2}]
    if name == "sampled" and field != "number":
        named["ratio"] = 0.5
    if field != "teacher" and "teacher" in SECTIONS[place].model_fields:
        named["teacher"] = "run"
    return {section: {**named, field: value}} if section else {field: value}


FIELDS = [
    (place, field)
    for place, spec in SECTIONS.items()
    for field, info in spec.model_fields.items()
    if numeric(info.annotation)
]


def test_there_are_numbers_in_the_recipe():
    found = {f"{place}.{field}" for place, field in FIELDS}
    assert {".seed", "training.betas", "target.pop+.alpha", "candidates.sampled.number"} < found
    assert {"loss.decoupled.balance", "evaluation.negatives", "target.csn.window"} < found


@pytest.mark.parametrize(("place", "field"), FIELDS)
def test_a_number_of_a_recipe_has_a_range(place, field):
    for wrong in NO_NUMBERS:
        value = (0.9, wrong) if field == "betas" else wrong
        with pytest.raises(RecipeError) as caught:
            read_recipe(LOG | section_of(place, field, value))
        assert field in str(caught.value)
        assert len(str(caught.value)) <= 500


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"training": {"lr": -1}}, "training.lr"),
        ({"training": {"lrr": 1}}, "training.lrr"),
        ({"candidates": {"name": "sampled", "number": 0}}, "candidates.sampled.number"),
        ({"model": {"name": "sasrec", "dim": -1}}, "model"),
        ({"seed": True}, ""),
    ],
)
def test_the_error_says_which_field_is_wrong(fields, field):
    with pytest.raises(RecipeError) as caught:
        read_recipe(LOG | fields)
    assert caught.value.field == field


def test_the_share_of_a_mixture_has_a_range():
    for wrong in NO_NUMBERS:
        part = {"weight": wrong, "target": {"name": "uniform"}}
        with pytest.raises(RecipeError) as caught:
            read_recipe(LOG | {"target": {"name": "mixture", "of": [part]}})
        assert "weight" in str(caught.value)


SETTINGS = [
    (name, setting, kind)
    for name, model in MODELS.items()
    for setting, kind in arguments(model, OF_THE_DATA).items()
    if numeric(kind)
]


@pytest.mark.parametrize(("model", "setting", "kind"), SETTINGS)
def test_a_number_of_a_backbone_has_a_range(model, setting, kind):
    for wrong in NO_NUMBERS:
        value = (wrong,) if "tuple" in str(kind) else wrong
        with pytest.raises(RecipeError) as caught:
            read_recipe(LOG | {"model": {"name": model, setting: value}})
        assert caught.value.field == "model"
        assert f"{setting} of {model}" in str(caught.value)
        assert len(str(caught.value)) <= 500


@pytest.mark.parametrize("function", [make_shop, simulate])
def test_a_parameter_of_the_shop_has_a_range(function):
    dials = [dial for dial, kind in arguments(function, ("shop",)).items() if numeric(kind)]
    assert dials
    for dial in dials:
        for wrong in [*NO_NUMBERS, "many", [1], None, {}]:
            with pytest.raises(RecipeError) as caught:
                read_recipe({"data": {"source": "shop", "shop": {dial: wrong}}})
            assert caught.value.field == "data.shop"
            assert f"{dial} of the shop" in str(caught.value)


@pytest.mark.parametrize(("place", "field"), FIELDS)
def test_a_default_is_within_the_range(place, field):
    info = SECTIONS[place].model_fields[field]
    if info.is_required() or info.default is None:
        return
    fields = LOG | section_of(place, field, info.default)
    if place in ("interest",):
        fields["model"] = {"name": "timirec"}
    if place == "loss.decoupled":
        fields["target"] = {"name": "pop+"}
    if place == "target.mixture":
        fields["target"]["of"] = [{"weight": 1, "target": {"name": "uniform"}}]
    assert read_recipe(fields)


@pytest.mark.parametrize(
    ("name", "preset"), [(n, preset) for n, model in MODELS.items() for preset in model.PRESETS]
)
def test_the_settings_of_a_preset_are_within_their_ranges(name, preset):
    settings = MODELS[name].PRESETS[preset]
    length = settings.get("length", 5)
    read = read_recipe(LOG | {"model": {"name": name, **settings}, "training": {"length": length}})
    assert read.model.settings == settings


def test_settings_get_the_types_of_the_arguments():
    model = read_recipe(LOG | {"model": {"name": "nfm", "dim": "64", "layers": [8]}}).model
    assert model.settings == {"dim": 64, "layers": (8,)}


@pytest.mark.parametrize("betas", [[2, 0.9], [0.9, 1], [math.nan, 0.9], [-0.1, 0.9], [0.9]])
def test_betas_are_two_decays(betas):
    with pytest.raises(RecipeError) as caught:
        read_recipe(LOG | {"training": {"betas": betas}})
    assert caught.value.field.startswith("training.betas")


@pytest.mark.parametrize(
    "text", ["a" * 256, "a/" + "ä" * 128 + "/b", "a/" * 2100, "a\0b", "a\ud800b", ""]
)
@pytest.mark.parametrize("field", ["source", "user", "teacher"])
def test_a_name_that_no_file_can_have(text, field):
    fields = {"source": "log.csv", field: text} if field != "teacher" else {"source": "log.csv"}
    target = {"target": {"name": "kd", "teacher": text}} if field == "teacher" else {}
    with pytest.raises(RecipeError) as caught:
        read_recipe({"data": fields, **target})
    assert caught.value.field.split(".")[-1] == field
    assert len(str(caught.value)) <= 500


@pytest.mark.parametrize("metric", ["ndcg@100001", "ndcg@" + "9" * 300, "ndcg@-1", "ndcg@1e3"])
def test_a_metric_has_a_range(metric):
    with pytest.raises(RecipeError):
        read_recipe(LOG | {"evaluation": {"metrics": [metric]}, "training": {"monitor": metric}})


STEPS = ["k-core=" + "9" * 30, "k-core=nan", "min-weight=nan", "min-weight=inf", "k-core=2.5",
         "drop-duplicates=3", "k-core", "k-core=-" + "9" * 99]  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_a_cleaning_step_has_a_range(step):
    with pytest.raises(RecipeError) as caught:
        read_recipe({"data": {"source": "log.csv", "clean": [step]}})
    assert caught.value.field.startswith("data.clean")


def test_a_signature_is_read_as_it_stands():
    assert list(arguments(simulate, ("shop",))) == [
        name for name in inspect.signature(simulate).parameters if name != "shop"
    ]
