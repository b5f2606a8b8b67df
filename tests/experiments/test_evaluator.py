"""From the evaluation section of a recipe to the numbers of a run: no field is ignored."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from messages import refused
from softrec.cli import main as cli
from softrec.data import splits
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import Split
from softrec.errors import DataError
from softrec.evaluation.negatives import sampled_negatives
from softrec.experiments import evaluator as evaluator_file
from softrec.experiments.build.data import load_split
from softrec.experiments.compare import compare_targets
from softrec.experiments.evaluator import Evaluator, means
from softrec.experiments.train import fit_recipe, open_run
from softrec.progress import telling
from softrec.recipe.recipe import Recipe, read_recipe
from softrec.types import Batch, Encoder, ItemVectors, Vectors

N_ITEMS = 12


def recipe_of(**evaluation) -> Recipe:
    metrics = evaluation.pop("metrics", ["ndcg@10"])
    return read_recipe(
        {"data": {"source": "log.csv"}, "evaluation": {"metrics": metrics, **evaluation},
         "training": {"monitor": metrics[0], "length": 3}}
    )  # fmt: skip


def split_of(*lists: list[int]) -> Split:
    """Leave-last-out of users and items that are their own numbers; one more user takes all."""
    return leave_out([*lists, list(range(N_ITEMS))])


def leave_out(lists: list[list[int]]) -> Split:
    log = Interactions.from_sequences(Sequences.of(lists))
    assert log.n_items == N_ITEMS
    return splits.leave_last_out(log, cold="keep")


class Fixed(Encoder):
    """Vectors by heart, the same for all users: the score of item i falls with i."""

    n_items = N_ITEMS

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Batch] = []

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        self.asked.append(batch)
        return Vectors(torch.ones(len(batch.user), 2), items or self.items())

    def items(self) -> ItemVectors:
        """Item 11 is short but lies in the direction of users, item 0 long and beside it."""
        x = torch.arange(N_ITEMS, 0, -1).float()
        return ItemVectors(torch.stack([x, torch.ones(N_ITEMS)], 1))


NEW = [[0, 1, 5, 7, 9], [2, 3, 4, 0, 1]]
AGAIN = [[0, 1, 5, 0, 1], [2, 3, 4, 3, 8]]


def test_metrics_are_those_of_the_recipe():
    table = Evaluator(recipe_of(metrics=["recall@3", "mrr@7"]), split_of(*NEW), "test").per_user(
        Fixed()
    )
    assert table.columns == ["user", "rank", "recall@3", "mrr@7"]
    assert means(table).keys() == {"recall@3", "mrr@7"}


def test_a_model_reads_as_much_as_it_was_trained_on():
    encoder = Fixed()
    Evaluator(recipe_of(), split_of(*NEW), "test").per_user(encoder)
    assert encoder.asked[0].history[:2].tolist() == [[1, 5, 7], [3, 4, 0]]


@pytest.mark.parametrize(
    ("lists", "mask", "ranks"),
    [
        (NEW, None, [6, 1]),  # of 0..11 without 0 1 5 7: 9 is the sixth; without 2 3 4 0: 1
        (NEW, True, [6, 1]),
        (NEW, False, [10, 2]),
        (AGAIN, None, [2, 9]),  # 1 is the second of all
        (AGAIN, False, [2, 9]),
        (AGAIN, True, [6]),  # 8 among 0 1 5 6 7 8 ...; the first user asks for nothing new
    ],
)
def test_what_competes(lists, mask, ranks):
    evaluator = Evaluator(recipe_of(mask_seen=mask), split_of(*lists), "test")
    table = evaluator.per_user(Fixed())
    assert table["rank"].to_list()[: len(ranks)] == ranks
    assert table["user"].to_list()[: len(ranks)] == ([0, 1] if len(ranks) == 2 else [1])


def test_the_score_that_ranks():
    """By products item 0 comes first; by angles item 11, of which x is as long as y."""
    split = split_of([3, 4, 5, 6, 0])
    for score, rank in (("inner", 1), ("cosine", N_ITEMS)):
        recipe = recipe_of(score=score, mask_seen=False)
        assert Evaluator(recipe, split, "test").per_user(Fixed())["rank"][0] == rank


@pytest.mark.parametrize("negatives", [None, 5])
def test_lists_are_of_the_whole_catalogue_at_the_cut_off_of_the_selection_metric(negatives):
    """Item i scores lower than i - 1, so that each list has the first two unseen items."""
    recipe = recipe_of(metrics=["ndcg@2", "recall@7"], negatives=negatives)
    split = leave_out([[0, 1, 5, 7, 9], [2, 3, 4, 0, 6], [8, 10, 11, 1, 2]])
    evaluator = Evaluator(recipe, split, "test")
    table, lists = evaluator.with_lists(Fixed())
    assert table.equals(evaluator.per_user(Fixed()))
    listed = [2, 3, 1, 5, 0, 2]  # unseen by 0 1 5 7, by 2 3 4 0, by 8 10 11 1
    assert lists["k"] == 2
    assert lists["coverage"] == pytest.approx(5 / 12)
    assert lists["popularity"] == pytest.approx(evaluator.events[listed].mean())
    assert set(lists) == {"k", "coverage", "gini", "popularity", "novelty", "tail_fraction"}


def test_a_run_and_the_command_line_say_what_the_lists_are_like(runs, capsys):
    run = open_run(runs / "all")
    _, again = Evaluator(run.recipe, run.split(), "test").with_lists(run.model())
    assert run.lists == pytest.approx(again)
    assert run.lists["k"] == 10
    with pytest.raises(SystemExit):
        cli.main(["evaluate", str(runs / "all")])
    told = capsys.readouterr().out
    assert "top-10 lists" in told
    shown = dict(row[-2:] for line in told.splitlines() if len(row := line.split()) > 1)
    assert shown["coverage"] == f"{run.lists['coverage']:.4f}"
    assert shown["fraction"] == f"{run.lists['tail_fraction']:.4f}"


# --- drawn negatives ---

TAKERS = [list(np.random.default_rng(user).permutation(N_ITEMS)[:8]) for user in range(40)]


def negatives_of(evaluator: Evaluator) -> np.ndarray:
    assert evaluator.negatives is not None
    return evaluator.negatives


@pytest.mark.parametrize("part", ["valid", "test"])
def test_negatives_were_never_taken_in_any_part(part):
    """Who knows the training part alone draws items of validation and test."""
    evaluator = Evaluator(recipe_of(negatives=50), leave_out(TAKERS), part)
    drawn = negatives_of(evaluator)
    assert drawn.shape == (len(TAKERS), 50)
    for user, row in zip(evaluator.cases.user, drawn, strict=True):
        assert set(row.tolist()) == set(range(N_ITEMS)) - set(TAKERS[user])  # and all others come


def several() -> Split:
    """Two test items of each user and more."""
    log = Interactions.from_sequences(Sequences.of(TAKERS))
    return splits.by_user_ratio(log, test=0.3, cold="keep")


def test_several_relevant_items_among_negatives_are_refused_before_a_model_is_asked():
    assert not Evaluator(recipe_of(), several(), "test").cases.single
    with refused(DataError):
        Evaluator(recipe_of(negatives=5), several(), "test")


@pytest.mark.slow
def test_a_comparison_refuses_them_before_anything_is_trained(tmp_path):
    rows = [(u, i) for u, items in enumerate(TAKERS) for i in items]
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(tmp_path / "log.csv")
    base = recipe_of(negatives=5)
    data = {"source": str(tmp_path / "log.csv"), "split": "user-ratio", "test_fraction": 0.3}
    base = read_recipe(base.model_dump(mode="json") | {"data": data})
    with refused(DataError):
        compare_targets(base, [{"name": "one-hot"}, {"name": "uniform"}], tmp_path / "c")
    assert not (tmp_path / "c.part").exists()


def test_more_negatives_than_fit_into_the_memory_are_named(monkeypatch):
    def too_many(*args):
        raise MemoryError

    monkeypatch.setattr(evaluator_file, "sampled_negatives", too_many)
    with refused(DataError):
        Evaluator(recipe_of(negatives=10**8), leave_out(TAKERS), "test")


def test_the_draw_is_that_of_its_seed_and_the_same_for_both_parts():
    split = leave_out(TAKERS)
    valid, test, other = (
        negatives_of(Evaluator(recipe_of(negatives=20, negatives_seed=seed), split, part))
        for seed, part in ((3, "valid"), (3, "test"), (4, "test"))
    )
    np.testing.assert_array_equal(valid, test)
    np.testing.assert_array_equal(
        test, sampled_negatives(N_ITEMS, Sequences.of(TAKERS), np.arange(40), 20, 3)
    )
    assert (test != other).any()


def test_items_rank_among_the_negatives():
    split = leave_out(TAKERS)
    evaluator = Evaluator(recipe_of(negatives=5), split, "test")
    table = evaluator.per_user(Fixed())
    rivals, label = negatives_of(evaluator), evaluator.cases.relevant.items
    assert table["rank"].to_list() == (1 + (rivals <= label[:, None]).sum(1)).tolist()


@pytest.mark.parametrize("part", ["valid", "test"])
def test_where_all_items_are_ranked_the_history_is_among_the_negatives(part):
    lists = [[*items[:6], items[0], items[1]] for items in TAKERS]
    lists[0] = list(range(N_ITEMS))  # so that all items are in the log
    evaluator = Evaluator(recipe_of(negatives=400), leave_out(lists), part)
    assert not evaluator.asked.mask_seen
    for user, row in zip(evaluator.cases.user, negatives_of(evaluator), strict=True):
        later = lists[user][-2:] if part == "valid" else lists[user][-1:]
        assert set(row.tolist()) == set(range(N_ITEMS)) - set(later)


# --- one answer for training, test, service and report ---

TINY = {"model": {"name": "gru4rec", "dim": 8},
        "training": {"epochs": 2, "batch_size": 16, "length": 5}}  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """Users who often take the same again: 30 of 40 test items stand in the history."""
    draw = np.random.default_rng(0)
    rows = [draw.choice(20, 6, replace=False).tolist() for _ in range(40)]
    rows = [[*items, items[2], items[3] if user < 30 else (set(range(20)) - set(items)).pop()]
            for user, items in enumerate(rows)]  # fmt: skip
    path = tmp_path_factory.mktemp("log") / "log.csv"
    pl.DataFrame(
        {"user": np.repeat(np.arange(40), 8), "item": [item for row in rows for item in row]}
    ).write_csv(path)
    return path


@pytest.fixture(scope="module")
def runs(log, tmp_path_factory) -> Path:
    """Two runs of that log: as it is, and of new items alone."""
    folder = tmp_path_factory.mktemp("runs")
    for name, evaluation in (("all", {}), ("new", {"mask_seen": True})):
        recipe = read_recipe({"data": {"source": str(log)}, "evaluation": evaluation} | TINY)
        if name == "new":  # validation asks for nothing new there
            frame = pl.read_csv(log).with_columns(
                pl.when(pl.int_range(pl.len()) % 8 == 6).then(pl.col("user") % 20)
                .otherwise(pl.col("item")).alias("item")
            )  # fmt: skip
            frame.write_csv(log.with_name("new.csv"))
            recipe = read_recipe(
                {"data": {"source": str(log.with_name("new.csv"))}, "evaluation": evaluation} | TINY
            )
        told: list[str] = []
        with telling(write=told.append):
            fit_recipe(recipe, folder / name)
        (folder / f"{name}.txt").write_text("\n".join(told))
    return folder


def test_a_run_says_what_it_was_judged_by(runs):
    facts = json.loads((runs / "all" / "run.json").read_text())["evaluation"]
    assert facts == {
        "mask_seen": False, "by_log": True,
        "valid": {"cases": 40, "cases_left_out": 0, "relevant": 40, "repeated": 40},
        "test": {"cases": 40, "cases_left_out": 0, "relevant": 40, "repeated": 30},
    }  # fmt: skip
    told = (runs / "all.txt").read_text()
    assert told.count("all items are ranked, including seen items, because 40 of 40 valid") == 1
    facts = json.loads((runs / "new" / "run.json").read_text())["evaluation"]
    assert (facts["mask_seen"], facts["by_log"]) == (True, False)
    assert facts["test"]["cases_left_out"] == facts["test"]["repeated"] >= 30
    assert len(open_run(runs / "new").per_user) == facts["test"]["cases"] < 11


@pytest.mark.parametrize("name", ["all", "new"])
def test_validation_and_test_are_judged_alike(runs, name):
    """The numbers of the best epoch are those of an evaluator made anew."""
    run = open_run(runs / name)
    split = load_split(run.recipe.data)
    for part, found in (("valid", run.valid), ("test", run.test)):
        again = Evaluator(run.recipe, split, part)
        assert again.asked.mask_seen is run.mask_seen is (name == "new")
        assert again.means(run.encoder()) == pytest.approx(found, rel=1e-6)


def test_the_service_follows_the_run(runs):
    """Nothing of the history is recommended by the run that was judged by new items."""
    for name, repeats in (("all", True), ("new", False)):
        run = open_run(runs / name)
        service = run.recommender()
        for options, wanted in (({}, repeats), ({"mask_seen": True}, False),
                                ({"mask_seen": False}, True)):  # fmt: skip
            table = service.recommend([0], 20, **options)
            history = set(run.log.sequences[0].tolist())
            assert bool(set(table["item"].to_list()) & history) is wanted
            assert len(table) == (run.log.n_items if wanted else run.log.n_items - len(history))


@pytest.mark.parametrize(
    ("name", "option", "repeats"),
    [("all", None, True), ("all", "--mask-seen", False), ("all", "--keep-seen", True),
     ("new", None, False), ("new", "--keep-seen", True)],
)  # fmt: skip
def test_the_command_line_follows_the_run(runs, tmp_path, name, option, repeats):
    out = tmp_path / "best.csv"
    with pytest.raises(SystemExit) as done:
        cli.main(["recommend", str(runs / name), "--user", "0", "-k", "20", "--out", str(out),
                  *([option] if option else [])])  # fmt: skip
    assert done.value.code == 0
    history = set(open_run(runs / name).log.sequences[0].tolist())
    assert bool(set(pl.read_csv(out)["item"].to_list()) & history) is repeats


def test_evaluate_says_it_too(runs, capsys):
    with pytest.raises(SystemExit):
        cli.main(["evaluate", str(runs / "all")])
    assert "all items are ranked, including seen items" in capsys.readouterr().err


@pytest.mark.slow
def test_a_comparison_names_what_it_ranks(log, tmp_path):
    told: list[str] = []
    base = read_recipe({"data": {"source": str(log)}} | TINY)
    targets = [{"name": "one-hot"}, {"name": "uniform", "alpha": 0.1}]
    with telling(write=told.append):
        found = compare_targets(base, targets, tmp_path / "compared")
    sentence = "all items are ranked, including seen items, because 40 of 40 validation items"
    assert sum(sentence in line for line in told) == 1
    assert found.results.evaluation["mask_seen"] is False
    assert sentence[1:] in (found.folder / "report.html").read_text()
