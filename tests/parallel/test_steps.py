"""The step of two processes is that of one: every loss, target and candidate set, in float64."""

import pytest
import torch
from processes import results
from torch import distributed, nn

from softrec import parallel
from softrec.candidates import CandidateSource, InBatch, MixedDraws
from softrec.losses.bilateral import grouped_label, negative_side
from softrec.objective import Objective
from softrec.parallel import by_itself
from softrec.targets.dense import DenseTarget
from softrec.targets.mixture import MixtureTarget
from softrec.targets.smoothing import UniformTarget
from softrec.targets.sparse import SparseTarget
from softrec.targets.teacher import TeacherTarget, TopTarget
from softrec.training.optimizers import mark_sparse
from softrec.training.processes import average_rows, share
from softrec.types import Batch
from test_axes import (
    BATCH,
    CANDIDATES,
    LOSSES,
    PAIRS,
    POPULAR,
    SPARSE,
    TARGETS,
    TEACHER,
    WEIGHT,
    N,
    P,
    encoder_of,
)

PARTS = [slice(0, 4), slice(4, P)]  # uneven


def part_of(number):
    """The part of the batch that one of two processes gets, with a new history for each row."""
    own = PARTS[number]
    fields = (BATCH.history, BATCH.label, BATCH.example, BATCH.user)
    return Batch(*(field[own] for field in fields), total=P)


def at(example, name):
    """The target of some rows of the batch."""
    if name in ("uniform", "popularity"):
        return TARGETS[name]
    if name == "sparse":
        return SparseTarget(SPARSE.items[example], SPARSE.probs[example])
    if name == "top":
        items = SPARSE.items.sort(1).values[example]
        return TopTarget.of(items, 0.6 * SPARSE.probs[example], N)
    if name == "teacher":
        return TeacherTarget(TEACHER.users[example], TEACHER.items, TEACHER.temperature)
    if name == "mixture":
        parts = UniformTarget(N), at(example, "sparse"), at(example, "teacher")
        return MixtureTarget(parts, (0.2, 0.5, 0.3))
    assert name in ("dense", "own")
    return DenseTarget(TARGETS["dense"].probs[example])


class OfRows(nn.Module):
    """Candidates drawn for each row of the whole batch, and those of the rows asked for."""

    def __init__(self, source: CandidateSource) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.drawn = source(BATCH)

    def forward(self, batch):
        drawn = self.drawn
        if drawn.items.dim() == 1:
            return drawn
        own = [
            part if part is None or len(part) == 1 else part[batch.example] for part in drawn[:3]
        ]
        return drawn._replace(items=own[0], counts=own[1], correction=own[2])


def candidates_of(name):
    source = CANDIDATES[name]
    return source if source is None or isinstance(source, InBatch | MixedDraws) else OfRows(source)


def gradients(encoder):
    return {
        name: part.grad.to_dense() if part.grad.is_sparse else part.grad
        for name, part in encoder.named_parameters()
        if part.grad is not None
    }


def stepped(objective, model, *, sparse=False):
    """Return how far value and gradients of two processes are from those of one."""
    encoder = encoder_of(model)
    if sparse:
        mark_sparse(encoder)
    torch.manual_seed(7)
    with by_itself():
        whole = objective(encoder, BATCH)
        whole.total.backward()
    expected = gradients(encoder)
    encoder.zero_grad()
    torch.manual_seed(7)
    batch = part_of(parallel.rank())
    own = objective(encoder, batch)
    (own.total * share(batch)).backward()
    average_rows(encoder)
    found = {}
    for parameter in encoder.parameters():
        if sparse and parameter.grad is not None and len(parameter) >= min(N, 4):
            continue  # averaged already
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)
        parameter.grad /= 2
    found = gradients(encoder)
    mean = parallel.summed(own.total.detach() * share(batch)) / 2
    distances = [float(abs(mean - whole.total.detach()))]
    distances += [float((found[name] - expected[name]).abs().max()) for name in expected]
    for name, values in own.parts.items():
        distances.append(float((values - whole.parts[name][PARTS[parallel.rank()]]).abs().max()))
    return max(distances)


def every_step():
    found = {}
    for candidates in CANDIDATES:
        source = candidates_of(candidates)
        for loss, parts in LOSSES.items():
            for target in ("none", *TARGETS):
                soft = target != "none"
                if soft == (loss == "hard"):
                    continue
                if loss == "decoupled" and not soft:
                    continue
                chosen = (lambda batch, t=target: at(batch.example, t)) if soft else None
                objective = Objective(parts, chosen, WEIGHT if soft else 0.0, source)
                found[candidates, loss, target] = stepped(objective, "mf")
        for loss, pairs in PAIRS.items():
            found[candidates, loss] = stepped(Objective(pairs, candidates=source), "mf")
        grouped = Objective(
            {"negative": (negative_side(1.3), 1.0)}, candidates=source,
            label_part=(grouped_label, 1.0), l2=0.3,
        )  # fmt: skip
        found[candidates, "grouped"] = stepped(grouped, "mf")
        found[candidates, "gru4rec"] = stepped(Objective(candidates=source), "gru4rec")
        if source is not None:
            found[candidates, "sparse"] = stepped(Objective(candidates=source), "mf", sparse=True)
            exact = Objective(
                LOSSES["mixed"],
                lambda batch: at(batch.example, "sparse"),
                WEIGHT,
                source,
                exact=True,
            )
            found[candidates, "exact"] = stepped(exact, "mf")
    masked = InBatch(POPULAR, mask_positives=True)
    found["masked positives"] = stepped(Objective(candidates=masked), "mf")
    return found


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    return results(2, every_step, tmp_path_factory.mktemp("steps"))


def test_two_processes_make_the_step_of_one(steps):
    for found in steps:
        assert len(found) > 300
        assert {case: far for case, far in found.items() if not far < 1e-12} == {}
