"""Rates of false alarms of five procedures, on simulated metrics and on real runs.

    python -m benchmarks.aa made               # simulated metrics whose true difference is 0
    python -m benchmarks.aa train --out AA     # trains equal recipes with many seeds; resumable
    python -m benchmarks.aa real --out AA      # compares random groups of these runs

A false alarm is a 95 % interval that does not contain the true difference; the correct rate is 5 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats
from scipy.special import ndtr

from softrec.evaluation.bootstrap import bootstrap
from softrec.evaluation.significance import crossed, paired

Interval = tuple[float, float]
Procedure = Callable[[np.ndarray, np.ndarray], Interval]

HITS = 10
MEAN_GAIN = float(np.mean(1 / np.log2(np.arange(1, HITS + 1) + 1)))
"""Mean NDCG@10 of a hit whose rank is uniform over 1 .. 10."""


# --- procedures: two arrays (seeds, users) -> a 95 % interval of the difference ---


def users_alone(a: np.ndarray, b: np.ndarray) -> Interval:
    """Paired t over users, seeds averaged first."""
    found = paired(a.mean(axis=0), b.mean(axis=0))
    return found.low, found.high


def seeds_alone(a: np.ndarray, b: np.ndarray) -> Interval:
    """Welch's t over the means of the seeds."""
    found = stats.ttest_ind(b.mean(axis=1), a.mean(axis=1), equal_var=False)
    return tuple(found.confidence_interval(0.95))


def both(a: np.ndarray, b: np.ndarray) -> Interval:
    """The procedure of softrec."""
    found = crossed(a, b)
    return found.low, found.high


def percentiles(a: np.ndarray, b: np.ndarray, draws: int = 400) -> Interval:
    """Percentiles of the differences over resampled users and seeds."""
    rng = np.random.default_rng(0)
    n = a.shape[1]
    users = rng.multinomial(n, np.full(n, 1 / n), size=draws).T / n
    means = []
    for each in (a, b):
        seeds = rng.multinomial(len(each), np.full(len(each), 1 / len(each)), size=draws).T
        means.append(((each @ users) * seeds).sum(axis=0) / len(each))
    low, high = np.quantile(means[1] - means[0], [0.025, 0.975])
    return float(low), float(high)


PROCEDURES: dict[str, Procedure] = {
    "users alone": users_alone, "seeds alone": seeds_alone,
    "percentiles": percentiles, "two-way bootstrap": bootstrap, "users and seeds": both,
}  # fmt: skip


# --- simulated runs ---


class Case(NamedTuple):
    """The noise of training relative to that of users, as a ratio of standard deviations."""

    name: str
    of_a: float
    of_b: float


CASES = (
    Case("users dominate", 0.2, 0.2),
    Case("both alike", 1.0, 1.0),
    Case("both alike, a noisier", 1.4, 0.2),
    Case("training dominates", 4.0, 4.0),
    Case("training dominates, a noisier", 5.5, 1.0),
)


