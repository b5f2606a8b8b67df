"""An update: new events go into a run, and the newest of them decide whether it is accepted."""

import numpy as np
import polars as pl
import pytest

import softrec
from kills import killed
from messages import refused
from softrec.data.interactions import Interactions
from softrec.errors import DataError, RunError
from softrec.evaluation.significance import paired
from softrec.experiments import refit as refitting
from softrec.experiments import train as training
from softrec.experiments.evaluator import Evaluator
from softrec.experiments.train import fit_recipe
from softrec.experiments.updating import update as updating
from softrec.experiments.updating.gate import Found, Gate
from softrec.experiments.updating.told import held_lines, verdict_lines
from softrec.experiments.updating.update import open_update
from softrec.files import read_facts
from softrec.recipe.recipe import read_recipe
from softrec.simulation import make_shop, simulate

DAY = 86_400
SMALL = {"name": "gru4rec", "dim": 16}


def shop_log(seed, *, shop=0, users=300, first_user=0, begin=0, length=12, items=80):
    """A frame of raw events, about a day apart, of a shop whose truth is that of its seed."""
    made = make_shop(items, 8, 6, seed=shop, drift=0.0, noise=0.01, complementarity=1.0,
                     stickiness=0.9)  # fmt: skip
    log = simulate(made, users, length, length, seed=seed, open_test=False)
    users_, items_ = log.ordered["user"].to_numpy(), log.ordered["item"].to_numpy()
    rng = np.random.default_rng(seed)
    time = begin * DAY + (np.arange(len(users_)) % length) * DAY + rng.integers(DAY, size=len(log))
    names = log.items.ids(items_)
    return pl.DataFrame({"user": users_.astype(int) + first_user, "item": names, "time": time})


def recipe_of(model=SMALL, **training):
    return read_recipe({
        "data": {"source": "memory:old"},
        "model": model,
        "training": {"epochs": 8, "length": 10, "accelerator": "cpu", "batch_size": 32, "lr": 0.01,
                     "patience": 3, **training},
        "evaluation": {"metrics": ["ndcg@10", "recall@10"], "mask_seen": True},
    })  # fmt: skip


OLD = shop_log(0)
SHIFTED = shop_log(1, shop=1, begin=12)
"""The same users, whose wishes now follow another shop."""


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return fit_recipe(
        recipe_of(), tmp_path_factory.mktemp("old") / "run", log=Interactions.read(OLD)
    )


@pytest.fixture(scope="module")
def updated(old, tmp_path_factory):
    """An update after a shift, with new users and new items."""
    new = shop_log(2, shop=1, users=60, first_user=1000, begin=12)
    odd = pl.col("item") < "sku-0010"
    renamed = pl.when(odd).then("new-" + pl.col("item")).otherwise("item")
    events = pl.concat([SHIFTED, new]).with_columns(item=renamed)
    known = OLD.head(100)
    out = tmp_path_factory.mktemp("new") / "run"
    return softrec.update(old.folder, pl.concat([known, events]), out=out, progress=False)


def test_after_a_shift_the_new_model_is_better(updated):
    assert updated.accepted
    assert updated.facts["gate"]["verdict"] == "better"
    own = updated.facts["gate"]["metrics"]["ndcg@10"]
    assert own["new"] > 1.5 * own["old"]
    assert own["low"] > 0
    assert set(updated.facts["gate"]["baselines"]) == {"popularity", "markov"}


def test_what_is_new_is_counted(updated, old):
    data = updated.facts["data"]
    assert (data["known"], data["duplicates"], data["doubtful"], data["left_out"]) == (
        3600,
        100,
        0,
        0,
    )
    assert data["new"] == 3600 + 720
    assert updated.facts["held_out"]["late"] == 0
    assert updated.facts["held_out"]["leak"] is None
    assert data["users"] == {"all": 360, "new": 60, "gone": 0}
    assert data["items"] == {"all": len(old.log.items) + 10, "new": 10, "gone": 0}
    assert updated.facts["drift"]["catalogue"]["events_of_new_items"] > 0.05
    assert updated.facts["drift"]["popularity"]["total_variation"]["unusual"]


