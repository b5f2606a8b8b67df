"""The learning rate, its decay and clipping: what each step of a training gets."""

from math import cos, pi

import pytest
import torch
from test_training import Scripted, batches, encoder
from torch.optim.optimizer import register_optimizer_step_post_hook

from softrec.objective import Objective
from softrec.training import loop
from softrec.training.schedule import Schedule

STEPS = len(batches())
pytestmark = pytest.mark.slow


class Seen(Scripted):
    """Keeps the learning rate and the norm of the gradient of each step."""

    def __init__(self, *values):
        super().__init__(*values)
        self.rates, self.norms = [], []

    def step(self, optimizer, *_):
        groups = optimizer.param_groups
        self.rates.append(groups[0]["lr"])
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        self.norms.append(torch.stack([g.norm() for g in gradients]).norm().item())


def train(folder, values=(0.1, 0.2, 0.3, 0.4), **options):
    seen = Seen(*values)
    handle = register_optimizer_step_post_hook(seen.step)
    model = encoder()
    try:
        options = {"epochs": len(values), "lr": 0.01, "patience": 99} | options
        loop.train(model, Objective(), batches(), seen, folder, **options)
    finally:
        handle.remove()
    return seen, model


def test_constant(tmp_path):
    assert train(tmp_path)[0].rates == [0.01] * 4 * STEPS


def test_warm_up_then_constant(tmp_path):
    rates = train(tmp_path, schedule=Schedule(warmup=4))[0].rates
    assert rates == pytest.approx([0.0025, 0.005, 0.0075] + [0.01] * (4 * STEPS - 3))


def test_cosine_falls_to_zero_in_the_last_epoch(tmp_path):
    rates = train(tmp_path, schedule=Schedule("cosine", warmup=2))[0].rates
    whole = 4 * STEPS
    falling = [0.005 * (1 + cos(pi * t / (whole - 2))) for t in range(whole - 2)]
    assert rates == pytest.approx([0.005, 0.01, *falling])
    assert rates[-1] < 0.001


def test_a_plateau_halves_the_rate(tmp_path):
    values = (0.1, 0.3, 0.2, 0.3, 0.1, 0.4)  # of equals the second is no better
    rates = train(tmp_path, values, schedule=Schedule("plateau", patience=1))[0].rates
    by_epoch = [rates[epoch * STEPS : (epoch + 1) * STEPS] for epoch in range(6)]
    expected = [0.01, 0.01, 0.01, 0.01, 0.005, 0.005]
    assert [set(some) for some in by_epoch] == [{rate} for rate in expected]


def test_clipping_limits_the_norm_of_the_gradient(tmp_path):
    free, clipped = (train(tmp_path / str(clip), clip=clip)[0].norms for clip in (None, 0.01))
    assert max(free) > 0.02
    assert max(clipped) == pytest.approx(0.01, rel=1e-4)


def test_the_decay_of_adamw_does_not_depend_on_the_gradient(tmp_path):
    """With a learning rate near 0, Adam's step is that of its signs, AdamW's decay is apart."""
    models = {
        name: train(tmp_path / name, (0.1,), lr=1e-3, weight_decay=100.0, optimizer=name)[1]
        for name in ("adam", "adamw")
    }
    begun = dict(encoder().named_parameters())
    table = begun["table.weight"][:-1].detach()
    apart = models["adamw"].table.weight[:-1].detach()
    # Each step multiplies the weights by 1 - 1e-3 * 100 before Adam's own step of at most 1e-3.
    assert (apart - table * 0.9**STEPS).abs().max() < 1.1e-3 * STEPS
    together = models["adam"].table.weight[:-1].detach()
    assert (together - table).abs().max() < 1.1e-3 * STEPS
