"""The memory of a step over a large catalogue, measured in a separate process.

The process allocates its parameters, warms up with a small step, resets its peak of resident memory
(Linux, /proc/self/clear_refs), makes one step, and reads the peak (VmHWM). The resident memory
before the step is subtracted, the gradients are not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.timing import Bar, Row, Side
from softrec.losses import softmax_loss
from softrec.targets.smoothing import UniformTarget

MIB = 2**20
MOST = 250.0  # MiB for a million items of width 64, whose gradient has 244
PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Shapes:
    """A batch of B users, N items, vectors of width D."""

    batch: int = 256
    n_items: int = 1_000_000
    dim: int = 64

    def __str__(self) -> str:
        return f"B {self.batch:,}, N {self.n_items:,}, D {self.dim}"


QUICK = Shapes(batch=64, n_items=20_000, dim=8)


def catalogue(shapes: Shapes) -> list[Row]:
    """Measure one streamed step of label smoothing; nothing if the system reports no peak."""
    if not (PROCESS / "clear_refs").exists():
        return []
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "benchmarks.memory", json.dumps(asdict(shapes))]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(done.stdout)
    return [
        Row(
            f"label smoothing, {shapes}",
            Side("streamed", told["mib"], told["mib"]),
            None,
            told["mib"],
            Bar(MOST, "at most", "MiB beyond the parameters, with their gradients"),
            unit="MiB",
            notes=(
                f"one step took {told['seconds']:.1f} s; peak of resident memory of a process of "
                f"its own ({told['peak_mib']:.0f} MiB), less what was resident before the step "
                f"({told['before_mib']:.0f} MiB); the gradients are {told['gradient_mib']:.0f} MiB",
            ),
        )
    ]


def measure(shapes: Shapes) -> dict[str, float]:
    """Make one step in this process, and return its memory and time."""
    _step(*_parameters(Shapes(batch=8, n_items=1000, dim=shapes.dim)))
    users, vectors, label = _parameters(shapes)
    before = status("VmRSS")
    (PROCESS / "clear_refs").write_text("5")  # the high-water mark is what is in use from now on
    begin = time.perf_counter()
    _step(users, vectors, label)
    seconds = time.perf_counter() - begin
    peak = status("VmHWM")
    gradients = sum(p.grad.nbytes for p in (users, vectors) if p.grad is not None) / MIB
    return {
        "mib": peak - before,
        "peak_mib": peak,
        "before_mib": before,
        "gradient_mib": gradients,
        "seconds": seconds,
    }


def _parameters(shapes: Shapes) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    users = torch.randn(shapes.batch, shapes.dim)
    vectors = torch.randn(shapes.n_items, shapes.dim)
    label = torch.randint(shapes.n_items, (shapes.batch,))
    return users.requires_grad_(), vectors.requires_grad_(), label


def _step(users: torch.Tensor, vectors: torch.Tensor, label: torch.Tensor) -> None:
    target = UniformTarget(len(vectors))
    softmax_loss(users, vectors, label, target=target, weight=0.1).backward()


def status(name: str) -> float:
    """Return an entry of the process's status, in MiB."""
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


if __name__ == "__main__":
    print(json.dumps(measure(Shapes(**json.loads(sys.argv[1])))))
