"""Whatever stands where a recipe is expected: a recipe, or one line that says what is wrong.

`SOFTREC_FUZZ=100000 python -m pytest tests/fuzz/test_recipes.py` tries as many.
"""

import math

import polars as pl
import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from softrec.data.interactions import Interactions
from softrec.data.splits import leave_last_out
from softrec.errors import LONGEST, SoftrecError
from softrec.experiments.build.objective import build
from softrec.recipe.fields import options as common
from softrec.recipe.options import parse_assignment, parse_target, recipe_of
from softrec.recipe.reading import parsed, read_yaml
from softrec.recipe.recipe import choices, read_recipe, sections
from softrec.recipe.specs.arguments import arguments
from softrec.recipe.specs.data import PARAMETERS
from softrec.recipe.specs.models import MODELS, OF_THE_DATA

SECTIONS = sections()
many, few = cases(150), cases(60)

NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 5, 10, 0.5, 0.1, 1.5, -0.0, 1e-30, 1e30, 1e308, math.inf, -math.inf, math.nan,
     2**31, 2**32, 2**63, 2**64, 10**20, -(10**20), 10**400]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "x" * 300, "x" * 5000, "a\0b", "\ud800", "ndcg@10", "recall@" + "9" * 50,
                     "k-core=2", "k-core=1e400", "mf", "kd", "pop+", "shop", "[bold]", "run"]),
)  # fmt: skip
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, st.integers(), st.floats(), TEXTS,
                   st.binary(max_size=4))  # fmt: skip
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(TEXTS, st.integers()), inner, max_size=3),
    ),
    max_leaves=6,
)
DEEP = st.builds(lambda depth: nested(depth), st.integers(1, 2000))


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"teacher": value}
    return value


def some(names: list[str], own: st.SearchStrategy) -> st.SearchStrategy:
    """Return a few of the fields of a section, and now and then one that is none."""
    return st.dictionaries(st.one_of(st.sampled_from(names), TEXTS), own, max_size=4)


def section(place: str) -> st.SearchStrategy:
    def of(name: str) -> st.SearchStrategy:
        fields = list(SECTIONS[f"{place}.{name}"].model_fields)
        return some(fields, JUNK).map(lambda given: {**given, "name": name})

    return st.one_of(JUNK, st.sampled_from(choices(place)).flatmap(of))


def model(name: str) -> st.SearchStrategy:
    settings_of = list(arguments(MODELS[name], OF_THE_DATA))
    return some([*settings_of, "preset"], JUNK).map(lambda given: {**given, "name": name})


RECIPES = st.one_of(
    JUNK,
    st.fixed_dictionaries(
        {"data": st.one_of(
            some(list(SECTIONS["data"].model_fields), JUNK).map(lambda d: {"source": "x.csv", **d}),
            some(list(PARAMETERS), JUNK).map(lambda given: {"source": "shop", "shop": given}),
            st.just({"source": "shop"}),
            JUNK,
        )},
        optional={
            "model": st.one_of(JUNK, st.sampled_from(list(MODELS)).flatmap(model)),
            "target": st.one_of(section("target"), DEEP),
            "loss": section("loss"),
            "candidates": section("candidates"),
            "training": some(list(SECTIONS["training"].model_fields), JUNK),
            "evaluation": some(list(SECTIONS["evaluation"].model_fields), JUNK),
            "interest": some(list(SECTIONS["interest"].model_fields), JUNK),
            "seed": JUNK,
        },
    ),
)  # fmt: skip


def line_of(error: SoftrecError) -> str:
    """Return the text of an error, which is one line and not too long."""
    text = str(error)
    assert text
    assert text.isprintable()
    assert len(text) <= LONGEST
    return text


@pytest.mark.slow
@many
@given(RECIPES)
def test_fields_are_a_recipe_or_one_line(fields):
    try:
        recipe = read_recipe(fields)
    except SoftrecError as error:
        line_of(error)
    else:
        assert read_recipe(recipe.model_dump(mode="json")) == recipe