def test_it_is_a_run_that_knows_new_users_and_items(updated, old):
    run = softrec.open_run(updated.run.folder)
    assert run.log.items.raw.head(len(old.log.items)).equals(old.log.items.raw)
    assert run.log.users.raw.head(300).equals(old.log.users.raw)
    best = run.recommender().recommend([1005], 80)
    assert any(str(item).startswith("new-") for item in best["item"])
    assert len(run.log) == 3600 + 4320
    assert run.test == pytest.approx(
        {name: own["new"] for name, own in updated.facts["gate"]["metrics"].items()}
    )
    assert read_facts(run.folder / "update.json") == updated.facts
    assert open_update(run).accepted


def test_nothing_of_the_newest_events_is_trained_on(updated):
    split = updated.run.split()
    assert split.train.frame["time"].max() < split.valid.frame["time"].min()
    assert split.valid.frame["time"].max() < split.test.frame["time"].min()
    assert split.leak() is None


def by_hand(run, updated):
    """NDCG@10 of a run on the newest events, with a loop over users and sets of raw ids."""
    split = updated.run.split()
    users, items = split.train.users.raw.to_list(), split.train.items.raw.to_list()
    before, after = split.before("test").sequences, split.test.sequences
    own = run.recommender()
    found = []
    for user in range(len(users)):
        past = [items[i] for i in before[user]]
        asked = {items[i] for i in after[user]} - set(past)
        if not past or not asked:
            continue
        known = [item for item in past if item in set(run.log.items.raw)]
        best = own.recommend(histories=[known], k=10)["item"].to_list() if known else []
        gains = sum(1 / np.log2(rank + 2) for rank, item in enumerate(best) if item in asked)
        ideal = sum(1 / np.log2(rank + 2) for rank in range(min(10, len(asked))))
        new = (users[user] >= 1000, any(item.startswith("new-") for item in asked))
        found.append((gains / ideal, *new))
    return np.array(found)


def test_both_models_are_judged_as_by_hand(updated, old):
    """The old model skips items that it does not know, and misses them where they are asked."""
    first, second = by_hand(old, updated), by_hand(updated.run, updated)
    gate = updated.facts["gate"]
    own = gate["metrics"]["ndcg@10"]
    assert gate["cases"] == len(first)
    assert own["old"] == pytest.approx(first[:, 0].mean(), abs=1e-5)
    assert own["new"] == pytest.approx(second[:, 0].mean(), abs=1e-5)
    wanted = paired(first[:, 0], second[:, 0])
    assert (own["low"], own["high"]) == pytest.approx((wanted.low, wanted.high), abs=1e-5)
    for name, column in (("new users", 1), ("new items", 2)):
        group, rows = gate["groups"][name], first[:, column] == 1
        assert group["cases"] == rows.sum() > 0
        assert group["old"] == pytest.approx(first[rows, 0].mean(), abs=1e-5)
        assert group["new"] == pytest.approx(second[rows, 0].mean(), abs=1e-5)
    assert gate["groups"]["known"]["cases"] == (~first[:, 1:].any(1)).sum()


def shuffled(frame, seed=0):
    """The same events with the items of others."""
    return frame.with_columns(item=pl.col("item").shuffle(seed))


def test_an_update_with_garbage_is_not_accepted(old, tmp_path):
    """Only the newest third is as it should be: what was learned in between is wrong."""
    good = shop_log(1, begin=12)
    late = good["time"] > good["time"].quantile(0.7)
    lines = [good.filter(late), *(shuffled(good.filter(~late), seed) for seed in range(1))]
    options = {"epochs": 20, "patience": 20, "lr": 0.05}
    found = softrec.update(old.folder, pl.concat(lines), out=tmp_path / "run", newest=0.2,
                           progress=False, **options)  # fmt: skip
    assert not found.accepted
    assert found.facts["gate"]["verdict"] == "worse"
    assert softrec.open_run(tmp_path / "run").folder.exists()


def test_new_events_that_nothing_explains_are_not_accepted(old, tmp_path):
    found = softrec.update(old.folder, shuffled(shop_log(1, begin=12)), out=tmp_path / "run",
                           epochs=1, progress=False)  # fmt: skip
    assert not found.accepted
    assert found.facts["gate"]["verdict"] == "unclear"


