"""Recipes: what is written, laid over, refused, and found again from another folder."""

from pathlib import Path

import numpy as np
import pytest
import yaml

import softrec
from messages import refused
from softrec.cli import main as cli
from softrec.errors import RecipeError
from softrec.experiments.variants import axes_of
from softrec.losses.softmax_settings import MixedSettings
from softrec.recipe.listed import parse_targets
from softrec.recipe.options import parse_target, recipe_of
from softrec.recipe.reading import read_yaml
from softrec.recipe.recipe import merged, read_recipe

LOG = {"data": {"source": "log.csv"}}
RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_of_the_project_are_read(path):
    fields = read_yaml(path)
    assert ("data" in fields) == (path.parent.name != "best")  # those are for any log
    assert read_recipe({**LOG, **fields}, str(path)).data.source


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target": "pop+", "alpha": 0.3, "temperature": 2.0},
        {"model": "gru4rec", "preset": "desorec", "model.dropout": 0.1, "length": 7},
        {"target": "uniform", "loss": "decoupled", "balance": 0.2, "clean": ("k-core=3",)},
    ],
)
def test_what_is_written_is_read_again(options):
    recipe = recipe_of(LOG, options)
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    assert read_recipe(yaml.safe_load(text)) == recipe


def test_no_option_changes_nothing():
    assert recipe_of(LOG, {"alpha": None, "lr": None}) == read_recipe(LOG)


def test_settings_need_no_name_of_the_default_model():
    recipe = recipe_of(LOG, {"model.dim": 8})
    assert (recipe.model.name, recipe.model.settings) == ("sasrec", {"dim": 8})


def test_another_name_starts_from_its_own_defaults():
    base = LOG | {"target": {"name": "pop+", "alpha": 0.7}, "model": {"name": "sasrec", "dim": 8}}
    same = recipe_of(base, {"target": "pop+", "model": "sasrec"})
    other = recipe_of(base, {"target": "uniform", "model": "gru4rec"})
    assert (same.target.soft_weight, same.model.settings) == (0.35, {"dim": 8})
    assert (other.target.soft_weight, other.model.settings) == (0.1, {})


@pytest.mark.parametrize(("model", "rate"), [("sasrec", 1e-3), ("ngcf", 3e-3), ("lightgcn", 5e-3)])
def test_the_learning_rate_is_that_of_the_model_unless_it_is_given(model, rate):
    fields = {"data": {"source": "shop"}, "model": {"name": model}}
    named = read_recipe(fields)
    assert named.training.lr == rate
    assert read_recipe(named.model_dump(mode="json")) == named
    assert read_recipe({**fields, "training": {"epochs": 3}}).training.lr == rate
    assert read_recipe({**fields, "training": {"lr": 0.002}}).training.lr == 0.002
    assert recipe_of(fields, {"model.name": "mf"}).training.lr == 1e-3


def test_matrix_factorisation_has_cosines_in_softmax_losses_unless_a_score_is_given():
    def scores(**given):
        read = read_recipe({"data": {"source": "shop"}, "model": {"name": "mf"}, **given}).loss
        return read.score, read.score_temperature

    soft = {"target": {"name": "uniform", "alpha": 0.1}}
    assert (
        scores()
        == scores(loss="mixed")
        == scores(loss={"name": "mixed", "l2": 0.1})
        == ("cosine", 0.2)
    )
    assert scores(loss={"name": "decoupled", "balance": 0.3}, **soft) == ("cosine", 0.2)
    assert scores(loss={"name": "mixed", "score": "inner"}) == ("inner", 1)
    assert scores(loss={"name": "mixed", "score_temperature": 0.5}) == ("inner", 0.5)
    one = {"name": "sampled", "number": 1, "per_row": True, "mask_positives": True}
    assert scores(loss={"name": "bpr"}, candidates=one) == ("inner", 1)
    assert (
        read_recipe({"data": {"source": "shop"}, "model": {"name": "sasrec"}}).loss.score == "inner"
    )


def test_a_loss_of_ones_own_has_the_scores_of_the_model_too(own_members):
    class Own(MixedSettings, name="my-loss"):
        """A loss with a softmax."""

    class Sharp(MixedSettings, name="my-sharp-loss"):
        """One with a temperature of its own."""

        score_temperature: float = 0.3

    fields = {"data": {"source": "shop"}, "model": {"name": "mf"}}
    mine, sharp = (
        read_recipe({**fields, "loss": {"name": kind.names[0]}}).loss for kind in (Own, Sharp)
    )
    assert (mine.score, mine.score_temperature) == ("cosine", 0.2)
    assert (sharp.score, sharp.score_temperature) == ("inner", 0.3)


def test_ones_own_settings_beat_the_preset():
    preset = recipe_of(LOG, {"model": "gru4rec", "preset": "desorec"}).model.settings
    own = recipe_of(LOG, {"model": "gru4rec", "preset": "desorec", "model.dim": 7}).model.settings
    assert own == preset | {"dim": 7}
    assert preset["dim"] != 7


