"""The mean teacher: what it averages, what it predicts, and that a killed training goes on."""

import copy

import pytest
import torch

from messages import refused
from softrec.errors import RecipeError
from softrec.experiments.build.data import load_split
from softrec.experiments.build.objective import build
from softrec.experiments.train import fit_recipe
from softrec.losses.softmax import hard, mixed
from softrec.objective import Objective
from softrec.recipe.recipe import merged, read_recipe
from softrec.targets.build.mean_teacher import MeanTeacherSource
from softrec.targets.mixture import MixtureSource
from softrec.targets.smoothing import UniformTarget
from softrec.testing import check_target
from softrec.training.checkpoints import RESUME
from softrec.training.module import SoftTargetModule

SHOP = {"n_items": 30, "n_categories": 4, "n_archetypes": 4, "n_users": 40, "max_length": 12}
BASE = {
    "data": {"source": "shop", "cold_items": "keep", "shop": SHOP},
    "model": {"name": "sasrec", "dim": 8, "layers": 1, "heads": 1, "dropout": 0.3},
    "target": {"name": "mean-teacher", "alpha": 0.4, "decay": 0.9},
    "training": {"epochs": 3, "batch_size": 32, "length": 5, "lr": 0.02, "patience": 9},
}  # fmt: skip
MODELS = {
    "sasrec": {},
    "gru4rec": {"model": {"name": "gru4rec", "dim": 8}},
    "mf": {"model": {"name": "mf", "dim": 8},
           "training": BASE["training"] | {"windows": "interactions", "length": 1}},
    "comirec-sa": {"model": {"name": "comirec-sa", "dim": 8, "interests": 2}},
    "cosines": {"loss": {"name": "sl"}},
}  # fmt: skip
CANDIDATES = {"full": {"name": "full"}, "sampled": {"name": "sampled", "ratio": 0.5},
              "by row": {"name": "sampled", "number": 9, "per_row": True}}  # fmt: skip


@pytest.fixture(scope="module")
def split():
    return load_split(read_recipe(BASE).data)


def begun(split, changes=None):
    fields = merged(BASE, {})
    for name, below in (changes or {}).items():
        fields[name] = below
    return build(read_recipe(fields), split)


def flat(encoder):
    return torch.cat([part.detach().flatten() for part in encoder.parameters()])


def step(encoder, objective, optimizer, batch):
    optimizer.zero_grad()
    objective(encoder, batch).total.backward()
    optimizer.step()
    objective.after_step()


@pytest.mark.parametrize("candidates", CANDIDATES)
@pytest.mark.parametrize("model", MODELS)
def test_it_predicts_with_the_average_of_the_steps(split, model, candidates):
    torch.manual_seed(0)
    changes = MODELS[model] | {"candidates": CANDIDATES[candidates]}
    encoder, objective, batches = begun(split, changes)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.02)
    average, all_batches = flat(encoder), list(batches)
    for number, batch in enumerate(all_batches[:4], 1):
        step(encoder, objective, optimizer, batch)
        decay = min(0.9, number / (number + 9))
        average = decay * average + (1 - decay) * flat(encoder)
    own, batch = flat(encoder), all_batches[0]
    assert encoder.training
    target = objective.source(batch)
    assert torch.equal(flat(encoder), own)  # it has its own weights again
    assert encoder.training
    teacher = copy.deepcopy(encoder).eval()
    torch.nn.utils.vector_to_parameters(average, teacher.parameters())
    with torch.no_grad():
        vectors = teacher(batch)
    users = objective.scoring.picked(vectors.users, vectors.items, batch.label)
    users, items = objective.scoring.users(users), objective.scoring.items(vectors.items)
    z = users @ items.vectors.T + (0 if items.bias is None else items.bias)
    every = torch.arange(30).expand(len(batch.label), -1)
    torch.testing.assert_close(target.prob_of(every), z.softmax(1), rtol=1e-4, atol=1e-6)
    if model != "cosines":  # whose temperature of 0.1 multiplies rounding errors
        check_target(target, 30, len(batch.label))


def test_its_own_prediction_only_scales_the_gradient(split):
    """Towards (1 - a) e_y + a p, with p the model's own: p - q = (1 - a) (p - e_y)."""
    changes = {"model": BASE["model"] | {"dropout": 0.0}}
    encoder, _, batches = begun(split, changes)
    batch, found = next(iter(batches)), []
    source = MeanTeacherSource(encoder, decay=0.5)
    for objective in (Objective(mixed(), source, 0.4), Objective(hard())):
        encoder.zero_grad()
        objective(encoder, batch).total.backward()
        found.append(torch.cat([part.grad.flatten() for part in encoder.parameters()]))
    torch.testing.assert_close(found[0], 0.6 * found[1], rtol=1e-4, atol=1e-7)


