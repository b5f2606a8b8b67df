"""Ends one of two processes that train together at a random step, and goes on with the training.

    python -m benchmarks.kills_together 20 [--how devices] [--how shards]

Three ends fall into each training, the first of them into its first third, and so on: the same
command goes on each time, and at the end its weights are compared with those of a training that was
left alone. Told are the seconds from an end until both processes have ended.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

WAIT = 60  # seconds in which both must end
ENDS = 3  # of a training
FIT = ["fit", "shop", "--set", "data.shop={n_items: 60, n_users: 200}", "--epochs", "6",
       "--patience", "6", "--length", "10", "--set", "model.dim=16", "--batch-size", "32",
       "--set", "training.checkpoint_steps=3", "--set", "training.ema=0.9"]  # fmt: skip
PROGRAM = """
import os, signal, time
from itertools import count
from pathlib import Path
from softrec.objective import Objective
from softrec.parallel import rank

after_step, steps = Objective.after_step, count(1)

def ends(self):
    after_step(self)
    step, who = next(steps), os.environ.get("END_RANK", "")
    for name, number in (("process", os.getpid()), ("steps", step)):
        Path(f"new-{rank()}").write_text(str(number))
        Path(f"new-{rank()}").replace(f"{name}-{rank()}")  # as a whole, whenever this ends
    if who == str(rank()) and step == int(os.environ["END_STEP"]):
        Path("ended").write_text(str(time.time()))
        os.kill(os.getpid(), int(os.environ["END_SIGNAL"]))
        time.sleep(60)

Objective.after_step = ends
if __name__ == "__main__":
    from softrec.__main__ import main
    main()
"""


class End(NamedTuple):
    """What has ended a process: its number, the step since the command began, the signal."""

    rank: int
    step: int
    signal: signal.Signals


def begun(folder: Path, how: str, out: str, end: End | None = None) -> subprocess.Popen[str]:
    """Begin the training, in which a process may end itself after a step."""
    ending = {} if end is None else {
        "END_RANK": str(end.rank), "END_STEP": str(end.step), "END_SIGNAL": str(int(end.signal)),
    }  # fmt: skip
    for path in folder.glob("process-*"):
        path.unlink()
    (folder / "ended").unlink(missing_ok=True)
    command = [sys.executable, "program.py", *FIT, f"--{how}", "2", "--out", out]
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | ending, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip


def weights(folder: Path, out: str) -> str:
    return hashlib.sha256((folder / out / "model.safetensors").read_bytes()).hexdigest()[:12]


def lives(process: int) -> bool:
    """Return whether a process has not ended; one that nobody has waited for yet has."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def until_ended(folder: Path, fit: subprocess.Popen[str]) -> tuple[float | None, list[str]]:
    """Return the seconds from the end of one until both have ended, and the errors that were told.

    None if none was ended.
    """
    said, _ = fit.communicate(timeout=WAIT + 120)
    if not (folder / "ended").exists():
        return None, []
    at = float((folder / "ended").read_text())
    last = time.time()
    for path in folder.glob("process-*"):
        while lives(int(path.read_text())):
            last = time.time()
            if last - at > WAIT:
                raise SystemExit(f"{path.name} lives on {WAIT} seconds after the other's end")
            time.sleep(0.01)
    return last - at, [line for line in said.splitlines() if line.startswith("error")]


def done(folder: Path, how: str, out: str) -> int:
    """Train to the end; return the steps of it."""
    fit = begun(folder, how, out)
    said, _ = fit.communicate()
    if fit.returncode:
        raise SystemExit(f"the training failed: {said[-500:]}")
    return int((folder / "steps-0").read_text())


def tried(folder: Path, how: str, ends: int, seed: int) -> None:
    """Print a line for each end of a process, and one on all of them."""
    draw = random.Random(f"{how} {seed}")
    steps = done(folder, how, f"{how}-whole")
    whole, took, other, number = weights(folder, f"{how}-whole"), [], 0, 0
    while len(took) < ends:
        number += 1
        for _ in range(ENDS):
            if len(took) == ends:
                break
            end = End(
                draw.randrange(2), draw.randint(1, steps // ENDS),
                draw.choice([signal.SIGKILL, signal.SIGTERM]),
            )  # fmt: skip
            seconds, told = until_ended(folder, begun(folder, how, f"{how}-{number}", end))
            if seconds is not None:
                took.append(seconds)
                print(how, *end[:2], end.signal.name, f"{seconds:.2f} s", *told, flush=True)
        done(folder, how, f"{how}-{number}")
        other += weights(folder, f"{how}-{number}") != whole
    print(
        f"{how}: {len(took)} ends in {number} trainings of {steps} steps, both processes ended "
        f"after {sorted(took)[len(took) // 2]:.2f} s (median), {max(took):.2f} s at most; weights "
        f"of {other} trainings differ from {whole}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("ends", type=int)
    parser.add_argument("--how", choices=["devices", "shards"], action="append")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "program.py").write_text(PROGRAM)
        for how in asked.how or ["devices", "shards"]:
            tried(Path(folder), how, asked.ends, asked.seed)


if __name__ == "__main__":
    main()
