"""What a comparison of several models, targets, losses and values trains, and leaves out."""

import pytest

from messages import refused
from softrec.errors import RecipeError
from softrec.experiments.combinations import plan
from softrec.experiments.compare import compare_targets
from softrec.experiments.inputs import Given, read_source
from softrec.experiments.variants import Refused, axes_of
from softrec.recipe.listed import parse_grid, parse_list
from softrec.recipe.options import recipe_of

LOG = {"data": {"source": "log.csv"}}


def planned(targets="one-hot,uniform", models=None, losses=None, grid=None, fields=LOG, **options):
    given = Given(fields, options)
    return plan(given, axes_of(targets, models, losses, grid, options), 2)


def names(*args, **kwargs):
    return [variant.name for variant in planned(*args, **kwargs).variants]


# --- reading ---


def test_lists_as_text_and_as_data():
    assert parse_list("model", "sasrec(dim=64,dropout=0.1), mf") == [
        {"name": "sasrec", "dim": 64, "dropout": 0.1}, {"name": "mf"}
    ]  # fmt: skip
    assert parse_list("model", [{"name": "nfm", "layers": [1, 2]}, "mf"]) == [
        *parse_list("model", "nfm(layers=[1,2])"), {"name": "mf"}
    ]  # fmt: skip
    for section, text in (("model", ""), ("loss", ","), ("model", []), ("loss", ())):
        with refused(RecipeError):
            parse_list(section, text)
    with refused(RecipeError):
        parse_list("loss", "two words")
    with refused(RecipeError):
        parse_list("model", [{"dim": 4}])


def test_a_grid_as_text_and_as_data():
    grid = {"target.alpha": [0.1, 0.3], "loss.balance": [0.5, "red-line"]}
    assert parse_grid(["alpha=0.1,0.3", "loss.balance=0.5,red-line"]) == grid
    assert parse_grid({"alpha": (0.1, 0.3), "balance": [0.5, "red-line"]}) == grid
    assert parse_grid(None) == {}


@pytest.mark.parametrize(
    "grid",
    [
        "alpha",
        "alpha=",
        "alpha=0.1,0.1",
        ["alpha=0.1", "target.alpha=0.2"],
        "seed=1,2",
        "data.user=a,b",
        "monitor=ndcg@10,mrr@10",
        "model=mf,sasrec",
        "alhpa=1",
    ],
)
def test_grids_that_are_refused(grid):
    with refused(RecipeError):
        parse_grid(grid)


@pytest.mark.parametrize(
    ("axis", "text"),
    [
        ("targets", "one-hot,uniform(evaluation.negatives=20)"),
        ("targets", "one-hot,uniform(data.first_items=3)"),
        ("targets", "one-hot,uniform(data.false_positives=0.3)"),
        ("models", "sasrec,gru4rec(evaluation.score=cosine)"),
        ("models", "sasrec,item-knn(data.contamination=add)"),
        ("losses", "mixed,decoupled(training.monitor=mrr@10)"),
        ("targets", [{"name": "one-hot", "data": {"cold_items": "keep"}}]),
    ],
)
def test_what_all_rows_share_is_refused_in_the_brackets_of_one(axis, text):
    with refused(RecipeError):
        names(**{axis: text})


@pytest.mark.parametrize("field", ["evaluation.negatives", "data.first_items"])
def test_what_all_rows_share_is_refused_in_a_target_section(field, tmp_path):
    base = recipe_of({"data": {"source": "shop"}}, {})
    with refused(RecipeError):
        compare_targets(base, [{"name": "one-hot"}, {"name": "uniform", field: 3}], tmp_path / "c")
    assert not list(tmp_path.iterdir())


# --- the product, and what comes down to the same ---