def made(
    case: Case, seeds: int, users: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the simulated NDCG@10 of two variants with the same mean, (seeds, users) each.

    The probability of a hit differs between users, between the variants for a user, and between
    trainings. Half of the remaining randomness is common to the trainings of a user. Most values
    are 0.
    """
    chance = rng.uniform(0.15, 0.55, users)
    luck = rng.standard_normal(users)
    both_variants = []
    for ratio in (case.of_a, case.of_b):
        own = rng.choice([-0.1, 0.1], users)
        # 0.14: sd over users of the difference of two such variants without training noise.
        spread = ratio * 0.14 / MEAN_GAIN * np.sqrt(seeds / 2 / users)
        hit_chance = chance + own + spread * rng.standard_normal((seeds, 1))
        mine = np.sqrt(0.7) * luck + np.sqrt(0.3) * rng.standard_normal((seeds, users))
        place = ndtr(mine) / np.maximum(hit_chance, 1e-9)
        rank = 1 + np.floor(HITS * np.minimum(place, 1))
        both_variants.append(np.where(place < 1, 1 / np.log2(rank + 1), 0.0))
    return both_variants[0], both_variants[1]


def false_alarms_of_made(
    case: Case,
    seeds: int,
    users: int,
    replications: int,
    procedures: Sequence[str] = tuple(PROCEDURES),
) -> dict[str, float]:
    """Return the fraction of intervals without 0, by procedure."""
    rng = np.random.default_rng([seeds, users])
    pairs = (made(case, seeds, users, rng) for _ in range(replications))
    return _shares(pairs, procedures)


def _shares(pairs: Any, procedures: Sequence[str]) -> dict[str, float]:
    missed = [
        [not low <= 0 <= high for low, high in (PROCEDURES[name](a, b) for name in procedures)]
        for a, b in pairs
    ]
    return dict(zip(procedures, np.mean(missed, axis=0).tolist(), strict=True))


# --- real runs ---

RECIPES: dict[str, dict[str, Any]] = {
    "gru4rec": {"model": {"name": "gru4rec", "dim": 64, "dropout": 0.2},
                "training": {"epochs": 40, "patience": 4}},
    "youtubednn": {"model": {"name": "youtubednn", "dim": 64},
                   "training": {"epochs": 200, "patience": 10}},
}  # fmt: skip
TRAINING = {"windows": "positions", "length": 24, "batch_size": 128, "lr": 0.002}


def train(model: str, seeds: Sequence[int], out: Path, say: Callable[[str], object]) -> None:
    """Train a recipe with each seed on the simulated shop; finished runs are kept."""
    from softrec.experiments.build.data import load_split
    from softrec.experiments.train import fit_recipe
    from softrec.recipe.recipe import read_recipe

    split = None
    for seed in seeds:
        folder = out / f"{model}-seed{seed}"
        if folder.exists():
            continue
        own = RECIPES[model]
        recipe = read_recipe({
            "data": {"source": "shop"}, "model": own["model"], "target": {"name": "one-hot"},
            "training": TRAINING | own["training"], "seed": seed,
            "evaluation": {"metrics": ["ndcg@10", "recall@10"]},
        })  # fmt: skip
        split = split or load_split(recipe.data)
        run = fit_recipe(recipe, folder, split=split)
        say(f"{folder.name}: {run.facts['epochs']} epochs, ndcg@10 {run.test['ndcg@10']:.4f}")


def read(model: str, out: Path, metric: str = "ndcg@10") -> np.ndarray:
    """Return the metric of each finished run and user, (runs, users)."""
    import polars as pl

    files = sorted(out.glob(f"{model}-seed*/per_user.parquet"))
    return np.array([pl.read_parquet(file)[metric].to_numpy() for file in files])


def false_alarms_of_real(
    values: np.ndarray, seeds: int, draws: int, procedures: Sequence[str]
) -> dict[str, float]:
    """Return the fraction of intervals without 0 over pairs of disjoint groups of runs."""
    rng = np.random.default_rng(seeds)
    orders = (rng.permutation(len(values))[: 2 * seeds] for _ in range(draws))
    pairs = ((values[order[:seeds]], values[order[seeds:]]) for order in orders)
    return _shares(pairs, procedures)


# --- the command ---


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aa", description=__doc__)
    parser.add_argument("what", choices=["made", "train", "real"])
    parser.add_argument("--out", type=Path, default=Path("aa"), help="where the runs are")
    parser.add_argument("--model", choices=list(RECIPES), action="append", help="both")
    parser.add_argument("--runs", type=int, default=24, help="seeds to train of each model")
    parser.add_argument("--seeds", type=int, action="append", help="of each variant; 3 and 5")
    parser.add_argument("--users", type=int, default=600, help="of made runs")
    parser.add_argument("--replications", type=int, default=4000)
    parser.add_argument("--procedure", choices=list(PROCEDURES), action="append", help="all")
    options = parser.parse_args(arguments)
    console = Console()
    models = options.model or list(RECIPES)
    if options.what == "train":
        for model in models:
            train(model, range(options.runs), options.out, console.print)
        return
    seeds = options.seeds or ([3, 5] if options.what == "made" else [1, 3, 5])
    procedures = options.procedure or list(PROCEDURES)
    table = Table("runs", "seeds", *procedures, title="false alarms at 5 %")
    if options.what == "made":
        for number in seeds:
            for case in CASES:
                found = false_alarms_of_made(
                    case, number, options.users, options.replications, procedures
                )
                table.add_row(case.name, str(number), *map(_percent, found.values()))
    else:
        for model in models:
            values = read(model, options.out)
            for number in seeds:
                if len(values) >= 2 * number:
                    known = [name for name in procedures if number > 1 or name == "users alone"]
                    found = false_alarms_of_real(values, number, options.replications, known)
                    cells = (_percent(found[name]) if name in found else "" for name in procedures)
                    table.add_row(f"{model}, {len(values)}", str(number), *cells)
    console.print(table)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    main()