@pytest.mark.slow
@many
@given(st.dictionaries(st.sampled_from(list(common())), JUNK, max_size=3))
def test_options_are_a_recipe_or_one_line(options):
    try:
        recipe_of({"data": {"source": "x.csv"}}, options)
    except SoftrecError as error:
        line_of(error)


YAML = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.sampled_from(["a: ", "b", "- ", "[", "]", "{", "}", ", ", "&x ", "*x", "\n", "  ", "\t",
                         "? ", ": ", "!!int ", "!!bool x", "!!binary ", "|", ">", "'", '"', "#",
                         "---\n", "<<: ", "1e3", "~", ".nan", "2020-01-01", "0o7", "1:30", "%", "@",
                         "0b_", "-_", "\\ud800", "=", "\x85", "\ufeff", "9" * 5000]),
        max_size=30,
    ).map("".join),
)  # fmt: skip


@many
@given(YAML)
def test_yaml_is_plain_data_or_one_line(text):
    try:
        parsed(text)
    except ValueError as error:
        line_of(SoftrecError(error))
    for read in (parse_assignment, parse_target):
        try:
            read(f"a={text}")
        except SoftrecError as error:
            line_of(error)


@few
@given(st.one_of(st.binary(max_size=60), YAML.map(lambda text: text.encode(errors="replace"))))
def test_a_file_is_fields_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "recipe.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(read_yaml(path), dict)
    except SoftrecError as error:
        line_of(error)


SIZES = st.sampled_from([1, 2, 3, 5, 7, 8, 16, 1000])
"""What a recipe may say, and a small log may not bear."""
BUILDABLE = st.fixed_dictionaries({
    "data": st.just({"source": "x.csv"}),
    "model": st.sampled_from(["mf", "gru4rec", "sasrec", "lightgcn", "comirec-sa"]).flatmap(
        lambda name: st.dictionaries(
            st.sampled_from([s for s, kind in arguments(MODELS[name], OF_THE_DATA).items()
                             if kind in (int, int | None) and s != "length"]),
            st.sampled_from([1, 2, 3, 8]), max_size=3,
        ).map(lambda given: {**given, "name": name})
    ),
    "target": st.one_of(
        st.just({"name": "one-hot"}),
        st.builds(lambda t, s: {"name": "pop+", "temperature": t, "scale": s},
                  st.sampled_from([1e-4, 1, 1e4]),
                  st.sampled_from(["log", "frequency", "count", "relative"])),
        st.builds(lambda k, d: {"name": "csn", "k": k, "dim": d, "epochs": 1}, SIZES,
                  st.sampled_from([1, 4])),
    ),
    "loss": st.builds(lambda n: {"name": n}, st.sampled_from(choices("loss"))),
    "candidates": st.one_of(
        st.just({"name": "full"}), st.just({"name": "in-batch"}),
        st.builds(lambda n, s, r, m: {"name": "sampled", "number": n, "sampler": s, "per_row": r,
                                      "mask_positives": m},
                  SIZES, st.sampled_from(["uniform", "popularity", "log-uniform"]), st.booleans(),
                  st.booleans()),
    ),
    "training": st.builds(lambda b, n, w, s: {"batch_size": b, "length": n, "windows": w,
                                              "stride": s},
                          SIZES, st.sampled_from([1, 2, 5, 50]),
                          st.sampled_from(choices("training.windows")), st.none() | SIZES),
})  # fmt: skip


@pytest.fixture(scope="module")
def split():
    rows = [(u, (u + step) % 7) for u in range(6) for step in range(5)]
    return leave_last_out(
        Interactions.read(pl.DataFrame(rows, schema=["user", "item"], orient="row")), cold="keep"
    )


@pytest.mark.slow
@few
@given(BUILDABLE)
def test_what_is_read_is_built_or_one_line(split, tmp_path_factory, fields):
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTREC_CACHE", str(cache))
        try:
            build(read_recipe(fields), split)
        except SoftrecError as error:
            line_of(error)
