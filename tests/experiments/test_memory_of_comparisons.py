"""What a comparison holds of its users does not grow with all metrics of all runs."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from softrec.experiments.compare import write_per_user
from softrec.experiments.runs import Run

USERS, RUNS = 150_000, 10
METRICS = [f"ndcg@{k}" for k in range(1, 9)]
MIB = 2**20
ONE_METRIC = USERS * RUNS * 8 / MIB
# Measured in a process of its own: what is resident at most, beyond what was before.
MEASURED = """
import json, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from experiments import test_memory_of_comparisons as test
from softrec.experiments.compare import write_per_user
from softrec.experiments.differences import differences
from softrec.experiments.memory import PeakMemory, _status
folder = Path({folder!r})
rows = test.runs_in(folder)
differences([row[:2] for row in rows[:2]], test.METRICS[:1])  # imports, and what is kept for good
told = {{}}
for name, call in {{
    "differences": lambda: differences(rows, test.METRICS),
    "per_user": lambda: write_per_user(["a", "b"], rows, folder / "all.parquet"),
}}.items():
    before, memory = _status("VmRSS"), PeakMemory()
    call()
    told[name] = memory.mib() - before
print(json.dumps(told))
"""


def runs_in(folder):
    """Two variants of five runs, whose tables of users lie in a folder."""
    recipes = [SimpleNamespace(seed=seed) for seed in range(RUNS)]
    runs = [Run(folder / str(n), recipe, {}) for n, recipe in enumerate(recipes)]
    return [runs[: RUNS // 2], runs[RUNS // 2 :]]


def make(folder, users):
    rng = np.random.default_rng(0)
    for number in range(RUNS):
        (folder / str(number)).mkdir()
        table = {name: rng.random(users) * (rng.random(users) < 0.3) for name in METRICS}
        pl.DataFrame({"user": np.arange(users), **table}).write_parquet(
            folder / str(number) / "per_user.parquet", compression="uncompressed"
        )


def test_all_users_are_written_run_by_run(tmp_path):
    make(tmp_path, 20)
    rows = runs_in(tmp_path)
    write_per_user(["a", "b"], rows, tmp_path / "all.parquet")
    wanted = pl.concat(
        run.per_user.select(pl.lit(name).alias("target"), pl.lit(run.recipe.seed).alias("seed"),
                            pl.all())
        for name, row in zip("ab", rows, strict=True) for run in row
    )  # fmt: skip
    assert_frame_equal(pl.read_parquet(tmp_path / "all.parquet"), wanted)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells peak memory")
def test_one_metric_is_held_at_a_time(tmp_path):
    """All metrics of all runs would be 8 times as much."""
    make(tmp_path, USERS)
    code = MEASURED.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert told["differences"] < 6 * ONE_METRIC
    assert told["per_user"] < 6 * ONE_METRIC
