"""What an export answers is what the model answers; its files are what they say they are."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from safetensors.numpy import load_file, save_file
from torch import nn

from messages import refused, warned
from softrec.data.interactions import Interactions
from softrec.errors import DataError, RunError
from softrec.experiments.build.model import training_events
from softrec.files import write_facts
from softrec.models.bsarec import BSARec
from softrec.models.caser import Caser
from softrec.models.comirec import ComiRecSA
from softrec.models.comirec_dr import ComiRecDR
from softrec.models.counted.item_knn import ItemKNN
from softrec.models.counted.popularity import Popularity
from softrec.models.deepfm import DeepFM
from softrec.models.esasrec import ESASRec
from softrec.models.gru4rec import GRU4Rec
from softrec.models.hstu import HSTU, TimedHSTU
from softrec.models.lightgcn import LightGCN
from softrec.models.mf import MF
from softrec.models.mind import MIND
from softrec.models.nfm import NFM
from softrec.models.ngcf import NGCF
from softrec.models.prior import Prior, WithPrior
from softrec.models.sasrec import SASRec
from softrec.models.timirec import TiMiRec
from softrec.models.tisasrec import TiSASRec
from softrec.models.youtubednn import YoutubeDNN
from softrec.scoring import Scored, Scoring
from softrec.serving.base import UnknownItemWarning
from softrec.serving.catalogue import Catalogue
from softrec.serving.exact import best_of
from softrec.serving.exported import ExportedRecommender
from softrec.serving.exporting.parity import check, parity
from softrec.serving.exporting.write import write_files, write_manifest
from softrec.serving.recommender import Recommender
from softrec.types import Encoder, ItemVectors, Vectors

N_USERS, N_ITEMS, LENGTH = 12, 40, 5
ANYBODY = np.random.default_rng(3)
LISTS = [ANYBODY.permutation(N_ITEMS)[: 1 + u].tolist() for u in range(N_USERS)]


def log_of(lists) -> Interactions:
    user = [u for u, items in enumerate(lists) for _ in items]
    frame = pl.DataFrame({"user": user, "item": [i for items in lists for i in items]})
    return Interactions.read(
        frame.with_columns(
            item=pl.format("i{}", pl.col("item").cast(pl.String).str.zfill(2)),
            time=pl.Series(ANYBODY.integers(0, 1000, len(frame))).sort(),
        )
    )


LOG = log_of([*LISTS, list(range(N_ITEMS))])
EDGES = torch.from_numpy(LOG.frame.select("user", "item").to_numpy().astype(np.int64).T.copy())
SIZES = {"dim": 8, "length": LENGTH}


def with_prior(model, **settings):
    """A model with what is counted in the log."""
    prior = Prior(lambda: ItemKNN(N_ITEMS, k=9, recency=0.7), floor=1e-2, **settings)
    prior.fit(training_events(LOG))
    return WithPrior(model, prior)


GRAPH = {"n_users": LOG.n_users, "edges": EDGES, "dim": 8}
QUICK = {
    "sasrec": lambda: SASRec(N_ITEMS, **SIZES),
    "gru4rec": lambda: GRU4Rec(N_ITEMS, dim=8, layers=2, gru_bias=False),
    "prior": lambda: with_prior(SASRec(N_ITEMS, **SIZES), last=3, items=6),
    "popularity": lambda: with_prior(SASRec(N_ITEMS, **SIZES), strength=0.3, popularity=1.5),
    "mf": lambda: MF(N_ITEMS, n_users=LOG.n_users, dim=8, output_bias=True),
}
OTHERS = {
    "sasrec, post": lambda: SASRec(N_ITEMS, **SIZES, layers=1, norm="post", rezero=True),
    "gru4rec, bias": lambda: GRU4Rec(N_ITEMS, dim=8, hidden=6),
    "caser": lambda: Caser(N_ITEMS, **SIZES),
    "nfm": lambda: NFM(N_ITEMS, dim=8, batch_norm=True),
    "youtubednn": lambda: YoutubeDNN(N_ITEMS, dim=8),
    "deepfm": lambda: DeepFM(N_ITEMS, **SIZES),
    "mind": lambda: MIND(N_ITEMS, **SIZES, interests=3, adaptive=True, relu_layer=True),
    "comirec-sa": lambda: ComiRecSA(N_ITEMS, **SIZES, output_bias=True),
    "comirec+": lambda: ComiRecSA(N_ITEMS, **SIZES, transformer=True),
    "comirec-dr": lambda: ComiRecDR(N_ITEMS, **SIZES),
    "timirec": lambda: TiMiRec(N_ITEMS, **SIZES, interests=3),
    "tisasrec": lambda: TiSASRec(N_ITEMS, **SIZES, intervals=16),
    "bsarec": lambda: BSARec(N_ITEMS, **SIZES),
    "esasrec": lambda: ESASRec(N_ITEMS, **SIZES),
    "hstu": lambda: HSTU(N_ITEMS, **SIZES),
    "hstu-time": lambda: TimedHSTU(N_ITEMS, **SIZES),
    "cosines": lambda: Scored(GRU4Rec(N_ITEMS, dim=8), Scoring("cosine", 0.2)),
    "distances": lambda: Scored(TiMiRec(N_ITEMS, **SIZES), Scoring("euclidean")),
    "lightgcn": lambda: LightGCN(N_ITEMS, **GRAPH),
    "mf, prior": lambda: with_prior(MF(N_ITEMS, n_users=LOG.n_users, dim=8, output_bias=True)),
    "comirec, prior": lambda: with_prior(ComiRecSA(N_ITEMS, **SIZES), last=20, popularity=2.0),
    "ngcf": lambda: NGCF(N_ITEMS, **GRAPH),
}
CASES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]


def randomised(model):
    """Weights and running means far from those at the start, where scores are almost equal."""
    torch.manual_seed(7)
    with torch.no_grad():
        for part in model.parameters():
            part += 0.5 * torch.randn_like(part)
        for name, part in model.named_buffers():
            if "running" in name:
                part += torch.rand_like(part)
    return model.eval()


def written(model, folder: Path, **options) -> tuple[Recommender, ExportedRecommender]:
    """A recommender, and the one of its export."""
    recommender = Recommender(randomised(model), LOG, length=LENGTH)
    facts = write_files(recommender, folder, **options)
    write_manifest(folder, facts, {})
    return recommender, ExportedRecommender(folder)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Return a function from the name of a model to its two recommenders."""
    made = {}

    def of(name):
        if name not in made:
            torch.manual_seed(0)  # else which tests ran before changes the weights
            model = {**QUICK, **OTHERS}[name]()
            made[name] = written(model, tmp_path_factory.mktemp("export"))
        return made[name]

    return of