KILLS = {
    "training": (Evaluator, "means", 2),
    "gate": (updating, "judged", 1),
    "refit": (training, "refitted", 1),
    "second epoch of refit": (refitting.Replay, "means", 2),
    "weights": (training, "sealed", 2),
    "end": (training, "forget", 1),
}
"""What is called where a kill is tried, and in which call."""
KILLED = {"epochs": 2, "checkpoint_steps": 2, "progress": False, "refit": True, "margin": 1}


@pytest.fixture(scope="module")
def whole(old, tmp_path_factory):
    """An update that nothing interrupted."""
    return softrec.update(
        old.folder, SHIFTED, out=tmp_path_factory.mktemp("whole") / "run", **KILLED
    )


@pytest.mark.parametrize("place", KILLS)
def test_a_kill_loses_nothing(old, whole, tmp_path, place):
    """In the second epoch, or while both are judged: it goes on, and ends as without a kill."""
    holder, name, last = KILLS[place]
    with killed(holder, name, last):
        softrec.update(old.folder, SHIFTED, out=tmp_path / "run", **KILLED)
    assert (tmp_path / "run.part").exists()
    again = softrec.update(old.folder, SHIFTED, out=tmp_path / "run", **KILLED)
    assert again.run.weights_fingerprint == whole.run.weights_fingerprint
    assert again.facts["gate"] == whole.facts["gate"]
    assert not (tmp_path / "run.part").exists()


@pytest.mark.parametrize("model", ["gru4rec", "lightgcn", "popularity"])
def test_a_refit_knows_the_newest_events_and_says_so(old, tmp_path, model):
    """Its metrics are those of the judged training, and so is its budget."""
    start = old
    if model != "gru4rec":
        fields = recipe_of().model_dump(mode="json")
        small = {"dim": 8, "layers": 1} if model == "lightgcn" else {}
        fields["model"] = {"name": model, **small}
        training = {"windows": "interactions", "epochs": 1, "length": 10, "accelerator": "cpu"}
        fields["training"] = training if model == "lightgcn" else {"length": 10}
        start = fit_recipe(read_recipe(fields), tmp_path / "old", log=Interactions.read(OLD))
    options = {"progress": False, "margin": 1, "floor": 0}
    options |= {} if model == "popularity" else {"epochs": 1}
    once = softrec.update(start.folder, SHIFTED, out=tmp_path / "once", **options)
    both = softrec.update(start.folder, SHIFTED, out=tmp_path / "both", refit=True, **options)
    assert (once.facts["refit"], both.facts["refit"]) == (False, True)
    assert both.facts["gate"] == once.facts["gate"]
    assert both.run.test == once.run.test
    assert both.run.weights_fingerprint != once.run.weights_fingerprint
    assert both.run.refit == both.run.facts["refit"] == "all"
    assert len(both.run.trained_on) == len(both.run.log) == len(once.run.log)
    assert sorted(path.name for path in both.run.folder.iterdir()) == sorted(
        path.name for path in once.run.folder.iterdir()
    )
    assert len(both.run.recommender().recommend([0], 5)) == 5
    if model == "popularity":
        counts = both.run.log.item_counts
        best = both.run.recommender().recommend([0], 300, mask_seen=False)["item"].to_list()
        assert (np.diff(counts[both.run.log.items.numbers(best)]) <= 0).all()
    if model == "lightgcn":
        graph = both.run.encoder().graph
        pairs = both.run.log.frame.select("user", "item").n_unique()
        assert graph.degrees().sum() == 2 * pairs


def test_what_is_not_accepted_is_not_fitted_again(old, tmp_path):
    found = softrec.update(old.folder, shuffled(shop_log(1, begin=12)), out=tmp_path / "run",
                           epochs=1, refit=True, progress=False)  # fmt: skip
    assert not found.accepted
    assert found.facts["refit"] is False
    assert len(found.run.trained_on) < len(found.run.log)