def test_it_is_the_average_that_training_ema_validates(split, tmp_path, monkeypatch):
    """The same decay gives the same weights: one formula for both."""
    seen, end = [], SoftTargetModule.on_train_epoch_end

    def watched(self):
        seen.append((flat(self.encoder), torch.cat(
            [part.flatten() for part in self.objective.source.averages])))  # fmt: skip
        end(self)

    monkeypatch.setattr(SoftTargetModule, "on_train_epoch_end", watched)
    fields = merged(BASE, {"training.ema": 0.9})
    fit_recipe(read_recipe(fields), tmp_path / "run", split=split)
    assert len(seen) == 3
    for validated, average in seen:
        torch.testing.assert_close(validated, average)


def test_a_mixture_follows_too(split):
    encoder, _, _ = begun(split)
    inner = MeanTeacherSource(encoder, decay=0.5)
    objective = Objective(mixed(), MixtureSource((UniformTarget(30), inner), (0.5, 0.5)), 0.4)
    before = [part.clone() for part in inner.averages]
    with torch.no_grad():
        for part in encoder.parameters():
            part.add_(1.0)
    objective.after_step()
    for part, was in zip(inner.averages, before, strict=True):
        torch.testing.assert_close(part, was + 0.9)
    saved = objective.state_dict()
    assert len(saved) == len(before) + 1  # the number of steps
    assert int(saved["source.moved.1.steps"]) == 1


def test_a_target_without_an_average_reads_nothing(split):
    Objective(mixed(), UniformTarget(30), 0.4).after_step()
    Objective(mixed(), MixtureSource((UniformTarget(30),), (1.0,)), 0.4).after_step()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [4, 7, 13])
def test_a_killed_training_goes_on_with_the_same_average(split, tmp_path, monkeypatch, at):
    """Checkpoints are inside of epochs, after each third step."""
    often = {"training.checkpoint_steps": 3, "training.batch_size": 8}
    fields = merged(BASE, often | {"target.mass": {"first": 0.0, "epochs": 2}})
    whole = fit_recipe(read_recipe(fields), tmp_path / "whole", split=split)
    count, training_step = 0, SoftTargetModule.training_step

    def killed(self, batch, batch_idx):
        nonlocal count
        count += 1
        if count == at:
            raise Killed
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(SoftTargetModule, "training_step", killed)
        with pytest.raises(Killed):
            fit_recipe(read_recipe(fields), tmp_path / "run", split=split)
    assert (tmp_path / "run.part" / RESUME).exists()
    run = fit_recipe(read_recipe(fields), tmp_path / "run", split=split)
    for name, part in whole.encoder().state_dict().items():
        assert torch.equal(part, run.encoder().state_dict()[name]), name
    for one, other in zip(whole.facts["curve"], run.facts["curve"], strict=True):
        assert one["train/loss"] == other["train/loss"]


def test_the_same_seed_gives_the_same_numbers(split, tmp_path):
    runs = [fit_recipe(read_recipe(BASE), tmp_path / name, split=split) for name in "ab"]
    assert torch.equal(flat(runs[0].encoder()), flat(runs[1].encoder()))
    plain = merged(BASE, {}) | {"target": {"name": "one-hot"}}
    other = fit_recipe(read_recipe(plain), tmp_path / "c", split=split)
    assert not torch.equal(flat(runs[0].encoder()), flat(other.encoder()))


@pytest.mark.parametrize("changes", [
    {"prior": {"model": "item-knn", "folds": 2}}, {"loss": {"name": "bpr"}},
    {"model": {"name": "item-knn"}},
    {"target": {"name": "mean-teacher", "decay": 1.0}},
], ids=["prior", "pairwise", "counted", "decay"])  # fmt: skip
def test_what_makes_no_sense(changes):
    with refused(RecipeError):
        read_recipe(merged(BASE, {}) | changes)
    of = [{"weight": 1.0, "target": BASE["target"]}]
    with pytest.raises(RecipeError):
        read_recipe(merged(BASE, {}) | {"target": {"name": "mixture", "of": of}} | changes)


def test_a_learnt_temperature_is_that_of_the_teacher_too(split):
    """With decay 0 the teacher is the model, so that only the part of the label has a gradient."""
    model = {**BASE["model"], "dropout": 0.0}
    loss = {"name": "mixed", "score": "cosine", "score_temperature": 0.1, "learn_temperature": True}
    target = {**BASE["target"], "decay": 0.0}
    encoder, objective, batches = begun(split, {"model": model, "loss": loss, "target": target})
    encoder.log_temperature.data.fill_(-0.9)
    objective.after_step()
    batch = next(iter(batches))
    weights = [part for name, part in encoder.named_parameters() if "temperature" not in name]

    def gradient(of):
        found = torch.autograd.grad(of(encoder, batch).total, weights, allow_unused=True)
        return torch.cat([part.flatten() for part in found if part is not None])

    of_labels = gradient(Objective(hard(), scoring=objective.scoring))
    torch.testing.assert_close(gradient(objective), 0.6 * of_labels, atol=1e-5, rtol=1e-4)
