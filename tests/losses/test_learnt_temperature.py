"""A learnt temperature: the same softmax, a gradient more, and a run that keeps it."""

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

import softrec
from softrec.candidates import InBatch, RowDraws, SharedUniform
from softrec.experiments.build.targets import TrainedTeacher
from softrec.experiments.calibrated import trained_temperature
from softrec.losses.adjustment import logit_adjustment
from softrec.losses.reference import plain
from softrec.losses.softmax import decoupled, hard, mixed
from softrec.losses.streaming import streamed
from softrec.models.mf import MF
from softrec.objective import Objective
from softrec.scoring import Scoring
from softrec.targets.smoothing import UniformTarget
from softrec.types import LOG_TEMPERATURE, Batch

N, P = 11, 6
LABEL = torch.tensor([0, 3, 3, 8, 1, 10])
BATCH = Batch(torch.full((P, 1), N), LABEL, torch.arange(P), torch.tensor([0, 1, 2, 3, 0, 1]))
CANDIDATES = {"full": None, "shared": SharedUniform(N, 5), "rows": RowDraws(N, 4),
              "one": RowDraws(N, 1), "in-batch": InBatch()}  # fmt: skip


def model(temperature=None):
    torch.manual_seed(1)
    made = MF(N, n_users=4, dim=3, output_bias=True).double()
    torch.nn.init.normal_(made.bias)
    if temperature is not None:
        made.learn_temperature(temperature)
        made.double()
    return made


def value_of(encoder, name, loss, scoring, shared=streamed, adjustment=None):
    soft = {} if loss.names == ["hard"] else {"source": UniformTarget(N), "weight": 0.3}
    objective = Objective(loss, candidates=CANDIDATES[name], scoring=scoring, shared=shared,
                          adjustment=adjustment, **soft)  # fmt: skip
    torch.manual_seed(5)
    return objective(encoder, BATCH).total


@pytest.mark.parametrize("kind", ["inner", "cosine", "euclidean"])
@pytest.mark.parametrize("name", CANDIDATES)
@pytest.mark.parametrize("loss", [hard(), mixed(), decoupled(0.3)], ids=["hard", "mixed", "split"])
def test_value_and_gradients_are_those_of_the_number(kind, name, loss):
    """The gradient in its logarithm is that of finite differences of the number."""
    t, step = 0.4, 1e-6
    learnt, fixed = model(t), model()
    value = value_of(learnt, name, loss, Scoring(kind, 3.0))  # the number there is not used
    other = value_of(fixed, name, loss, Scoring(kind, t))
    torch.testing.assert_close(value, other)
    value.backward()
    other.backward()
    for own, part in dict(fixed.named_parameters()).items():
        torch.testing.assert_close(dict(learnt.named_parameters())[own].grad, part.grad)
    up, down = (value_of(model(), name, loss, Scoring(kind, t * np.exp(sign * step)))
                for sign in (1, -1))  # fmt: skip
    slope = (up - down).item() / (2 * step)
    assert float(learnt.log_temperature.grad) == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_the_passes_agree_and_the_adjustment_is_not_divided():
    added = logit_adjustment(torch.arange(N), 1.0).double()
    found = [value_of(model(0.5), "full", mixed(), Scoring("cosine"), shared, added)
             for shared in (streamed, plain)]  # fmt: skip
    torch.testing.assert_close(*found)
    whole = Objective(mixed(), UniformTarget(N), 0.3, scoring=Scoring("cosine", 0.5),
                      adjustment=added)  # fmt: skip
    torch.testing.assert_close(found[0], whole(model(), BATCH).total)


