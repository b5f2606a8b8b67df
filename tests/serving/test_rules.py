"""Lists that keep rules equal the obvious way: all items by score, filtered, added one by one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from messages import refused
from softrec.data.interactions import Interactions
from softrec.errors import DataError, RulesError
from softrec.serving.catalogue import Catalogue
from softrec.serving.recommender import Recommender
from softrec.serving.rules import Rules
from softrec.types import Encoder, ItemVectors, Vectors

N_ITEMS = 300  # more than four groups of 64 items, so that few best ones are searched in groups
N_USERS = 4
GENERATOR = np.random.default_rng(2)
IDS = [f"i{n:03}" for n in range(N_ITEMS)]
# All scores of a user are different whole numbers, so that there is one right list.
SCORES = np.stack([GENERATOR.permutation(N_ITEMS) for _ in range(N_USERS)])
COLOURS, SIZES = ("red", "blue", None), (1, 2, 3, 4)
TABLE = pl.DataFrame(
    {
        "id": IDS,
        "title": [f"Item {n}" if n % 7 else None for n in range(N_ITEMS)],
        "colour": [COLOURS[n] for n in GENERATOR.integers(0, 3, N_ITEMS)],
        "size": [SIZES[n] for n in GENERATOR.integers(0, 4, N_ITEMS)],
        "one": [1] * N_ITEMS,
        "tags": [["a"]] * N_ITEMS,
    }
)
COLUMNS = {row["id"]: row for row in TABLE.iter_rows(named=True)}


class Given(Encoder):
    """Scores that are given: user u is a unit vector, and item i has the scores of all users."""

    def __init__(self, scores: np.ndarray = SCORES) -> None:
        super().__init__()
        self.n_items = scores.shape[1]
        self.weight = torch.nn.Parameter(torch.tensor(scores.T, dtype=torch.float32))

    def items(self) -> ItemVectors:
        return ItemVectors(self.weight)

    def forward(self, batch, items=None):
        return Vectors(torch.eye(self.weight.shape[1])[batch.user], items or self.items())


def made_log() -> Interactions:
    rows = [(u, IDS[i]) for u in range(N_USERS) for i in range(u, N_ITEMS, 5 + u)]
    rows += [(N_USERS, item) for item in IDS]
    return Interactions.read(pl.DataFrame(rows, schema=["user", "item"], orient="row"))


LOG = made_log()
HISTORIES = [{IDS[i] for i in range(u, N_ITEMS, 5 + u)} for u in range(N_USERS)]


def service(catalogue: pl.DataFrame | None = TABLE) -> Recommender:
    table = None if catalogue is None else Catalogue.read(catalogue)
    return Recommender(Given(), LOG, length=5, catalogue=table)


SERVICE = service()


def by_hand(user, k, keeps, at_most=(), pinned=(), mask_seen=True):
    """All items from the best on, one after the other; `keeps` is a function of a row."""
    order = [IDS[n] for n in np.argsort(-SCORES[user])]
    order = list(dict.fromkeys([*pinned, *order]))
    chosen = []
    for item in order:
        row = COLUMNS[item]
        if not keeps(row) or (mask_seen and item in HISTORIES[user]):
            continue
        full = (
            row[column] is not None
            and sum(COLUMNS[other][column] == row[column] for other in chosen) >= most
            for column, most in dict(at_most).items()
        )
        if any(full):
            continue
        chosen.append(item)
    return chosen[:k]


CONDITIONS = {
    "colour = 'red'": lambda row: row["colour"] == "red",
    "colour <> 'red'": lambda row: row["colour"] not in ("red", None),
    "size > 1 and not (colour = 'blue')": lambda row: row["size"] > 1 and row["colour"] == "red",
    "size between 2 and 3 or colour is null": lambda row: (
        row["size"] in (2, 3) or row["colour"] is None
    ),
    "id in ('i001', 'i002', 'i299')": lambda row: row["id"] in ("i001", "i002", "i299"),
    "title like '%7' and one = 1": lambda row: (row["title"] or "").endswith("7"),
    "false": lambda row: False,
}
SOME = st.lists(st.sampled_from(IDS), max_size=40, unique=True)
FEW = st.lists(st.sampled_from(IDS), max_size=4, unique=True)


@given(
    where=st.none() | st.sampled_from(sorted(CONDITIONS)),
    allow=st.none() | SOME.filter(len),
    block=SOME,
    at_most=st.dictionaries(st.sampled_from(["colour", "size", "one"]), st.integers(1, 6)),
    pinned=FEW,
    mask_seen=st.booleans(),
    k=st.sampled_from([1, 3, 10, 60, N_ITEMS]),
)
@settings(max_examples=150)
def test_lists_equal_the_slow_way(where, allow, block, at_most, pinned, mask_seen, k):
    block = [item for item in block if item not in pinned]
    rules = {"where": where, "allow": allow, "block": block, "at_most": at_most,
             "pinned": pinned, "mask_seen": mask_seen}  # fmt: skip

    def keeps(row):
        return (
            (where is None or CONDITIONS[where](row))
            and (allow is None or row["id"] in allow)
            and row["id"] not in block
        )

    found = SERVICE.recommend(list(range(N_USERS)), k, rules=rules)
    for user in range(N_USERS):
        mine = found.filter(pl.col("user") == user)
        wanted = by_hand(user, k, keeps, at_most, pinned, mask_seen)
        assert mine["item"].to_list() == wanted
        assert mine["rank"].to_list() == list(range(1, len(wanted) + 1))
        assert mine["title"].to_list() == [COLUMNS[item]["title"] for item in wanted]
        assert mine["score"].to_list() == [SCORES[user, IDS.index(item)] for item in wanted]
        one = SERVICE.recommend(user, k, rules=Rules.of(rules))
        assert one.equals(mine)


def test_a_limit_far_down_the_list_is_found(limit):
    """Of 260 best items only two may be listed, so that three rounds are read, block by block."""
    limit(paired=700)
    best = np.argsort(-SCORES, 1)[:, :260]
    kinds = np.full(N_ITEMS, 1)
    for_user = SERVICE.recommend([0, 1], 5, rules={"at_most": {"one": 2}})
    assert for_user.height == 4
    rare = [n for n in range(N_ITEMS) if n not in set(best[0])][:30]
    kinds[rare] = np.arange(2, 32)
    table = TABLE.with_columns(kind=pl.Series(kinds))
    found = service(table).recommend(
        list(range(N_USERS)), 8, mask_seen=False, rules={"at_most": {"kind": 2}}
    )
    for user in range(N_USERS):
        wanted, number = [], {}
        for n in np.argsort(-SCORES[user]):
            number[kinds[n]] = number.get(kinds[n], 0) + 1
            if number[kinds[n]] <= 2:
                wanted.append(IDS[n])
        assert found.filter(pl.col("user") == user)["item"].to_list() == wanted[:8]


def test_items_without_a_value_follow_however_far_down():
    """The best 60 items are of one kind, and no other item has a value."""
    kinds = np.full(N_ITEMS, None, dtype=object)
    kinds[np.argsort(-SCORES[0])[:60]] = "kind"
    table = TABLE.with_columns(kind=pl.Series(kinds.tolist(), dtype=pl.String))
    rules = {"at_most": {"kind": 1}}
    found = service(table).recommend(0, 5, mask_seen=False, rules=rules)
    order = np.argsort(-SCORES[0])
    assert found["item"].to_list() == [IDS[n] for n in [order[0], *order[60:64]]]


def test_three_of_a_million():
    """The best of few allowed items come out, wherever they are."""
    n = 1_000_000
    scores = np.random.default_rng(1).normal(size=(2, n)).astype(np.float32)
    frame = pl.DataFrame({"user": np.zeros(n, np.int64), "item": np.arange(n)})
    log = Interactions.read(pl.concat([frame, pl.DataFrame({"user": [1], "item": [5]})]))
    recommender = Recommender(Given(scores), log, length=1, mask_seen=False)
    allow = [999_999, 123_456, 7]
    wanted = sorted(allow, key=lambda item: -scores[1, item])
    for users in (1, [1, 0]):
        found = recommender.recommend(users, 10, rules={"allow": allow, "mask_seen": False})
        assert found.filter(pl.col("user") == 1)["item"].to_list() == wanted


def test_without_rules_the_list_is_the_same():
    plain = SERVICE.recommend([0, 1], 7)
    assert SERVICE.recommend([0, 1], 7, rules={}).equals(plain)
    assert service(None).recommend([0, 1], 7).equals(plain.drop("title"))


def test_the_argument_is_above_the_rule():
    seen = SERVICE.recommend(0, N_ITEMS, mask_seen=False, rules={"mask_seen": True})
    assert set(seen["item"]) >= HISTORIES[0]


def test_masks_are_kept_by_the_value_of_the_rules():
    items = service().items
    first = items.allowed(Rules.of({"where": "size > 1", "block": ["i001"]}))
    assert items.allowed(Rules.of({"where": "size > 1", "block": ["i001"]})) is first
    assert items.allowed(Rules.of({"where": "size > 1"})) is not first
    assert items.allowed(Rules.of({"at_most": {"size": 1}})) is None


@pytest.mark.parametrize(
    "rules",
    [
        {"wher": "size > 1"},
        {"at_most": {"size": 0}},
        {"at_most": {"size": True}},
        {"allow": "i001"},
        {"allow": [1.5]},
        {"block": ["i001"], "pinned": ["i001"]},
        "size > 1",
        {"where": 3},
        {"mask_seen": "maybe"},
        {"allow": ["nothing", "known"]},
        {"pinned": ["i001", "unknown"]},
        {"at_most": {"colours": 1}},
        {"at_most": {"tags": 1}},
    ],
)
def test_rules_that_cannot_be_used(rules):
    with refused(RulesError):
        SERVICE.recommend(0, rules=rules)


def test_an_empty_list_of_allowed_items_is_told_as_such():
    with refused(RulesError) as caught:
        SERVICE.recommend(0, rules={"allow": []})
    assert str(caught.value).startswith("allow is empty")


@pytest.mark.parametrize("rules", [{"where": "size > 1"}, {"at_most": {"size": 1}}])
def test_rules_on_columns_need_a_table(rules):
    with refused(RulesError):
        service(None).recommend(0, rules=rules)


def test_ids_of_another_kind_are_refused():
    log = Interactions.read(pl.DataFrame({"user": [1, 1, 1], "item": [1, 2, 3]}))
    scores = np.arange(3.0)[None]
    with refused(DataError):
        Recommender(Given(scores), log, length=1).recommend(1, rules={"block": ["tea"]})


def test_blocked_and_allowed_items_that_are_unknown_are_passed_over():
    rules = {"allow": ["i001", "i003", "unknown"], "block": ["unknown too"]}
    assert set(SERVICE.recommend(0, rules=rules)["item"]) == {"i001", "i003"}


@pytest.mark.parametrize("module", ["rules", "catalogue", "items", "ruled", "where", "similar"])
def test_no_torch_is_needed(module):
    code = (
        f"import softrec.serving.{module}, sys; from softrec.serving import Catalogue, Rules; "
        "import polars as pl; from softrec.data.vocabulary import Vocabulary; "
        "c = Catalogue.read(pl.DataFrame({'id': ['a', 'b'], 'n': [1, 2]})); "
        "v = Vocabulary(pl.Series(['a', 'b'])); "
        "assert Rules(where='n > 1').mask(c, v).tolist() == [False, True]; "
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    without = Path(__file__).parents[1] / "without.py"
    subprocess.run([sys.executable, without, "torch,lightning", code], check=True)
