"""Kills a training at random moments, runs the same command again, and compares the weights.

    python -m benchmarks.kills --kills 100

The last line says how many kills there were and whether every run ended with the same bytes.
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

FIT = ["fit", "shop", "--set", "data.shop={n_items: 60, n_users: 200}", "--epochs", "6",
       "--length", "10", "--set", "model.dim=16", "--set", "training.checkpoint_steps=3",
       "--overwrite"]  # fmt: skip


def command(out: Path) -> list[str]:
    return [sys.executable, "-m", "softrec", *FIT, "--out", str(out)]


def weights(out: Path) -> str:
    return hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()[:12]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    moments = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        began = time.monotonic()
        subprocess.run(command(out), check=True, capture_output=True)
        whole, takes = weights(out), time.monotonic() - began
        kills, runs, other = 0, 0, 0
        while kills < asked.kills:
            running = subprocess.Popen(command(out), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
            try:
                _, told = running.communicate(timeout=moments.uniform(0.2, 1.2) * takes)
            except subprocess.TimeoutExpired:
                os.kill(running.pid, signal.SIGKILL)
                running.communicate()
                kills += 1
                continue
            runs += 1
            if running.returncode or weights(out) != whole:
                other += 1
                print(running.returncode, told.decode().splitlines()[-1:])
        subprocess.run(command(out), check=True, capture_output=True)
        other += weights(out) != whole
        left = sorted(path.name for path in Path(folder).iterdir())
        print(
            f"{kills} kills, {runs + 1} runs to the end, {other} other than {whole}; left: {left}"
        )


if __name__ == "__main__":
    main()