@pytest.mark.parametrize("start", [0.2, 5.0])
def test_it_finds_the_temperature_of_a_known_softmax(start):
    """Vectors stay as they are: the best temperature is the one that labels were drawn with."""
    generator = torch.Generator().manual_seed(0)
    encoder = model(start)
    users, items, *_ = encoder(BATCH)
    z = torch.cosine_similarity(users[:, None], items.vectors, dim=-1) + items.bias
    label = torch.multinomial((z / 0.7).softmax(1), 5000, replacement=True, generator=generator)
    user = BATCH.user.repeat_interleave(5000)
    many = Batch(torch.full((P * 5000, 1), N), label.flatten(), user, user)
    optimizer = torch.optim.Adam([encoder.log_temperature], lr=0.1)
    for step in range(120):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 120)
        optimizer.zero_grad()
        Objective(scoring=Scoring("cosine"))(encoder, many).total.backward()
        optimizer.step()
    assert encoder.log_temperature.exp().item() == pytest.approx(0.7, rel=0.03)


TINY = {"model": "gru4rec", "model.dim": 8, "epochs": 3, "batch_size": 16, "length": 5,
        "lr": 0.03, "progress": False, "loss": "mixed", "score": "cosine",
        "score_temperature": 0.5, "loss.learn_temperature": True}  # fmt: skip


def clicks(shift=0):
    rng = np.random.default_rng(shift)
    items = (rng.integers(25, size=(50, 1)) + rng.integers(1, 3, (50, 8)).cumsum(axis=1)) % 25
    time = np.tile(np.arange(8), 50) + 100 * shift
    return pl.DataFrame({"user": np.repeat(np.arange(50), 8), "item": items.ravel(), "time": time})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SOFTREC_CACHE", str(out.parent / "cache"))
        yield softrec.fit(clicks(), out=out, calibration=True, **TINY)


@pytest.mark.filterwarnings("ignore::softrec.data.aside.LeakageWarning")
def test_a_run_keeps_it(run):
    kept = float(load_file(run.folder / "model.safetensors")[LOG_TEMPERATURE].exp())
    assert kept != pytest.approx(0.5, rel=0.01)  # it was learnt
    again = softrec.open_run(run.folder)
    assert again.temperature == pytest.approx(kept)
    assert trained_temperature(run.recipe, again.encoder()) == pytest.approx(kept)
    assert TrainedTeacher(again, None).scoring == Scoring("cosine", again.temperature)
    assert again.evaluate() == pytest.approx(run.test)
    facts = run.facts["calibration"]  # as trained is close to the best temperature
    assert facts["trained"]["nll"] < facts["scaled"]["nll"] + 0.5


@pytest.mark.filterwarnings("ignore::softrec.data.aside.LeakageWarning")
def test_rankings_do_not_have_it(run):
    """Scores stay cosines, with the bias."""
    encoder = run.encoder()
    bias = encoder.items().bias  # of the model, if it has one
    least, most = (0, 0) if bias is None else (bias.min().item(), bias.max().item())
    scores = run.recommender().recommend([0, 1], 5)["score"]
    assert scores.max() <= 1 + most + 1e-5
    assert scores.min() >= -1 + least - 1e-5


@pytest.mark.filterwarnings("ignore::softrec.data.aside.LeakageWarning")
def test_a_training_goes_on_from_it(run, tmp_path):
    still = {"lr": 1e-9, "epochs": 1}
    on = softrec.fit(clicks(), out=tmp_path / "on", start=str(run.folder), **TINY | still)
    assert on.temperature == pytest.approx(run.temperature, rel=1e-4)
    without = TINY | still | {"loss.learn_temperature": False}
    off = softrec.fit(clicks(), out=tmp_path / "off", start=str(run.folder), **without)
    assert off.temperature == 0.5
    assert off.encoder().log_temperature is None
    back = softrec.fit(clicks(), out=tmp_path / "back", start=str(off.folder), **TINY | still)
    assert back.temperature == pytest.approx(0.5, rel=1e-4)
    new = softrec.update(run.folder, clicks(1), out=tmp_path / "new", lr=1e-9, epochs=1).run
    assert new.temperature == pytest.approx(run.temperature, rel=1e-4)
