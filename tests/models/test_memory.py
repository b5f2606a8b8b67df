"""What is encoded and counted once, while strengths are tried, is what it would be each time."""

import gc

import torch

from softrec.models.memory import Memory, Remembering
from softrec.models.sasrec import SASRec
from softrec.testing.encoders import padded


def test_another_batch_or_module_is_computed():
    memory, one, other = Memory(), torch.nn.Identity(), torch.nn.Identity()
    batch = padded([[1, 2], [3]], 5)
    assert memory.of(one, batch, lambda: "a") == "a"
    assert memory.of(one, batch._replace(history=batch.history.clone()), lambda: "b") == "a"
    assert memory.of(other, batch, lambda: "b") == "b"
    for field in ("history", "label", "example", "user"):
        changed = batch._replace(**{field: getattr(batch, field) + 1})
        assert memory.of(one, changed, lambda: "c") == "c"
    timed = batch._replace(time=torch.zeros_like(batch.history))
    assert memory.of(one, timed, lambda: "d") == "d"


def test_what_is_gone_is_forgotten():
    memory, module = Memory(), torch.nn.Identity()
    memory.of(module, padded([[1]], 5), lambda: "a")
    del module
    gc.collect()
    assert not memory.found


def test_an_encoder_is_asked_once_and_the_items_are_those_given():
    torch.manual_seed(0)
    encoder = SASRec(5, dim=4, length=3).eval()
    asked = []
    encoder.register_forward_hook(lambda *_: asked.append(1))
    model = Remembering(encoder, Memory())
    batch = padded([[0, 3, 2], [1]], 5)
    first = model(batch)
    items = encoder.items()._replace(bias=torch.ones(5))
    second = model(batch, items)
    assert len(asked) == 1
    assert torch.equal(first.users, second.users)
    assert second.items is items
    assert torch.equal(encoder(batch).users, first.users)
