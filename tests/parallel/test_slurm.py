"""Processes that Slurm starts, found by the variables that it sets, train with each other."""

import os
import socket
import subprocess
import sys

import lightning as L
import pytest
from processes import write_log
from safetensors.torch import load_file

from messages import refused
from softrec.cli.main import main
from softrec.errors import TrainingError
from softrec.parallel import World
from softrec.parallel.together import is_first, started, together
from softrec.training.processes import arguments

FIT = [sys.executable, "-m", "softrec", "fit", "log.csv", "--epochs", "2", "--model", "gru4rec",
       "--length", "6", "--set", "model.dim=8", "--accelerator", "cpu"]  # fmt: skip


def variables(rank, size, *, nodes=1, port=None):
    """What `srun` sets for one of some tasks, which has as many on each node."""
    local = size // nodes
    found = {
        "SLURM_NTASKS": size, "SLURM_PROCID": rank, "SLURM_LOCALID": rank % local,
        "SLURM_NODEID": rank // local, "SLURM_JOB_ID": 71234, "SLURM_NODELIST": "node[5-6]",
        "SLURM_NTASKS_PER_NODE": local, "SLURM_STEP_NUM_TASKS": size,
        "SLURM_STEP_TASKS_PER_NODE": f"{local}(x{nodes})", "SLURM_JOB_NAME": "training",
    }  # fmt: skip
    if port is not None:
        found |= {"SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in found.items()}


@pytest.fixture
def slurm(monkeypatch):
    """Return a function that sets the variables for the rest of the test."""
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)

    def set_for(*arguments, **named):
        for name, value in variables(*arguments, **named).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MASTER_ADDR", "")  # so that what Lightning sets is gone afterwards
        monkeypatch.setenv("MASTER_PORT", "")
        monkeypatch.delenv("MASTER_ADDR")
        monkeypatch.delenv("MASTER_PORT")

    return set_for


def test_the_place_of_a_process_is_read(slurm):
    assert started() is None
    slurm(3, 4, nodes=2)
    assert started() == (World(3, 4, 1, 2), "tcp://node5:16234")
    assert not is_first()
    slurm(0, 4, nodes=2)
    assert is_first()
    slurm(0, 1)  # srun with one task is a process like any other
    assert started() is None


def test_nodes_may_have_different_numbers_of_tasks(slurm, monkeypatch):
    slurm(2, 3)
    for name, value in {"STEP_TASKS_PER_NODE": "2,1", "NODEID": "1", "LOCALID": "0",
                        "JOB_NAME": "interactive", "STEP_ID": "3"}.items():  # fmt: skip
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")  # as of srun --ntasks 3
    assert started() == (World(2, 3, 0, 1), "tcp://node5:16237")


def test_a_shell_and_a_batch_script_are_no_tasks_of_a_training(slurm, monkeypatch):
    slurm(0, 4)
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # srun --pty bash
    assert started() is None
    monkeypatch.setenv("SLURM_JOB_NAME", "nightly.sh")
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")  # sbatch --ntasks 4
    assert started() is None


def test_one_process_of_a_batch_job_of_several_tasks_trains(slurm, monkeypatch):
    slurm(0, 4)
    for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.delenv(name)
    trainer = L.Trainer(**arguments("cpu"), logger=False, enable_progress_bar=False)
    assert trainer.world_size == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_what_one_process_does_is_refused_by_the_first_of_several(slurm, rank, capsys):
    slurm(rank, 2)
    with pytest.raises(SystemExit) as ended:
        main(["order", "shop", "--out", "order"])
    assert ended.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    assert ("has started 2 processes, and `softrec order` is one" in told) == (rank == 0)


def test_another_number_of_processes_than_the_recipe_asks_for_is_refused(slurm):
    slurm(0, 2)
    with refused(TrainingError), together(3, 1, lambda: None):
        pass


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.slow
def test_two_of_slurm_train_as_two_that_are_started_here(tmp_path):
    write_log(tmp_path, users=60, items=40)
    port = free_port()
    both = [
        subprocess.Popen(
            [*FIT, "--out", "slurm"], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | variables(rank, 2, port=port),
        )
        for rank in range(2)
    ]  # fmt: skip
    out, said = zip(*(process.communicate(timeout=300) for process in both), strict=True)
    assert [process.returncode for process in both] == [0, 0], said
    assert "epoch 2 of 2" in said[0]
    assert "ndcg@10" in out[0]
    assert (out[1], said[1]) == ("", "")
    command = [*FIT, "--out", "here", "--devices", "2"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("slurm", "here"))
    assert all((other[name] == weight).all() for name, weight in one.items())