def same(own: pl.DataFrame, theirs: pl.DataFrame) -> None:
    assert len(own)
    assert_frame_equal(theirs, own, rel_tol=1e-4, abs_tol=1e-4)


# --- the same answers ---


@pytest.mark.parametrize("name", CASES)
def test_users_get_the_same_lists(both, name):
    run, export = both(name)
    users = LOG.users.raw.to_list()
    for k in (1, 7, N_ITEMS):
        same(run.recommend(users, k), export.recommend(users, k))
    same(
        run.recommend(users[3], 5, mask_seen=False), export.recommend(users[3], 5, mask_seen=False)
    )


@pytest.mark.parametrize("name", CASES)
def test_histories_of_any_length_get_the_same_lists(both, name):
    run, export = both(name)
    lists = {f"{n} items": [f"i{i:02}" for i in range(n)] for n in (1, 3, LENGTH, LENGTH + 4)}
    if run.reads == "history" and not run.needs_times:
        same(run.recommend(None, 6, histories=lists), export.recommend(None, 6, histories=lists))
        one = {"alone": ["i03"]}
        same(run.recommend(None, 6, histories=one), export.recommend(None, 6, histories=one))
        return
    for service in (run, export):
        with refused(DataError):
            service.recommend(None, 6, histories=lists)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow)
        for n in ("mind", "comirec-sa", "timirec", "distances")
    ],
)
def test_interests_are_the_same(both, name):
    run, export = both(name)
    users = LOG.users.raw.to_list()
    same(run.interests(users), export.interests(users))
    same(run.recommend(users, 4, why=True), export.recommend(users, 4, why=True))


