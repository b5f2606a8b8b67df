"""What is asked of a CUDA device; some of it is seen without one, the numbers only on one."""

import pytest
import torch

from softrec.cuda import float32, repeatable
from softrec.errors import TrainingError
from softrec.experiments.train import fit_recipe
from softrec.models.gru4rec import GRU4Rec
from softrec.recipe.recipe import merged, read_recipe
from softrec.recipe.specs.models import MODELS, is_counted
from softrec.testing.encoders import padded

CARD, PROCESSOR = torch.device("cuda"), torch.device("cpu")
ON_A_CARD = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
TRAINED = [name for name in MODELS if not is_counted(name)]
BY_USER = ("mf", "lightgcn", "ngcf")
BASE = {
    "data": {"source": "shop", "cold_items": "keep",
             "shop": {"n_items": 60, "n_users": 80, "min_length": 8, "max_length": 20}},
    "training": {"epochs": 2, "batch_size": 32, "length": 8, "lr": 0.03},
    "evaluation": {"metrics": ["ndcg@10"]},
}  # fmt: skip
KINDS = {
    "all items, a target": {"target": {"name": "pop+"}, "loss": {"name": "decoupled"}},
    "one sample": {"candidates": {"name": "sampled", "number": 20, "sampler": "popularity"}},
    "a sample of each row": {
        "candidates": {"name": "sampled", "number": 20, "per_row": True},
        "loss": {"name": "bpr"},
    },
    "the labels of the batch": {"candidates": {"name": "in-batch"}},
    "lazy Adam": {
        "candidates": {"name": "sampled", "number": 20},
        "training": {"optimizer": "sparse-adam"},
    },
}


def flags():
    """Determinism, and whether new memory is filled; TF32 of GRUs and of convolutions."""
    cudnn, filled = torch.backends.cudnn, torch.utils.deterministic.fill_uninitialized_memory
    if hasattr(cudnn, "rnn"):
        tf32 = (cudnn.rnn.fp32_precision, cudnn.conv.fp32_precision)
    else:  # before torch 2.9
        tf32 = (cudnn.allow_tf32,)
    return torch.get_deterministic_debug_mode(), filled, *tf32


def test_on_a_card_and_only_there_operations_are_repeatable(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = flags()
    with repeatable(PROCESSOR):
        assert flags() == before
    with repeatable(CARD):
        assert flags() == (2, False, *before[2:])
    assert flags() == before


def test_what_cannot_be_repeated_is_told_with_a_way_out(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = flags()
    with pytest.raises(TrainingError) as told, repeatable(CARD):
        raise RuntimeError("histc_cuda does not have a deterministic implementation, but you set")
    assert "training.deterministic=false" in str(told.value)
    with pytest.raises(RuntimeError), repeatable(CARD):
        raise RuntimeError("out of memory")
    assert flags() == before


def test_on_a_card_float32_is_float32_unless_less_was_asked_for():
    before = flags()
    with float32(PROCESSOR):
        assert flags() == before
    with float32(CARD):
        assert flags()[2:] != before[2:]
        assert set(flags()[2:]) <= {"ieee", False}
    assert flags() == before
    torch.set_float32_matmul_precision("high")
    try:
        asked = flags()
        with float32(CARD):
            assert flags() == asked
    finally:
        torch.set_float32_matmul_precision("highest")


def recipe(changes):
    return read_recipe(merged(BASE, changes))


@ON_A_CARD
@pytest.mark.slow
@pytest.mark.parametrize("windows", ["positions", "prefixes"])
@pytest.mark.parametrize("name", TRAINED)
def test_a_card_gives_the_same_numbers_with_every_backbone(tmp_path, name, windows):
    if name in BY_USER:
        windows = "interactions"
    changes = {"model": {"name": name, "dim": 16}, "training.windows": windows}
    same_twice(recipe(changes), tmp_path)


@ON_A_CARD
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_card_gives_the_same_numbers_with_all_candidates(tmp_path, kind):
    same_twice(recipe(merged({"model": {"name": "gru4rec", "dim": 16}}, KINDS[kind])), tmp_path)


def same_twice(asked, folder):
    one, two = (fit_recipe(asked, folder / str(n)) for n in (1, 2))
    assert one.weights_fingerprint == two.weights_fingerprint
    assert one.facts["test"] == two.facts["test"]


@ON_A_CARD
def test_a_card_computes_a_gru_in_float32():
    torch.manual_seed(0)
    model = GRU4Rec(50, dim=128).eval()
    batch = padded([[item % 50 for item in range(start, start + 20)] for start in range(30)], 50)
    with torch.no_grad():
        own, expected = model.cuda()(batch.to(CARD)).users.cpu(), model.cpu()(batch).users
    torch.testing.assert_close(own, expected, atol=2e-6, rtol=1e-5)