def test_files_are_found_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("log.csv", "valid.csv", "test.csv"):
        (tmp_path / name).touch()
    given = recipe_of(LOG, {"valid": "valid.csv", "test": "test.csv", "split": "given"})
    assert given.data.source == str(tmp_path / "log.csv")
    assert (given.data.valid, given.data.test) == (
        str(tmp_path / "valid.csv"),
        str(tmp_path / "test.csv"),
    )
    assert recipe_of({"data": {"source": "diginetica"}}, {}).data.source == "diginetica"


def test_numbers_of_numpy_are_plain_at_any_depth(tmp_path):
    """A recipe is written and hashed, and so is one within it."""
    teacher = {
        "data": {"source": "shop", "shop": {"n_items": np.int64(60)}},
        "seed": np.int64(3),
        "model": {"name": "mf", "dim": np.int64(4)},
        "training": {"betas": (np.float32(0.5), np.float64(0.75)), "start": tmp_path},
    }
    options = {"target": {"name": "kd", "teacher": teacher}, "lr": np.float64(0.25)}
    fields = recipe_of(LOG, options).model_dump(mode="json")
    assert yaml.safe_load(yaml.safe_dump(fields)) == fields
    inside = fields["target"]["teacher"]
    assert (inside["seed"], inside["model"]["dim"], fields["training"]["lr"]) == (3, 4, 0.25)
    assert inside["training"]["betas"] == [0.5, 0.75]
    assert inside["training"]["start"] == str(tmp_path)


def test_the_place_of_an_error_is_named():
    with refused(RecipeError):
        recipe_of(LOG, {"lr": -1}, "mine.yaml")


MIXTURE = {
    "name": "mixture",
    "alpha": 0.3,
    "of": [
        {"weight": 0.25, "target": {"name": "uniform"}},
        {"weight": 0.75, "target": {"name": "pop+"}},
    ],
}


def test_a_mixture():
    recipe = read_recipe(LOG | {"target": MIXTURE})
    assert recipe.target.soft_weight == 0.3
    unequal = MIXTURE | {"of": MIXTURE["of"][:1]}
    with refused(RecipeError):
        read_recipe(LOG | {"target": unequal})


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("one-hot", {"name": "one-hot"}),
        (" pop+ ( alpha=0.4 , scale=count ) ", {"name": "pop+", "alpha": 0.4, "scale": "count"}),
        ("uniform()", {"name": "uniform"}),
    ],
)
def test_a_target_as_text(text, target):
    assert parse_target(text) == target
    assert parse_targets(f"{text},pop+(alpha=1,temperature=2)") == [
        target,
        {"name": "pop+", "alpha": 1, "temperature": 2},
    ]


@pytest.mark.parametrize("text", ["", "pop+(", "pop+)x", "two words", "pop+(alpha)"])
def test_text_that_is_no_target(text):
    with refused(RecipeError):
        parse_target(text)


@pytest.mark.parametrize(
    "options",
    [{"alpha": 0.3}, {"target.scale": "count"}, {"target": "pop+"}, {"target": {"name": "pop+"}}],
    ids=lambda options: next(iter(options)),
)
def test_a_comparison_has_no_target_beside_its_targets(options):
    """It would be ignored: each target has its own settings."""
    with refused(RecipeError):
        softrec.compare("shop", targets="one-hot,pop+", out="never-made", **options)


def test_an_option_of_no_value_is_none():
    assert axes_of("pop+", None, None, None, {"alpha": None, "lr": 0.1}).targets == [POP]


def test_the_command_has_no_target_beside_its_targets(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["compare", "shop", "-o", "never-made", "--set", "target.alpha=0.3"])
    assert done.value.code == 2
    assert "target.alpha belongs to one of the targets" in capsys.readouterr().err


# --- what makes no sense together ---

POP, SAMPLED, IN_BATCH = {"name": "pop+"}, {"name": "sampled", "ratio": 0.2}, {"name": "in-batch"}
KD = {"name": "kd", "teacher": "runs/base"}
UNFIT = [
    # what, what else, the reason, the remedy
    *(
        {"target": POP, "loss": {"name": name}}
        for name in ("bpr", "weighted-bpr", "bce", "bce-sum", "mse", "gbce", "ccl", "cml")
    ),
    *({"target": POP, "loss": {"name": "bsl", "mode": mode}} for mode in ("multi", "bilateral")),
    *(
        {"loss": {"name": "bpr"}, "candidates": candidates | {"correction": True}}
        for candidates in (SAMPLED, IN_BATCH)
    ),
    {"loss": {"name": "gbce"}, "candidates": IN_BATCH},
    {"loss": {"name": "debiased", "score": "inner"}},
    *(
        {"target": target, "candidates": candidates | {"soft": "exact"}}
        for candidates in (SAMPLED, IN_BATCH)
        for target in (
            KD,
            {"name": "csn"},
            {"name": "interest-sharing", "teacher": "runs/base"},
            {
                "name": "mixture",
                "of": [{"weight": 0.5, "target": POP}, {"weight": 0.5, "target": KD}],
            },
        )
    ),
    {"target": POP, "candidates": IN_BATCH | {"mask_positives": True}},
    *(
        {"target": target, "loss": {"name": "decoupled"}}
        for target in ({"name": "one-hot"}, POP | {"alpha": 0})
    ),
    *({"candidates": {"name": "sampled"} | sizes} for sizes in ({}, {"ratio": 0.2, "number": 8})),
    {"model": {"length": 5}, "training": {"length": 9}},
    {"weights": {"name": "slatk"}, "loss": {"name": "sl", "logit_adjustment": 1.0}},
    {"weights": {"name": "slatk"}, "loss": {"name": "talos"}},
    {"prior": {"model": "markov"}, "loss": {"name": "mixed", "learn_temperature": True}},
    {"target": POP, "loss": {"name": "talos"}},
]