TABLE = pl.DataFrame(
    {
        "id": [f"i{n:02}" for n in range(N_ITEMS - 1)],
        "title": [f"Item {n}" for n in range(N_ITEMS - 1)],
        "kind": [f"kind {n % 4}" for n in range(N_ITEMS - 1)],
        "stock": list(range(N_ITEMS - 1)),
    }
)
RULES = [
    None,
    {"allow": [f"i{n:02}" for n in range(0, N_ITEMS, 3)]},
    {"block": ["i03", "i04"], "mask_seen": False},
    {"where": "kind = 'kind 1' and stock > 5"},
    {"at_most": {"kind": 1}},
    {"pinned": ["i39", "i02"], "at_most": {"kind": 2}, "where": "stock < 30"},
]


@pytest.fixture(scope="module")
def with_titles(tmp_path_factory):
    """Two recommenders with a table of the items, which lacks one."""
    model = randomised(QUICK["gru4rec"]())
    run = Recommender(model, LOG, length=LENGTH, catalogue=Catalogue(TABLE))
    folder = tmp_path_factory.mktemp("titles")
    write_manifest(folder, write_files(run, folder), {})
    return run, ExportedRecommender(folder)


@pytest.mark.parametrize("rules", RULES)
def test_rules_and_titles_are_the_same(with_titles, rules):
    run, export = with_titles
    users, history = LOG.users.raw.to_list(), {"new": ["i03", "i17"]}
    own, theirs = (s.recommend(users, 6, histories=history, rules=rules) for s in with_titles)
    assert own.columns == ["user", "rank", "item", "title", "score"]
    same(own, theirs)
    same(
        run.similar(["i01", "i02"], 4, rules=rules), export.similar(["i01", "i02"], 4, rules=rules)
    )


def test_the_table_of_the_items_travels(with_titles):
    run, export = with_titles
    assert_frame_equal(export.catalogue, run.catalogue)
    with pa.memory_map(str(export.folder / "items.arrow")) as file:
        names = pa.ipc.open_file(file).read_all().column_names
    assert names == ["id", "title", "kind", "stock", "bias", "vector"]


@pytest.mark.parametrize(
    "name", ["sasrec", "mf", pytest.param("distances", marks=pytest.mark.slow)]
)
def test_similar_items_are_the_same(both, name):
    run, export = both(name)
    same(run.similar(["i01", "i20"], 5), export.similar(["i01", "i20"], 5))
    weighted = {"items": ["i01", "i20"], "k": 5, "weights": [3, 1]}
    same(run.similar(**weighted), export.similar(**weighted))


def test_a_model_without_interests_says_so(both):
    for ask in ({"why": True},):
        with refused(DataError):
            both("sasrec")[1].recommend(3, **ask)
    with refused(DataError):
        both("mf")[1].interests(3)


def test_unknown_items_are_told(both):
    export = both("gru4rec")[1]
    with warned(UnknownItemWarning):
        found = export.recommend(histories=["nothing", "i03"])
    same(export.recommend(histories=["i03"]), found)
    with refused(DataError):
        export.recommend("nobody")


def test_an_export_without_users_serves_histories(tmp_path):
    run, export = written(QUICK["gru4rec"](), tmp_path, users=False)
    assert not (tmp_path / "users.parquet").exists()
    history = {"new": ["i03", "i11"]}
    same(run.recommend(histories=history), export.recommend(histories=history))
    with refused(DataError):
        export.recommend(3)


def test_what_it_says_of_itself(both):
    assert repr(both("sasrec")[1]) == "ExportedRecommender(SASRec, 13 users, 40 items)"


# --- the files ---


