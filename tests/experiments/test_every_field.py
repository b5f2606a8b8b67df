"""Every field of every section of a recipe changes what it says, and none is forgotten.

The rows (`fields_of_*.py`) tell of each field which values are tried, and where each is seen in
the objects whose training begins: as a number worked out there, or as something made there of the
field alone. A new field without a row fails the last tests.
"""

from itertools import combinations
from typing import Literal, get_args, get_origin

import fields_of_candidates
import fields_of_losses
import fields_of_prior
import fields_of_targets
import fields_of_training
import fields_of_weights
import pytest
from fields import FIELDS, same
from pydantic import BaseModel

from softrec.candidates import CANDIDATES, CandidatesSettings
from softrec.errors import RecipeError, RunError
from softrec.losses.settings import LOSSES, LossSettings
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.data import DataSettings
from softrec.recipe.specs.models import ModelSettings
from softrec.recipe.specs.prior import PriorSettings
from softrec.recipe.specs.training import EvaluationSettings, TrainingSettings
from softrec.recipe.specs.trials import TrialSettings
from softrec.recipe.specs.tune import TuneSettings
from softrec.targets.mixture import PartSettings
from softrec.targets.settings import TARGETS, TargetSettings
from softrec.weights import WEIGHTS, WeightsSettings

FULL = (
    fields_of_candidates, fields_of_losses, fields_of_prior, fields_of_targets, fields_of_training,
    fields_of_weights,
)  # fmt: skip
ROWS = [(spec, field, row) for (spec, field), rows in FIELDS.items() for row in rows]
ELSEWHERE = (DataSettings, ModelSettings, TrialSettings, TuneSettings)
"""Their fields are seen in tests of their own: test_every_data_field.py, test_tuning.py, ..."""
AFTERWARDS = {
    (EvaluationSettings, "calibration"), (TrainingSettings, "new_rows"),
    (TrainingSettings, "devices"), (TrainingSettings, "nodes"),
    (TrainingSettings, "shards"), (TrainingSettings, "refit"),
    (PriorSettings, "popularity"), (PriorSettings, "half_life"),
    (PriorSettings, "popularities"), (PriorSettings, "half_lives"),
}  # fmt: skip
"""What happens after the training, on another log or in other processes, in tests of its own."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "field", "row"),
    ROWS,
    ids=[f"{s.__name__}.{f}-{i}" for i, (s, f, _) in enumerate(ROWS)],
)
def test_a_field_does_what_it_says(spec, field, row, begin):
    found = []
    for value in row.values:
        begun = begin(row.base | {row.place: value})
        found.append(row.see(begun))
        if row.expect is not None:
            expected = row.expect(begun)
            assert same(found[-1], expected, row.within), (value, found[-1], expected)
    pairs = combinations(range(len(found)), 2)
    alike = [same(found[one], found[other], row.within) for one, other in pairs]
    if row.expect is None:
        assert not any(alike), row.values
    assert len(found) == 1 or not all(alike), row.values


def test_the_names_of_distillation_say_which_teachers_are_meant(begin):
    """skd and ckd make what kd makes, of the teachers they take."""
    other = {"model": {"name": "mf", "dim": 4}}
    mine, others = (begin(fields_of_targets.KD | changes) for changes in ({}, other))
    for name, changes, alike, refused in (("skd", {}, mine, other), ("ckd", other, others, {})):
        named = {"target": fields_of_targets.KD["target"] | {"name": name}}
        made = fields_of_targets.dense(begin(named | changes))
        assert same(made, fields_of_targets.dense(alike), 1e-6)
        with pytest.raises((RecipeError, RunError)) as caught:
            begin(named | refused)
        assert name in str(caught.value)


def specs(kind):
    """All sections of recipes below a type; of what is chosen by name, all there is to choose."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        members = kind.registry.values() if kind in CHOSEN else [kind]
        below = [f.annotation for one in members for f in one.model_fields.values()]
        return set(members).union(*(specs(k) for k in below if k is not kind and k not in CHOSEN))
    return set().union(*map(specs, get_args(kind)))


CHOSEN = (TargetSettings, LossSettings, CandidatesSettings, WeightsSettings)
ALL = specs(Recipe).union(*map(specs, CHOSEN)).difference(ELSEWHERE)


def choices(spec, name, field):
    """The names that a field may have."""
    return set(spec.names) if name == "name" else literals(field.annotation)


def literals(kind):
    if get_origin(kind) is Literal:
        return set(get_args(kind))
    return set().union(*map(literals, get_args(kind)))


def test_all_sections_are_looked_at():
    chosen = (TARGETS, LOSSES, CANDIDATES, WEIGHTS)
    assert {PartSettings, *(one for kind in chosen for one in kind.values())} < ALL
    assert len(ALL) > 25


def test_no_field_is_forgotten():
    for spec in ALL:
        for name, field in spec.model_fields.items():
            section = spec is Recipe and specs(field.annotation)
            assert section or (spec, name) in AFTERWARDS or FIELDS.get((spec, name)), (
                f"{spec.__name__}.{name} needs a row"
            )


def test_no_choice_is_forgotten():
    for spec in ALL:
        for name, field in spec.model_fields.items():
            rows = FIELDS.get((spec, name), [])
            tried = {v for row in rows for v in (*row.values, *row.refused) if isinstance(v, str)}
            known = (spec, name) in AFTERWARDS
            assert known or choices(spec, name, field) <= tried, f"{spec.__name__}.{name}"