def test_each_variant_is_what_fit_would_train():
    made = planned("one-hot,pop+(alpha=0.6)", "sasrec(dim=16),gru4rec", "mixed,sl", lr=0.01)
    assert [variant.name for variant in made.variants] == [
        f"{model}: {row}"
        for model in ("sasrec (dim 16)", "gru4rec")
        for row in ("one-hot, mixed", "one-hot, sl", "pop+ (alpha 0.6), mixed",
                    "pop+ (alpha 0.6), sl")
    ]  # fmt: skip
    last, third = made.variants[-1], made.variants[2]
    assert third.recipes[1] == recipe_of(
        LOG, {"model": "sasrec", "model.dim": 16, "target": "pop+", "alpha": 0.6, "lr": 0.01,
              "seed": 1}
    )  # fmt: skip
    assert last.recipes[0] == recipe_of(
        LOG, {"model": "gru4rec", "target": "pop+", "alpha": 0.6, "loss": "sl", "lr": 0.01}
    )
    assert made.baselines == [0, 0, 0, 0, 4, 4, 4, 4]


def test_targets_alone_are_named_as_ever():
    assert names("one-hot,uniform,pop+(alpha=0.6)") == [
        "one-hot", "uniform (alpha 0.1)", "pop+ (alpha 0.6)"
    ]  # fmt: skip
    assert names("one-hot,co-occurrence(model=markov),co-occurrence(alpha=0.6)")[1:] == [
        "co-occurrence (alpha 0.3, model markov)", "co-occurrence (alpha 0.6)"
    ]  # fmt: skip
    assert names(model="mf") == names(models="mf") == ["one-hot", "uniform (alpha 0.1)"]
    assert {v.recipes[0].model.name for v in planned(models="mf").variants} == {"mf"}


def test_a_mixture_is_named_by_what_it_is_of():
    popular = "{name: pop+, alpha: 1, temperature: 2}"
    both = f"[{{weight: 0.25, target: {{name: uniform}}}}, {{weight: 0.75, target: {popular}}}]"
    taught = "[{weight: 1, target: {name: kd, teacher: markov-rp3beta, temperature: 2}}]"
    assert names(f"one-hot,mixture(of={both}),mixture(alpha=0.8,of={taught})")[1:] == [
        "mixture (alpha 0.2, of 0.25 uniform and 0.75 pop+ (temperature 2.0))",
        "mixture (alpha 0.8, of kd (temperature 2.0, teacher markov-rp3beta))",
    ]


def test_the_label_alone_is_one_row_whatever_the_losses():
    made = planned(losses="mixed,decoupled(balance=0.3)")
    assert [variant.name for variant in made.variants] == [
        "one-hot", "uniform (alpha 0.1), mixed", "uniform (alpha 0.1), decoupled (balance 0.3)"
    ]  # fmt: skip
    assert [variant.recipes[0].loss.name for variant in made.variants] == [
        "mixed", "mixed", "decoupled"
    ]  # fmt: skip
    assert not made.notes
    only = planned(losses="decoupled")
    assert [variant.recipes[0].loss.name for variant in only.variants] == ["mixed", "decoupled"]


def test_a_grid_is_for_those_that_have_the_field_and_no_value_of_their_own():
    made = planned("one-hot,uniform,pop+(alpha=0.6)", grid="target.alpha=0.1,0.5")
    assert [(variant.name, variant.series, variant.grid) for variant in made.variants] == [
        ("one-hot", "one-hot", {}),
        ("uniform (alpha 0.1)", "uniform", {"target.alpha": 0.1}),
        ("uniform (alpha 0.5)", "uniform", {"target.alpha": 0.5}),
        ("pop+ (alpha 0.6)", "pop+ (alpha 0.6)", {}),
    ]


def test_a_value_of_the_grid_is_none_of_a_variant_without_the_field():
    """The label alone has another loss, so that all balances come down to one row."""
    for losses, name in (("decoupled", "decoupled"), ("mixed,decoupled", "decoupled")):
        made = planned(losses=losses, grid=["alpha=0.1,0.5", "balance=0.2,0.8"])
        first = made.variants[0]
        assert (first.name, first.series, first.grid) == ("one-hot", "one-hot", {})
        assert {v.series for v in made.variants[1:]} >= {f"uniform, {name}"}
    only = planned(losses="decoupled", grid=["balance=0.2"]).variants
    assert [(v.name, v.grid) for v in only] == [
        ("one-hot", {}),
        ("uniform (alpha 0.1), decoupled (balance 0.2)", {"loss.balance": 0.2}),
    ]


