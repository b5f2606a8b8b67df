"""What the title of a comparison says of its rows."""

import pytest

from softrec.experiments.combinations import plan
from softrec.experiments.inputs import Given
from softrec.experiments.protocol import with_protocol_rows
from softrec.experiments.title import title_of
from softrec.experiments.variants import axes_of

PRIOR = {"prior": {"model": {"name": "markov"}, "strength": 1.0}}
CASES = [
    ({}, "only the target differs"),
    ({"targets": "one-hot,uniform(training.lr=0.01)"}, "targets and settings of training differ"),
    ({"targets": "one-hot"}, "one row"),
    ({"targets": "one-hot", "losses": "mixed,sl,bsl,bpr"}, "losses differ"),
    ({"losses": "mixed,bpr"}, "targets and losses differ"),
    ({"losses": "mixed,decoupled"}, "targets and losses differ"),
    ({"losses": "decoupled"}, "only the target differs"),
    ({"losses": "decoupled", "grid": "balance=0.2,0.8"}, "targets and losses differ"),
    ({"grid": "windows=last,positions"}, "targets and settings of training differ"),
    ({"windows": "last"}, "only the target differs"),
    ({"windows": "last", "targets": "one-hot"}, "settings of training differ"),
    ({"models": "gru4rec,sasrec"}, "models and targets differ"),
    ({"models": "gru4rec,mf"}, "models, targets and losses differ"),  # mf has cosines by default
    ({"fields": PRIOR, "grid": "prior.strength=0,2"}, "targets and priors differ"),
    ({"grid": "batch_size=8,16"}, "targets and settings of training differ"),
    ({"targets": "one-hot,uniform(training.batch_size=8)", "batch_size": 16},
     "targets and settings of training differ"),
    ({"grid": "data.false_positives=0,0.1"}, "targets and false positives differ"),
    ({"models": "timirec", "grid": "interest.weight=0.1,0.2"},
     "targets and settings of interests differ"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "how"), CASES)
def test_a_title_says_all_in_which_rows_differ_and_no_more(asked, how):
    asked = {"targets": "one-hot,uniform", "models": None, "losses": None, "grid": None} | asked
    fields = {"data": {"source": "log.csv"}} | asked.pop("fields", {})
    axes = axes_of(*(asked.pop(name) for name in ("targets", "models", "losses", "grid")), asked)
    made = with_protocol_rows(plan(Given(fields, asked), axes, 1), "auto")
    models, _, said = title_of(made).partition(" on log.csv: ")
    assert said == how
    assert models
