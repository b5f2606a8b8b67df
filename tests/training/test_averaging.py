"""The average of the weights: what it is of, where it is seen, and that training is not changed."""

import pytest
import torch
from test_training import Scripted, batches, encoder
from torch.optim.optimizer import register_optimizer_step_post_hook

from softrec.objective import Objective
from softrec.training import loop

STEPS = len(batches())


class Seen(Scripted):
    """Keeps the weights of each step, and those that are validated."""

    def __init__(self, model, *values):
        super().__init__(*values)
        self.model, self.steps, self.validated = model, [], []

    def weights(self, model):
        return torch.cat([part.detach().flatten().clone() for part in model.parameters()])

    def step(self, *_):
        self.steps.append(self.weights(self.model))

    def __call__(self, model):
        self.validated.append(self.weights(model))
        return super().__call__(model)


def train(folder, ema, values=(0.1, 0.3, 0.2)):
    torch.manual_seed(0)
    model = encoder()
    seen = Seen(model, *values)
    begin = seen.weights(model)
    handle = register_optimizer_step_post_hook(seen.step)
    try:
        loop.train(model, Objective(), batches(), seen, folder, epochs=len(values), lr=0.05,
                   patience=99, ema=ema)  # fmt: skip
    finally:
        handle.remove()
    return begin, seen, seen.weights(model)


@pytest.mark.parametrize("decay", [0.3, 0.95])
def test_the_average_of_all_steps_is_validated_and_kept(tmp_path, decay):
    average, seen, kept = train(tmp_path, decay)
    averages = []
    for step, weights in enumerate(seen.steps, 1):
        part = min(decay, step / (step + 9))
        average = part * average + (1 - part) * weights
        averages.append(average)
    assert len(seen.steps) == 3 * STEPS
    for epoch, validated in enumerate(seen.validated, 1):
        torch.testing.assert_close(validated, averages[epoch * STEPS - 1])
    torch.testing.assert_close(kept, averages[2 * STEPS - 1])  # of the best epoch
    assert not torch.allclose(kept, seen.steps[2 * STEPS - 1], atol=1e-3)


def test_the_steps_are_those_of_a_training_without_it(tmp_path):
    _, plain, _ = train(tmp_path / "plain", None)
    _, averaged, _ = train(tmp_path / "averaged", 0.9)
    for one, other in zip(plain.steps, averaged.steps, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(plain.validated[0], plain.steps[STEPS - 1])
