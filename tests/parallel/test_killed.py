"""A process that is ended takes the others with it, and the training goes on later."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file

WAIT = 60  # seconds in which all of them have to end
FIT = ["fit", "log.csv", "--epochs", "4", "--checkpoint-steps", "4", "--patience", "4",
       "--model", "gru4rec", "--length", "6", "--set", "model.dim=8"]  # fmt: skip


def command(out):
    return [sys.executable, "-m", "softrec", *FIT, "--devices", "2", "--out", out]


def others_of(process):
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True, text=True
    )
    return [int(number) for number in found.stdout.split()]


def until(holds):
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a log, and an undisturbed run of two processes on it."""
    place = tmp_path_factory.mktemp("killed")
    items = (np.random.default_rng(0).integers(0, 40, (300, 1)) + np.arange(8)) % 40
    table = {"user": np.repeat(np.arange(300), 8), "item": items.ravel()}
    pl.DataFrame(table).write_csv(place / "log.csv")
    subprocess.run(command("whole"), cwd=place, check=True, capture_output=True)
    return place


@pytest.mark.skipif(not os.path.exists("/proc"), reason="looks for processes in /proc")
@pytest.mark.parametrize("who", ["first", "other"])
def test_sigterm_ends_all_and_the_training_goes_on(folder, who):
    fit = subprocess.Popen(
        command(who), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    until(lambda: list(folder.glob(f"{who}.part/resume*")) or fit.poll() is not None)
    (other,) = others_of(fit)
    os.kill(fit.pid if who == "first" else other, signal.SIGTERM)
    said, _ = fit.communicate(timeout=WAIT)
    until(lambda: not os.path.exists(f"/proc/{other}"))
    told = [line for line in said.splitlines() if line.startswith("error")]
    if who == "first":  # it ends as any program does
        assert (fit.returncode, told) == (-signal.SIGTERM, [])
    else:
        assert fit.returncode == 2
        assert len(told) == 1
        assert "SIGTERM" in told[0]
    subprocess.run(command(who), cwd=folder, check=True, capture_output=True)
    run, whole = (load_file(folder / name / "model.safetensors") for name in (who, "whole"))
    assert all((run[name] == weight).all() for name, weight in whole.items())
