"""A process that is ended takes the others with it, and the training goes on later."""

import os
import signal
import subprocess
import sys
import time

import pytest
from processes import write_log
from safetensors.torch import load_file

WAIT = 60  # seconds in which all of them have to end
READY = 180  # seconds in which a training has a checkpoint, beside other work
FIT = [
    "fit",
    "log.csv",
    "--epochs",
    "40",
    "--checkpoint-steps",
    "4",
    "--patience",
    "40",
    "--model",
    "gru4rec",
    "--length",
    "6",
    "--set",
    "model.dim=8",
]  # seconds, to be ended in


def command(out, how="--devices"):
    return [sys.executable, "-m", "softrec", *FIT, how, "2", "--out", out]


def begun(folder, out, how="--devices"):
    """Start a training of two processes; return it, and the other process, once it has a step."""
    fit = subprocess.Popen(
        command(out, how), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    until(lambda: list(folder.glob(f"{out}.part/resume*")) or fit.poll() is not None, READY)
    (other,) = others_of(fit)
    return fit, other


def ended(fit, other):
    """Wait until both have ended; return the errors that were told."""
    said, _ = fit.communicate(timeout=WAIT)
    until(lambda: not os.path.exists(f"/proc/{other}"))
    return [line for line in said.splitlines() if line.startswith("error")]


def equal(folder, one, other):
    run, whole = (load_file(folder / name / "model.safetensors") for name in (one, other))
    return all((run[name] == weight).all() for name, weight in whole.items())


def others_of(process):
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True, text=True
    )
    return [int(number) for number in found.stdout.split()]


def until(holds, seconds=WAIT):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a log, and an undisturbed run of two processes on it."""
    place = tmp_path_factory.mktemp("killed")
    write_log(place, users=300, items=40)
    subprocess.run(command("whole"), cwd=place, check=True, capture_output=True)
    return place


PROCESSES = pytest.mark.skipif(not os.path.exists("/proc"), reason="looks for processes in /proc")


@PROCESSES
@pytest.mark.parametrize("who", ["first", "other"])
def test_sigterm_ends_all_and_the_training_goes_on(folder, who):
    fit, other = begun(folder, who)
    os.kill(fit.pid if who == "first" else other, signal.SIGTERM)
    told = ended(fit, other)
    assert len(told) == 1
    assert "run the same command again" in told[0]
    if who == "first":  # it ends as any program does, and the other one tells
        assert fit.returncode == -signal.SIGTERM
        assert "process 1 of 2 has ended" in told[0]
    else:
        assert fit.returncode == 2
        assert "process 2 of 2 was ended by SIGTERM" in told[0]
    subprocess.run(command(who), cwd=folder, check=True, capture_output=True)
    assert equal(folder, who, "whole")


@PROCESSES
def test_a_catalogue_of_which_a_shard_is_killed_goes_on(folder):
    subprocess.run(command("shards", "--shards"), cwd=folder, check=True, capture_output=True)
    fit, other = begun(folder, "killed", "--shards")
    os.kill(other, signal.SIGKILL)
    (told,) = ended(fit, other)
    assert "SIGKILL" in told
    subprocess.run(command("killed", "--shards"), cwd=folder, check=True, capture_output=True)
    assert equal(folder, "killed", "shards")