def test_two_grids_are_all_combinations():
    made = planned("one-hot,uniform", losses="mixed,decoupled",
                   grid=["alpha=0.1,0.5", "balance=0.2,0.8"])  # fmt: skip
    assert len(made.variants) == 1 + 2 + 4
    assert made.variants[-1].name == "uniform (alpha 0.5), decoupled (balance 0.8)"
    assert made.variants[-1].series == "uniform, decoupled"
    assert made.variants[-1].recipes[0].loss.balance == 0.8


def test_a_grid_over_the_model_or_its_training_makes_groups():
    made = planned(models="sasrec,mf", grid=["training.lr=0.1,0.2", "model.heads=1,2"])
    assert list(dict.fromkeys(variant.group for variant in made.variants)) == [
        *(f"sasrec (lr {lr}, heads {heads})" for lr in (0.1, 0.2) for heads in (1, 2)),
        "mf (lr 0.1)", "mf (lr 0.2)",
    ]  # fmt: skip
    assert made.baselines == [place - place % 2 for place in range(12)]
    assert {variant.series for variant in made.variants if "mf" in variant.group} == {
        "mf: one-hot", "mf: uniform (alpha 0.1)"
    }  # fmt: skip


def test_options_are_for_those_that_have_them():
    made = planned(models="sasrec,gru4rec", losses="mixed,decoupled",
                   **{"model.heads": 1, "balance": 0.3})  # fmt: skip
    balances = [getattr(variant.recipes[0].loss, "balance", None) for variant in made.variants]
    assert balances == [None, None, 0.3] * 2
    assert [v.recipes[0].model.settings.get("heads") for v in made.variants] == [1] * 3 + [None] * 3
    assert made.notes == (
        "model.heads is a setting of sasrec alone.", "loss.balance is a setting of decoupled alone."
    )  # fmt: skip


def test_a_recipe_file_keeps_its_settings_for_its_own_model():
    fields = LOG | {"model": {"name": "sasrec", "dim": 24}, "training": {"lr": 0.5},
                    "loss": {"name": "decoupled", "balance": 0.7},
                    "target": {"name": "uniform", "alpha": 0.9}}  # fmt: skip
    made = planned(models="gru4rec,sasrec", fields=fields)
    assert [variant.recipes[0].model.settings.get("dim") for variant in made.variants] == [
        None, None, 24, 24
    ]  # fmt: skip
    soft = made.variants[1].recipes[0]
    assert (soft.loss.balance, soft.training.lr, soft.target.alpha) == (0.7, 0.5, 0.1)


def test_interests_are_left_to_the_model_that_has_them():
    fields = LOG | {"model": {"name": "timirec"}, "interest": {"weight": 2.0}}
    made = planned(models="timirec,sasrec", fields=fields)
    kept = [variant.recipes[0].interest for variant in made.variants]
    assert [each and each.weight for each in kept] == [2.0, 2.0, None, None]


def test_models_of_users_get_the_windows_that_they_need():
    made = planned(models="sasrec,mf")
    windows = [variant.recipes[0].training.windows for variant in made.variants]
    assert windows == ["positions"] * 2 + ["interactions"] * 2
    assert made.notes == (
        "mf reads no history and is trained on single interactions (windows: interactions).",
    )
    own = planned(models="sasrec,mf(training.windows=last)")
    assert own.variants[-1].recipes[0].training.windows == "last"
    assert planned(models="mf").variants[0].recipes[0].training.windows == "positions"


def test_counted_models_are_simple_baselines():
    made = planned(models="sasrec,item-knn(k=20)", lr=0.1)
    assert [variant.name for variant in made.variants] == ["one-hot", "uniform (alpha 0.1)"]
    assert list(made.counted) == ["item-knn (k 20)"]
    assert made.counted["item-knn (k 20)"].model.settings == {"k": 20}
    with refused(RecipeError):
        planned(models="item-knn")


# --- what is left out, and what is refused ---