@pytest.mark.parametrize("model", ["popularity", "markov", "mf"])
def test_other_kinds_of_models(tmp_path, model):
    """Counted ones are counted again; one with rows of users gets rows of new users."""
    fields = recipe_of().model_dump(mode="json")
    fields["model"] = {"name": model, **({"dim": 8} if model == "mf" else {})}
    own = {"windows": "interactions", "length": 10, "epochs": 2, "accelerator": "cpu"}
    fields["training"] = own if model == "mf" else {"length": 10}
    old = fit_recipe(read_recipe(fields), tmp_path / "old", log=Interactions.read(OLD))
    new = pl.concat(
        [shop_log(1, shop=1, begin=12), shop_log(3, users=40, first_user=900, begin=12)]
    )
    found = softrec.update(old.folder, new, out=tmp_path / "new", progress=False)
    assert found.run.log.n_users == 340
    assert found.facts["gate"]["groups"]["new users"]["cases"] > 0
    if model == "popularity":
        counts = found.run.trained_on.item_counts
        ranked = found.run.recommender().recommend([900], 300)["item"].to_list()
        order = counts[found.run.log.items.numbers(ranked)]
        assert (np.diff(order) <= 0).all()
    if model == "mf":
        assert found.facts["gate"]["groups"]["new users"]["old"] == 0


def test_an_update_can_be_updated(updated, tmp_path):
    later = shop_log(5, shop=1, begin=24)
    found = softrec.update(updated.run.folder, later, out=tmp_path / "next", epochs=1,
                           progress=False)  # fmt: skip
    assert found.facts["data"]["known"] == len(updated.run.log)
    assert found.run.recipe.training.start == str(updated.run.folder)
    trained = found.run.trained_on
    assert len(trained) > len(updated.run.log)  # also what the update before held out


def test_of_a_link_the_run_behind_it_is_kept(old, tmp_path):
    (tmp_path / "now").symlink_to(old.folder)
    found = softrec.update(tmp_path / "now", SHIFTED, out=tmp_path / "next", epochs=1,
                           progress=False)  # fmt: skip
    assert found.run.recipe.training.start == str(old.folder.resolve())
    assert found.facts["old"]["folder"] == str(old.folder.resolve())


def test_cleaning_is_that_of_the_recipe(tmp_path):
    """Ratings below 4 are left out, and so are new items with too few events."""
    fields = recipe_of().model_dump(mode="json")
    fields["data"]["clean"] = ["min-weight=4", "min-item=3"]
    fields["model"], fields["training"] = {"name": "popularity"}, {"length": 10}
    log = Interactions.read(OLD.with_columns(rating=pl.lit(5)))
    old = fit_recipe(read_recipe(fields), tmp_path / "old", log=log)
    new = shop_log(1, begin=12).with_columns(rating=pl.lit(4))
    poor = new.head(30).with_columns(rating=pl.lit(3), time=pl.col("time") + 1)
    rare = new.head(2).with_columns(item=pl.lit("rare"))
    found = softrec.update(old.folder, pl.concat([new, poor, rare]), out=tmp_path / "new",
                           progress=False)  # fmt: skip
    assert found.facts["data"]["left_out"] == 32
    assert found.facts["data"]["new"] == len(new)
    assert "rare" not in found.run.log.items.raw
    with refused(DataError):
        softrec.update(old.folder, new.drop("rating"), out=tmp_path / "other")


def test_whole_seconds_are_later_than_fractions_of_seconds(tmp_path):
    """The log of a run has microseconds then, also that of its update."""
    fields = recipe_of().model_dump(mode="json")
    fields["model"], fields["training"] = {"name": "popularity"}, {"length": 10}
    known = Interactions.read(OLD.with_columns(time=pl.col("time") + 0.5))
    folder = fit_recipe(read_recipe(fields), tmp_path / "old", log=known).folder
    for begin in (12, 24):
        new = shop_log(begin, begin=begin)
        found = softrec.update(folder, new, out=tmp_path / f"{begin}", progress=False)
        folder = found.run.folder
        times = found.run.log.frame["time"]
        assert times.max() == new["time"].max() * 10**6
        assert found.facts["data"]["new"] == len(new)


