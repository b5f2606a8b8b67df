"""From a recipe to the parts of a log, and to what is trained on: the training part alone."""

import polars as pl
import pytest
import torch

from softrec.data import sources, splits
from softrec.data.interactions import Interactions
from softrec.data.sources import Counts, Parts, Source
from softrec.data.splits import Split
from softrec.experiments.build.data import load_split
from softrec.experiments.build.objective import build
from softrec.recipe.recipe import read_recipe

N_USERS, LENGTH = 6, 10


@pytest.fixture
def log(tmp_path) -> str:
    """Each user's n-th item is 100 user + n, and happens at n: no item comes twice."""
    rows = [(user, 100 * user + n, n) for user in range(N_USERS) for n in range(LENGTH)]
    path = tmp_path / "log.csv"
    pl.DataFrame(rows, schema=["user", "item", "time"], orient="row").write_csv(path)
    return str(path)


def taken(split: Split) -> list[list[list[int]]]:
    """The raw items of each user in each part."""
    return [
        [part.items.ids(part.sequences[user]).to_list() for user in range(part.n_users)]
        for part in (split.train, split.valid, split.test)
    ]


def split_by(source: str, **data) -> Split:
    return load_split(read_recipe({"data": {"source": source, **data}}).data)


# --- which events go where ---


@pytest.mark.filterwarnings("ignore::softrec.data.splits.LeakageWarning")
def test_shares_and_seed_of_a_ratio_split(log):
    fields = {"split": "user-ratio", "cold_items": "keep"}
    split = split_by(log, valid_fraction=0.3, test_fraction=0.2, split_seed=5, **fields)
    assert [[len(row) for row in part] for part in taken(split)] == [[5] * 6, [3] * 6, [2] * 6]
    again = split_by(log, valid_fraction=0.3, test_fraction=0.2, split_seed=5, **fields)
    other = split_by(log, valid_fraction=0.3, test_fraction=0.2, split_seed=6, **fields)
    assert taken(split) == taken(again) != taken(other)


def test_shares_of_a_split_by_time(log):
    split = split_by(log, split="time", valid_fraction=0.3, test_fraction=0.2, cold_items="keep")
    assert [[len(row) for row in part] for part in taken(split)] == [[5] * 6, [3] * 6, [2] * 6]
    assert taken(split)[2][1] == [108, 109]


def test_share_and_seed_of_validation_carved_from_published_parts(restored):
    tables = [
        pl.DataFrame({"user": [0] * 20 + [1] * 20, "item": [*range(20), *range(20)]}),
        pl.DataFrame({"user": [0, 1], "item": [1, 2]}),
    ]
    train, test = Interactions.together(tables)
    source = Source(
        name="toy", title="A toy", files=(), read=lambda: Parts(train=train, test=test),
        licence="none", citation="none", homepage="none", split={"split": "given"},
        counts=Counts(0, 0, 0),
    )  # fmt: skip
    restored(sources.SOURCES)["toy"] = source
    first, again, other = (
        taken(split_by("toy", valid_fraction=0.25, split_seed=seed)) for seed in (3, 3, 4)
    )
    assert first == again != other
    assert [len(row) for row in first[1]] == [5, 5]
    assert first[2] == [[1], [2]]
    assert first == taken(splits.carved(train, test, valid=0.25, seed=3))


# --- what is trained on ---


def trained_on(source: str, seed: int = 0, **training):
    """The split, and the batches of an epoch."""
    recipe = read_recipe(
        {"data": {"source": source, "split": "leave-last-out", "cold_items": "keep"},
         "model": {"name": "gru4rec", "dim": 4}, "training": training, "seed": seed}
    )  # fmt: skip
    split = load_split(recipe.data)
    _, _, batches = build(recipe, split)
    return split, list(batches)


def raw(split: Split, items: torch.Tensor) -> list[int]:
    known = items[items < split.train.n_items]
    return split.train.items.ids(known.numpy()).to_list()


@pytest.mark.filterwarnings("ignore::softrec.data.splits.LeakageWarning")
@pytest.mark.parametrize(
    ("windows", "labels"),
    [
        ("last", [7]),
        ("positions", [3, 4, 5, 6, 7]),  # of the last six
        ("prefixes", [1, 2, 3, 4, 5, 6, 7]),
        ("sliding", [1, 2, 3, 4, 5, 6, 7]),
        ("interactions", [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_windows_are_cut_from_the_training_part_alone(log, windows, labels):
    """Of ten events of a user the last two are validation and test; none is learned from."""
    split, batches = trained_on(log, windows=windows, length=5)
    asked = [item for batch in batches for item in raw(split, batch.label)]
    assert sorted(asked) == [100 * user + n for user in range(N_USERS) for n in labels]
    read = {item for batch in batches for item in raw(split, batch.history)}
    assert read <= {100 * user + n for user in range(N_USERS) for n in range(8)}


@pytest.mark.filterwarnings("ignore::softrec.data.splits.LeakageWarning")
def test_length_stride_padding_and_batch_size_are_those_of_the_recipe(log):
    fields = {"windows": "prefixes", "batch_size": 5}
    split, batches = trained_on(log, length=3, **fields)
    assert [len(batch.label) for batch in batches] == [5] * 8 + [2]
    assert {batch.history.shape[1] for batch in batches} == {3}
    for batch in batches:
        for history, label in zip(batch.history, batch.label, strict=True):
            (last,) = raw(split, label[None])
            expected = [last - k for k in (3, 2, 1) if last % 100 >= k]
            assert raw(split, history) == expected
    for side, place in (("right", 0), ("left", -1)):
        _, batches = trained_on(log, length=3, padding_side=side, **fields)
        rows = torch.cat([batch.history for batch in batches])
        short = rows[(rows == split.train.n_items).any(1)]
        assert len(short)
        assert (short[:, place] < split.train.n_items).all()
        assert (short[:, -1 - place] == split.train.n_items).all()
    for stride, count in ((1, 7), (3, 3), (None, 2)):
        _, batches = trained_on(log, windows="sliding", length=4, stride=stride, batch_size=1000)
        (batch,) = batches
        assert len(batch.history) == count * N_USERS, stride


@pytest.mark.filterwarnings("ignore::softrec.data.splits.LeakageWarning")
def test_the_order_is_that_of_the_seed(log):
    fields = {"windows": "prefixes", "length": 3, "batch_size": 1000}
    labels = [trained_on(log, seed, **fields)[1][0].label for seed in (1, 1, 2)]
    assert labels[0].equal(labels[1])
    assert not labels[0].equal(labels[2])
    assert labels[0].sort().values.equal(labels[2].sort().values)