def test_what_makes_no_sense_is_left_out_with_a_note():
    made = planned(losses="mixed,bpr")
    assert [variant.name for variant in made.variants] == [
        "one-hot, mixed", "one-hot, bpr", "uniform (alpha 0.1), mixed"
    ]  # fmt: skip
    (note,) = made.notes
    assert note.startswith("uniform, bpr is left out: ")
    assert "bpr compares the label with single items" in note


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"losses": "bpr"}, "bpr compares the label with single items"),
        ({"loss": "bpr"}, "bpr compares the label with single items"),
        ({"targets": "one-hot", "loss": "decoupled"}, "decoupled"),
        ({"targets": "one-hot", "losses": "mixed,decoupled"}, "the loss decoupled"),
        ({"targets": "one-hot,foo"}, "foo"),
        ({"models": "sasrec,foo"}, "foo"),
        ({"losses": "mixed,foo"}, "foo"),
        ({"models": "sasrec(heads=2,foo=1),mf"}, "foo"),
        ({"grid": "alpha=0.1,2"}, "got 2"),
        ({"targets": "one-hot", "grid": "alpha=0.1,0.2"}, "alpha"),
        ({"grid": "model.foo=1,2"}, "foo"),
        ({"targets": "uniform(alpha=0.5)", "grid": "alpha=0.1"}, "takes target.alpha=0.1"),
        ({"targets": "uniform,one-hot", "losses": "bpr,mixed"}, None),
        ({"targets": "uniform,uniform(alpha=0.1)"}, "uniform .* is given twice"),
        ({"models": "mf,mf"}, "the model mf is given twice"),
        ({"losses": "mixed,mixed"}, "the loss mixed is given twice"),
        ({"models": "mf", "model": "sasrec"}, "model names one and models several"),
        ({"model.foo": 1}, "foo"),
    ],
)
def test_nothing_that_was_named_is_left_out_altogether(asked, complaint):
    if complaint is None:
        assert len(planned(**asked).variants) == 3
        return
    with refused(RecipeError):
        planned(**asked)


def test_a_group_keeps_its_baseline():
    """Else a soft target would stand where the label alone was asked for."""
    made = planned(models="sasrec,gru4rec")
    broken = made.variants[2]
    with refused(RecipeError):
        made.without([Refused(broken.name, broken.covers, RecipeError("no way"))])
    soft = made.variants[3]
    left = made.without([Refused(soft.name, soft.covers, RecipeError("no way"))])
    assert [variant.name for variant in left.variants][-1] == "gru4rec: one-hot"
    assert left.notes == ("gru4rec: uniform (alpha 0.1) is left out: no way.",)


def test_sources_are_read_once_for_all(tmp_path):
    (tmp_path / "r.yaml").write_text("data: {source: log.csv}\nmodel: {name: sasrec, dim: 8}")
    given = read_source(str(tmp_path / "r.yaml"), {"seed": 4, "lr": None})
    made = plan(given, axes_of("one-hot,uniform", "sasrec,mf", None, None, {}), 2)
    assert [recipe.seed for recipe in made.variants[0].recipes] == [4, 5]
    assert made.base.model.settings == {"dim": 8}


def test_weights_of_examples_are_rows_of_one_group():
    options = {"loss": "sl", "grid": "weights=equal,slatk(rank=5),slatk(rank=5,gradient=false)"}
    made = planned("one-hot,uniform", **options)
    first, second, third = (v for v in made.variants if v.recipes[0].target.name == "one-hot")
    assert [v.name for v in made.variants if v.recipes[0].target.name == "one-hot"] == [
        "one-hot, equal",
        "one-hot, slatk (rank 5)",
        "one-hot, slatk (rank 5, gradient False)",
    ]
    assert {v.group for v in made.variants} == {""}
    assert set(made.baselines) == {0}
    assert [v.recipes[0].weights.name for v in (first, second, third)] == [
        "equal",
        "slatk",
        "slatk",
    ]
    assert [v.recipes[0].weights.gradient for v in (second, third)] == [True, False]
    assert len(made.variants) == 6
