"""`evaluation.calibration`: the softmax of a run, as whole tables in float64 have it."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy import optimize, special

import softrec
from evaluation.test_calibration import oracle
from softrec.cli import main as cli
from softrec.data.batches import case_batches
from softrec.evaluation.asked import Asked
from softrec.report.results import read_results

pytestmark = pytest.mark.slow

TINY = {"epochs": 2, "batch_size": 32, "length": 5, "lr": 0.03, "model.dim": 8, "progress": False}
ASKED = {"calibration": True, "model": "gru4rec"}


def log_frame() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    items = (rng.integers(25, size=(50, 1)) + rng.integers(1, 3, (50, 8)).cumsum(axis=1)) % 25
    return pl.DataFrame({"user": np.repeat(np.arange(50), 8), "item": items.ravel()})


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log_frame().write_csv("log.csv")


def dense(run, part):
    """Return scores (C, N) float64 with seen items at -inf, and the relevant items."""
    split = run.split()
    cases = Asked.of(split, run.mask_seen).cases(part)
    encoder = run.encoder().double()
    ((_, batch),) = case_batches(cases, run.recipe.training.length, 25, 1024)
    with torch.no_grad():
        users, items = encoder(batch)[:2]
        if run.recipe.loss.score == "cosine":
            users = users / users.norm(dim=1, keepdim=True)
            items = items._replace(vectors=items.vectors / items.vectors.norm(dim=1, keepdim=True))
        scores = users @ items.vectors.T
        if items.bias is not None:
            scores = scores + items.bias
    scores = scores.numpy()
    for case in range(len(cases)):
        scores[case, cases.history[case]] = -np.inf
    return scores, cases.relevant


@pytest.mark.parametrize("loss", ["mixed", "sl"], ids=["inner products", "cosines by 0.1"])
def test_run_json_has_what_whole_tables_give(loss):
    run = softrec.fit("log.csv", out="run", loss=loss, **ASKED, **TINY)
    found = run.facts["calibration"]
    own = run.recipe.loss.score_temperature
    assert own == (0.1 if loss == "sl" else 1.0)
    (valid, asked), (test, relevant) = dense(run, "valid"), dense(run, "test")

    def nll(log_inverse):
        logits = special.log_softmax(valid * np.exp(log_inverse), axis=1)
        return -np.mean([logits[case, asked[case]].mean() for case in range(len(asked))])

    best = optimize.minimize_scalar(nll, bounds=(-6, 6), method="bounded", options={"xatol": 1e-8})
    fitted = np.exp(-best.x)
    assert found["temperature"] == pytest.approx(fitted / own, rel=1e-3)
    assert found["temperature"] != pytest.approx(1, rel=0.05)
    for kind, temperature in (("trained", own), ("scaled", found["temperature"] * own)):
        expected = oracle(test, relevant, temperature).mean(axis=0)
        told = [found[kind][name] for name in ("nll", "brier", "confidence", "accuracy")]
        assert told == pytest.approx(expected, rel=1e-4)
        bins = found[kind]["reliability"]
        n = np.array([each["n"] for each in bins])
        assert n.sum() == 50
        gaps = [abs(each["accuracy"] - each["confidence"]) for each in bins]
        assert found[kind]["ece_mass"] == pytest.approx(n @ gaps / 50)
    assert found["cases"] == 50


SKIPPED = {
    "item-knn": ({"model": "item-knn"}, "is counted"),
    "bpr": ({"model": "mf", "loss": "bpr"}, "pairs of scores"),
    "another score": ({"model": "gru4rec", "evaluation.score": "cosine"}, "cosine scores"),
}


@pytest.mark.parametrize("kind", SKIPPED)
def test_what_is_no_softmax_is_skipped_with_the_reason(kind):
    options, reason = SKIPPED[kind]
    plain = {} if kind == "item-knn" else TINY | {"epochs": 1}
    run = softrec.fit("log.csv", out="run", calibration=True, **(plain | {"progress": False}),
                      **options)  # fmt: skip
    assert reason in run.facts["calibration"]["skipped"]


def test_nothing_is_judged_unless_asked():
    run = softrec.fit("log.csv", out="run", model="gru4rec", **TINY)
    assert "calibration" not in run.facts


def test_the_report_has_table_and_curves(capsys):
    found = softrec.compare(
        "log.csv", out="compared", targets="one-hot,uniform", seeds=2, **ASKED, **TINY
    )
    results = read_results(Path("compared/results.json"))
    assert results.as_json() == found.results.as_json()
    for variant in results.trained:
        own = variant.calibration
        runs = sorted(Path("compared/runs").glob(f"{variant.target['name']}*"))
        told = [json.loads((run / "run.json").read_text())["calibration"] for run in runs]
        assert own.temperature.per_seed == tuple(each["temperature"] for each in told)
        assert own.scaled["nll"].per_seed == tuple(each["scaled"]["nll"] for each in told)
        assert [len(curve) for curve in own.curves] == [
            len(e["trained"]["reliability"]) for e in told
        ]
    assert "is counted" in results.counted[0].calibration.skipped
    page = Path("compared/report.html").read_text()
    assert "Reliability of the softmax at test" in page
    assert "NLL, scaled" in page
    with pytest.raises(SystemExit):
        cli.main(["fit", "log.csv", "--model", "gru4rec", "--epochs", "1", "--length", "5",
                  "--calibration", "--out", "printed", "--set", "model.dim=8"])  # fmt: skip
    assert "softmax at test" in capsys.readouterr().out
