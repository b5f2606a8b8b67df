"""`--on ray` over several machines: Ray's own cluster for tests has some, which are processes."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from test_executors import numbers

import softrec
from softrec.errors import TrainingError
from softrec.experiments.executors import Task, executor, results
from softrec.experiments.store.folders import HeldError
from softrec.extras import has
from softrec.recipe.options import recipe_of

pytestmark = [
    pytest.mark.usefixtures("own_members"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        not has("ray"), reason="Ray is not installed, 240 MB: pip install 'softrec[ray]'"
    ),
]
SMALL = {"model": "gru4rec", "model.dim": 4, "epochs": 3, "length": 8, "batch_size": 16,
         "metrics": ["ndcg@10"], "accelerator": "cpu", "targets": "one-hot,lost", "seeds": 2,
         "baselines": False, "checkpoint_steps": 2,
         "data.shop": {"n_items": 40, "n_users": 60}}  # fmt: skip

# A target of a user. Once, in the middle of a training, it tells where it is and waits for the end.
LOST = """
import time
from pathlib import Path
import softrec
from softrec.targets.smoothing import UniformTarget

WAIT = 180

class Lost:
    packages = ()
    def __init__(self, n_items):
        self.target, self.asked = UniformTarget(n_items), 0
    def __call__(self, batch):
        import ray
        self.asked += 1
        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else "here"
        if self.asked == 1:
            with Path("nodes").open("a") as file:
                file.write(node + "\\n")
        if self.asked == 7 and Path("armed").exists():
            Path("armed").unlink()
            Path("where.part").write_text(node)
            Path("where.part").rename("where")
            time.sleep(WAIT)
        return self.target

@softrec.register("lost")
def lost(training, *, alpha: float = 0.2):
    return Lost(training.n_items)
"""


@pytest.fixture(scope="module")
def machines():
    """A head without a CPU, and two machines of one CPU each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        own = Path(__file__).parent  # of functions of this file
        paths = [str(own), str(own.parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def remove_the_one_that_waits(machines):
    """Take a machine out of the cluster in the middle of its training."""
    end = time.monotonic() + 120
    while not Path("where").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    (node,) = [one for one in machines.worker_nodes if one.node_id == Path("where").read_text()]
    machines.remove_node(node, allow_graceful=False)


def test_a_comparison_goes_on_when_a_machine_is_lost(machines, tmp_path, capsys):
    (tmp_path / "own_lost.py").write_text(LOST)
    asked = {**SMALL, "plugins": [str(tmp_path / "own_lost.py")]}
    here, weights = numbers(softrec.compare("shop", out="here", progress=False, **asked))
    Path("armed").touch()
    remover = threading.Thread(target=remove_the_one_that_waits, args=(machines,))
    remover.start()
    there, also = numbers(softrec.compare("shop", out="there", on="ray", **asked))
    remover.join()
    assert there == here
    assert len(weights) == 4
    for name, own in weights.items():
        assert all(torch.equal(also[name][part], own[part]) for part in own), name
    told = capsys.readouterr().err
    assert told.count("its process was lost; it goes on") == 1
    assert "going on in epoch 2 of 3" in told
    left = {one.node_id for one in machines.worker_nodes}
    lost = Path("where").read_text()
    assert lost not in left
    assert Path("nodes").read_text().split()[-1] in left


def held(common, times):
    """A task whose process ends once; what it had locked is let go some tries later."""
    tries = Path("tries").read_text() if Path("tries").exists() else ""
    Path("tries").write_text(tries + "x")
    if tries == "":
        os.kill(os.getpid(), signal.SIGKILL)
    if len(tries) <= times:
        raise HeldError("still locked")
    return len(tries)


def test_what_a_lost_process_has_locked_is_waited_for(machines):
    recipe = recipe_of({"data": {"source": "shop"}}, {"model": "gru4rec"})
    with executor("ray") as where:
        assert results(where, [Task("one", recipe, held, None, (2,))]) == [3]
        Path("tries").write_text("x")
        with pytest.raises(HeldError):  # another process has it
            results(where, [Task("one", recipe, held, None, (2,))])


def test_a_machine_that_does_not_see_the_folder_is_told(machines):
    recipe = recipe_of({"data": {"source": "shop"}}, {"model": "gru4rec"})
    with executor("ray", out="nowhere") as where, pytest.raises(TrainingError) as told:
        results(where, [Task("one", recipe, abs, 1, ())])
    assert "does not see" in str(told.value)  # the rest has the name of the machine