def test_the_vectors_are_in_both_files(both):
    run, export = both("mf")
    items = run.model.items()
    arrays = load_file(export.folder / "items.safetensors")
    with pa.memory_map(str(export.folder / "items.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    assert pa.types.is_fixed_size_list(table.schema.field("vector").type)
    assert table.schema.field("vector").type.list_size == 8
    for vectors in (arrays["vectors"], np.array(table["vector"].to_pylist(), dtype=np.float32)):
        np.testing.assert_array_equal(vectors, items.vectors.detach().numpy())
    for bias in (arrays["bias"], table["bias"].to_numpy()):
        np.testing.assert_array_equal(bias, items.bias.detach().numpy())
    assert table["id"].to_pylist() == LOG.items.raw.to_list()


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_the_graph_of_torch_pads_on_either_side(both, name, left):
    run, export = both(name)
    tower = torch.export.load(export.folder / "user_tower.pt2").module()
    rows = [[5, 6, 7], [8], []]
    history = torch.full((3, 4), N_ITEMS)
    for row, items in zip(history, rows, strict=True):
        if items:
            row[slice(-len(items), None) if left else slice(0, len(items))] = torch.tensor(items)
    people = run.of_numbers(np.zeros(3, dtype=np.int64))._replace(rows=sequences(rows))
    with torch.no_grad():
        torch.testing.assert_close(tower(history)[0], run.scores_of(people).users)


def sequences(rows):
    from softrec.data.interactions import Sequences

    return Sequences.of(rows)


def test_sizes_have_names_and_no_path_is_told(both):
    folder = both("gru4rec")[1].folder
    graph = onnx.load(str(folder / "user_tower.onnx")).graph
    (size,) = ([d.dim_param for d in i.type.tensor_type.shape.dim] for i in graph.input)
    assert size == ["batch", "length"]
    assert [output.name for output in graph.output] == ["users"]
    here = str(Path(__file__).parents[2]).encode()
    for path in folder.iterdir():
        assert here not in path.read_bytes(), path.name


def test_a_changed_file_is_refused(tmp_path):
    written(QUICK["mf"](), tmp_path)
    arrays = load_file(tmp_path / "items.safetensors")
    save_file(arrays | {"bias": arrays["bias"] + 1}, tmp_path / "items.safetensors")
    with refused(RunError):
        ExportedRecommender(tmp_path)
    assert ExportedRecommender(tmp_path, trust=True).recommend(3).height == 10
    (tmp_path / "users.parquet").unlink()
    with refused(RunError):
        ExportedRecommender(tmp_path)


@pytest.mark.parametrize("manifest", ["nothing", "{}", "[]", '{"format": 99}'])
def test_what_is_no_manifest_is_refused(tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(manifest)
    with refused(RunError):
        ExportedRecommender(tmp_path)
    with refused(RunError):
        ExportedRecommender(tmp_path, trust=True)


def test_another_format_is_refused(tmp_path):
    write_facts(tmp_path / "manifest.json", {"format": 99})
    with refused(RunError):
        ExportedRecommender(tmp_path)
    with refused(RunError):
        ExportedRecommender(tmp_path / "none")


# --- what cannot be exported ---


class Own(Encoder):
    """A model of somebody: the mean of the items of a history."""

    def __init__(self):
        super().__init__()
        self.n_items = N_ITEMS
        self.table = nn.Embedding(N_ITEMS + 1, 4)

    def items(self):
        return ItemVectors(self.table.weight[:-1])

    def forward(self, batch, items=None):
        rows = torch.arange(len(batch.history))  # `len` is one number for torch.export, but strict
        return Vectors(self.table(batch.history).mean(1)[rows], items or self.items())


class Branching(Own):
    def forward(self, batch, items=None):
        if bool((batch.history == 0).any()):
            return super().forward(batch, items)
        return Vectors(2 * self.table(batch.history).mean(1), items or self.items())


def test_a_model_of_ones_own_is_exported(tmp_path):
    run, export = written(Own(), tmp_path)
    users = LOG.users.raw.to_list()
    for user in users[:4]:  # one by one: it reads padding
        same(run.recommend(user, 6), export.recommend(user, 6))


@pytest.mark.parametrize("model", [Branching, lambda: Popularity(N_ITEMS)])
def test_what_cannot_be_exported_says_why(tmp_path, model):
    with refused(RunError):
        write_files(Recommender(model(), LOG, length=LENGTH), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_users_by_number_need_users(tmp_path):
    with refused(RunError):
        write_files(Recommender(QUICK["mf"](), LOG, length=LENGTH), tmp_path, users=False)


# --- parity ---


@pytest.mark.parametrize("name", CASES)
def test_parity_is_within_rounding(both, name):
    report = parity(*both(name))
    assert report["histories"] == LOG.n_users
    assert report["largest_score"] > 0.1
    assert report["largest_difference"] <= 1e-5 * max(1, report["largest_score"])
    assert report["equal_but_ties"] == 1
    assert report.get("largest_difference_pt2", 0) < 1e-4
    check(report, 1e-5)


def test_another_export_is_not_in_parity(both, tmp_path):
    run, export = both("mf")
    other = ExportedRecommender(export.folder)
    other.scored.vectors[3] += 0.25
    report = parity(run, other, histories=5)
    assert report["histories"] == 5
    users = run.scores_of(run.of_numbers(np.arange(LOG.n_users))).users.detach().numpy()
    assert report["largest_difference"] <= 0.25 * np.abs(users).sum(1).max() + 1e-5
    assert report["largest_difference"] > 0.01
    assert report["equal_lists"] < 1
    with refused(RunError):
        check(report | {"largest_difference": 0.25, "largest_score": 1.0}, 1e-3)
    with refused(RunError):
        check(report | {"largest_difference": float("nan")}, 1e9)


@given(st.integers(1, 4), st.integers(1, 700), st.data())
def test_the_best_are_those_that_sorting_finds(rows, n_items, data):
    k = data.draw(st.integers(1, min(n_items, 9)))
    levels = data.draw(st.sampled_from([3, 10**6]))  # with and without ties
    seed = data.draw(st.integers(0, 99))
    scores = np.random.default_rng(seed).integers(0, levels, (rows, n_items)).astype(np.float32)
    scores[:, : data.draw(st.integers(0, n_items))] = -np.inf
    found = best_of(scores, k)
    np.testing.assert_array_equal(found.scores, -np.sort(-scores, axis=1)[:, :k])
    np.testing.assert_array_equal(np.take_along_axis(scores, found.items, 1), found.scores)
    assert all(len(set(items)) == k for items in found.items.tolist())
    left = found.scores > -np.inf
    first = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # of equal ones the first items
    np.testing.assert_array_equal(found.items[left], first[left])


# --- without torch ---

WITHOUT = """
import json, sys, warnings
warnings.simplefilter("error")
from softrec.serving import ExportedRecommender
export = ExportedRecommender(sys.argv[3])
print(json.dumps(export.recommend([3, 5], 4, histories={"new": ["i03"]})["item"].to_list()))
from softrec.cli.main import main
try:
    main(["recommend", sys.argv[3], "--user", "3", "--history", "i03", "-k", "2"])
except SystemExit as done:
    assert not done.code
assert not {"torch", "lightning"} & set(sys.modules)
"""


@pytest.mark.parametrize("name", ["sasrec"])
def test_an_export_is_served_without_torch(both, name):
    run, export = both(name)
    hidden = "torch,lightning,pytorch_lightning,torchmetrics,onnx,onnxscript,pyarrow,scipy,pandas"
    script = str(Path(__file__).parents[1] / "without.py")
    done = subprocess.run(
        [sys.executable, script, hidden, WITHOUT, str(export.folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *table = done.stdout.splitlines()
    history = {"new": ["i03"]}
    assert json.loads(first) == run.recommend([3, 5], 4, histories=history)["item"].to_list()
    assert [line.split()[0] for line in table] == ["user", "3", "3", "history", "history"]