@pytest.mark.parametrize("fields", UNFIT, ids=range(len(UNFIT)))
def test_what_does_not_fit_together_is_refused(fields):
    with refused(RecipeError) as caught:
        read_recipe(LOG | fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"target": POP | {"alpha": 0}, "loss": {"name": "bpr"}},
        {"target": POP, "loss": {"name": "bsl", "mode": "single"}},
        {"target": POP, "loss": {"name": "sl"}, "candidates": SAMPLED | {"soft": "exact"}},
        {"target": MIXTURE, "candidates": IN_BATCH | {"soft": "exact"}},
        {"target": KD, "candidates": SAMPLED},
        {"loss": {"name": "bpr"}, "candidates": SAMPLED | {"correction": False}},
        {"loss": {"name": "gbce"}, "candidates": SAMPLED},
        {"loss": {"name": "gbce"}},
        {"candidates": IN_BATCH | {"mask_positives": True}},
        {"target": KD, "loss": {"name": "decoupled", "balance": "red-line"}},
    ],
    ids=range(10),
)
def test_what_fits_together_is_read(fields):
    read = read_recipe(LOG | fields)
    assert read_recipe(yaml.safe_load(yaml.safe_dump(read.model_dump(mode="json")))) == read


@pytest.mark.parametrize(
    ("size", "n_items", "drawn"),
    [
        ({"ratio": 0.2}, 10, 2),
        ({"ratio": 0.01}, 10, 1),
        ({"ratio": 1}, 7, 7),
        ({"number": 9}, 4, 9),
    ],
)
def test_how_many_candidates_are_drawn(size, n_items, drawn):
    spec = read_recipe(LOG | {"candidates": {"name": "sampled"} | size}).candidates
    assert spec.number_of(n_items) == drawn


@pytest.mark.parametrize(
    ("loss", "evaluation", "score"),
    [
        ({"name": "mixed"}, {}, "inner"),
        ({"name": "sl"}, {}, "cosine"),
        ({"name": "cml"}, {}, "euclidean"),
        ({"name": "ccl"}, {}, "cosine"),
        ({"name": "sl", "score": "inner"}, {}, "inner"),
        ({"name": "sl"}, {"score": "inner"}, "inner"),
        ({"name": "mixed"}, {"score": "cosine"}, "cosine"),
    ],
)
def test_items_are_ranked_as_trained_unless_said_otherwise(loss, evaluation, score):
    assert read_recipe(LOG | {"loss": loss, "evaluation": evaluation}).ranking_score == score


@pytest.mark.parametrize(
    ("target", "mass"),
    [
        (KD | {"alpha": 0.4}, 0.2),
        ({"name": "csn", "alpha": 0.4}, 0.2),
        ({"name": "interest-sharing", "alpha": 0.3, "teacher": "x"}, 0.3),
    ],
)
def test_the_soft_weight_of_a_target(target, mass):
    assert read_recipe(LOG | {"target": target}).target.soft_weight == mass


def test_a_teacher_is_found_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    recipe = recipe_of(LOG, {"target": "kd", "teacher": "base"})
    assert recipe.target.teacher == str(tmp_path / "base")
    assert recipe_of(LOG, {"target": "kd", "teacher": "gone"}).target.teacher == "gone"


SPARSE = {
    "data": {"source": "shop"},
    "training": {"optimizer": "sparse-adam"},
    "candidates": {"name": "sampled", "number": 5},
}


def test_sparse_adam_is_taken_where_few_rows_have_a_gradient():
    assert read_recipe(SPARSE).training.optimizer == "sparse-adam"


@pytest.mark.parametrize(
    "changes",
    [
        {"candidates": {"name": "full"}},
        {"candidates.soft": "exact"},
        {"training.weight_decay": 0.1},
        {"loss": {"name": "mixed", "l2": 0.1}},
        {"model": {"name": "lightgcn"}},
    ],
)
def test_sparse_adam_is_refused_where_every_row_has_a_gradient(changes):
    with refused(RecipeError):
        read_recipe(merged(SPARSE, changes))


@pytest.mark.parametrize("name", [["mf"], {"a": 1}, None, 3, True, b"\x01", b"mf"])
def test_a_name_of_a_model_that_is_no_text(name):
    with refused(RecipeError):
        read_recipe(LOG | {"model": {"name": name}})
