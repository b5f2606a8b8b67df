"""Ctrl-C and SIGTERM end a training after a checkpoint, however long the next one is away."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from test_resume import OPTIONS, STEPS, assert_same, trained, write_log

from softrec.training.checkpoints import RESUME, begun
from softrec.training.interruption import ENDS, Interruption
from softrec.training.module import SoftTargetModule


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return write_log(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def unbroken(log, tmp_path_factory):
    return trained(log, tmp_path_factory.mktemp("unbroken") / "run")


@pytest.fixture(autouse=True)
def interrupted_by_ctrl_c():
    """Tests that run in the background ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def ctrl_c(monkeypatch):
    """Let SIGINT come in a step counted from the start, or in the validation of an epoch."""

    def sender(place: str, number: int, times: int = 1):
        monkeypatch.undo()
        step, end = SoftTargetModule.training_step, SoftTargetModule.on_train_epoch_end
        steps = 0

        def send():
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

        def training_step(self, batch, batch_idx):
            nonlocal steps
            steps += 1
            if place == "step" and steps == number:
                send()
            return step(self, batch, batch_idx)

        def on_train_epoch_end(self):
            if place == "validation" and self.current_epoch == number:
                send()
            end(self)

        monkeypatch.setattr(SoftTargetModule, "training_step", training_step)
        monkeypatch.setattr(SoftTargetModule, "on_train_epoch_end", on_train_epoch_end)

    return sender


@pytest.mark.parametrize(
    ("place", "number"),
    [("step", 2), ("step", STEPS), ("step", STEPS + 3), ("validation", 0), ("validation", 2),
     ("validation", OPTIONS["epochs"] - 1)],
)  # fmt: skip
def test_goes_on_where_it_was(log, tmp_path, unbroken, ctrl_c, place, number):
    """Steps that were trained are not trained again, with a checkpoint each five minutes."""
    ctrl_c(place, number)
    with pytest.raises(KeyboardInterrupt):
        trained(log, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ctrl_c("nowhere", 0)
    again = 0
    step = SoftTargetModule.training_step

    def counted(self, batch, batch_idx):
        nonlocal again
        again += 1
        return step(self, batch, batch_idx)

    SoftTargetModule.training_step = counted
    try:
        run = trained(log, tmp_path / "run")
    finally:
        SoftTargetModule.training_step = step
    assert_same(run, unbroken)
    done = number if place == "step" else (number + 1) * STEPS
    assert again == OPTIONS["epochs"] * STEPS - done


def test_twice_stops_at_once(log, tmp_path, ctrl_c):
    ctrl_c("step", 2, times=2)
    with pytest.raises(KeyboardInterrupt):
        trained(log, tmp_path / "run")
    assert not (tmp_path / "run.part" / RESUME).exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_sigterm_is_told_as_the_cause(log, tmp_path, unbroken):
    """Not an exit status of 0, with which a script would go on as after a training."""
    code = (
        "import signal, sys\n"
        "from softrec.training.module import SoftTargetModule as Module\n"
        "step = Module.training_step\n"
        "def stepped(self, batch, number):\n"
        "    if self.global_step == 6:\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "    return step(self, batch, number)\n"
        "Module.training_step = stepped\n"
        "from softrec.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    command = ["fit", str(log), "--out", "run"]
    for name, value in OPTIONS.items():
        command += (["--set", f"{name}={value}"] if "." in name
                    else [f"--{name.replace('_', '-')}", str(value)])  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGTERM, ended.stderr
    assert "stopping after this step or validation" in ended.stderr
    assert begun(tmp_path / "run.part") is not None
    assert_same(trained(log, tmp_path / "run"), unbroken)


def test_a_program_with_handlers_of_its_own_keeps_them():
    heard = []
    before = {n: signal.signal(n, lambda number, _: heard.append(number)) for n in ENDS}
    try:
        with Interruption() as interruption:
            for number in ENDS:
                signal.raise_signal(number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert heard == list(ENDS)
    assert interruption.asked is None


def test_nothing_is_delayed_in_a_thread():
    told = []

    def inside():
        with Interruption() as interruption:
            told.append(interruption.delayed)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert told == [[]]