@pytest.mark.parametrize(
    "data",
    [{"order": "shuffled"}, {"first_items": 3}, {"false_positives": 0.1}, {"clean": ["pieces=6"]}],
)
@pytest.mark.filterwarnings("ignore::softrec.data.splits.LeakageWarning")
def test_controls_and_pieces_are_not_updated(tmp_path, data):
    fields = recipe_of().model_dump(mode="json")
    fields["data"] |= data
    fields["model"], fields["training"] = {"name": "popularity"}, {"length": 10}
    fit_recipe(read_recipe(fields), tmp_path / "old", log=Interactions.read(OLD))
    with refused(RunError):
        softrec.update(tmp_path / "old", SHIFTED, out=tmp_path / "new")


def test_an_output_inside_the_old_run_is_refused(old):
    with refused(RunError):
        softrec.update(old.folder, SHIFTED, out=old.folder / "new")


def test_it_is_readable_in_a_notebook(updated):
    html, text = updated._repr_html_(), repr(updated)
    assert text.startswith("Update ")
    assert "accepted, better" in text
    own = updated.facts["gate"]["metrics"]["recall@10"]
    row = "".join(f"<td>{own[name]:.4f}</td>" for name in ("old", "new", "difference"))
    assert f"<tr><td>recall@10</td>{row}" in html
    table = updated.run.recommender()._repr_html_()
    assert "<tr><th>users</th><td>360</td></tr>" in table
    assert "<tr><th>model</th><td>GRU4Rec</td></tr>" in table


def test_a_run_that_is_no_update_says_so(old):
    with refused(RunError):
        open_update(old)


@pytest.mark.parametrize(
    ("numbers", "gate", "wanted"),
    [
        ((0.10, 0.02, 0.01, 0.1), Gate(), (True, "better")),
        ((0.10, -0.0019, -0.01, 0.1), Gate(), (True, "not worse")),
        ((0.10, -0.0021, -0.01, 0.1), Gate(), (False, "worse")),
        ((0.10, -0.0021, -0.01, 0.1), Gate(0.05), (True, "not worse")),
        ((0.10, 0.001, -0.01, 0.1), Gate(strict=True), (False, "unclear")),
        ((0.10, 0.001, -0.0019, 0.1), Gate(strict=True), (True, "not worse")),
        ((0.10, 0.001, float("nan"), 0.1), Gate(strict=True), (False, "unclear")),
        ((0.04, 0.001, -0.01, 0.1), Gate(), (False, "unclear")),
        ((0.06, 0.001, -0.01, 0.1), Gate(), (True, "not worse")),
        ((0.04, 0.001, -0.01, 0.1), Gate(floor=0.3), (True, "not worse")),
        ((0.01, 0.041, 0.01, 0.1), Gate(), (True, "better")),
        ((0.01, 0.039, 0.01, 0.1), Gate(), (False, "unclear")),
        ((0.0, 0.0, 0.0, 0.0), Gate(), (True, "not worse")),
    ],
)
def test_the_verdict(numbers, gate, wanted):
    """Popularity has 0.05 here."""
    assert gate.verdict(Found(*numbers, popular=0.05))[:2] == wanted


def test_a_difference_of_one_user_has_no_interval():
    own = {"old": 0.5, "new": 0.25, "difference": -0.25, "low": float("nan"), "high": float("nan")}
    known = {**own, "cases": 1}
    gate = {
        "metric": "ndcg@10", "metrics": {"ndcg@10": own}, "accepted": False, "cases": 2,
        "verdict": "worse", "reason": "", "groups": {"new": known}, "baselines": {},
    }  # fmt: skip
    _, whole, group = verdict_lines({"gate": gate})
    assert "nan" not in whole + group
    assert group.endswith("difference -0.2500 (one user: no interval)")


def test_what_is_late_and_what_leaks_is_told():
    told = held_lines({"by": "time", "valid": 5, "test": 9, "late": 1200, "leak": "it leaks"})
    assert told[0].startswith("1,200 new events precede known ones of their user")
    assert told[1:] == ["it leaks"]
    assert held_lines({"by": "time", "valid": 5, "test": 9, "late": 0, "leak": None}) == []
