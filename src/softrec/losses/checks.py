"""What a softmax problem is refused for, before anything is computed."""

from __future__ import annotations

from torch import Tensor

from softrec.losses.softmax import SoftmaxProblem, SoftTarget, SoftWeight
from softrec.parallel import Catalogue


def check_problem(
    problem: SoftmaxProblem,
    soft: SoftTarget | None,
    weight: SoftWeight = 0.0,
    catalogue: Catalogue | None = None,
) -> None:
    """Refuse shapes that do not fit, labels that are not items, and targets with masked negatives.

    Labels are checked on a CPU only, because elsewhere the check would wait for the device.

    Raises:
        ValueError: if something does not fit; the message has the expected and the actual value.
    """
    users, (vectors, bias, _), place, positive = problem[:4]
    if users.dim() != 2 or not len(users):
        raise ValueError(f"expected users (P, D) with P at least 1, got {tuple(users.shape)}")
    rows, width = users.shape
    m = len(vectors)
    _check_shape("labels", place, rows)
    _check_shape("item vectors", vectors, m, width)
    _check_shape("the bias", bias, m)
    if positive is not None:
        _check_shape("vectors of the positives", positive.vectors, rows, width)
        _check_shape("the bias of the positives", positive.bias, rows)
        _check_shape("counts", problem.counts, m)
        _check_shape("a correction", problem.correction, m)
    else:
        _check_labels(place, m if catalogue is None else catalogue.n_items)
    if catalogue is not None:
        _check_shard(problem, soft, catalogue)
    if isinstance(weight, Tensor):
        _check_shape("weights of the soft target", weight, rows)
    if (problem.offset is None) != (problem.label_offset is None):
        raise ValueError("expected offsets of negatives and positives, or of none of them")
    _check_shape("the offset of the positives", problem.label_offset, rows)
    if problem.offset is not None:
        _check_shape("the starts of the offset", problem.offset.starts, rows + 1)
    if soft is not None and problem.masked is not None:
        raise ValueError(
            "a soft target may give probability to items that mask_positives masks, and nothing "
            "would limit their scores; choose mask_positives=False"
        )


def _check_shard(problem: SoftmaxProblem, soft: SoftTarget | None, catalogue: Catalogue) -> None:
    """Refuse what needs more of the other processes than a few numbers a row."""
    own = catalogue.stop - catalogue.start
    if len(problem.negatives.vectors) != own:
        raise ValueError(
            f"expected the vectors of the {own} items of this process, got "
            f"{len(problem.negatives.vectors)}"
        )
    if problem.positive is not None:
        raise ValueError(
            "a catalogue in shards is scored as a whole: positives are rows of the shards; give "
            "sampled candidates with their vectors, and no catalogue"
        )
    if soft is not None and soft.mean is not None:
        raise ValueError("a catalogue in shards takes no mean item; give the target alone")


def _check_labels(label: Tensor, n_items: int) -> None:
    if n_items < 2:
        raise ValueError(
            "a positive is scored against other items, so at least 2 items are needed; got "
            f"{n_items}"
        )
    if label.device.type == "cpu":
        low, high = label.aminmax()
        if low < 0 or high >= n_items:
            wrong = int(low if low < 0 else high)
            raise ValueError(f"expected labels in 0 .. {n_items - 1}, got {wrong}")


def _check_shape(name: str, tensor: Tensor | None, *shape: int) -> None:
    if tensor is not None and tensor.shape != shape:
        raise ValueError(f"expected {name} of shape {shape}, got {tuple(tensor.shape)}")
