"""The contract of learning: what a model must make of data with a known answer.

`chain`, `checkerboard` and `noise` (in `known`) draw data of which the best possible ranking is
known. `check_learns` holds a model to that ranking on rows it never saw, from below and from above;
`check_learns_nothing_from_noise` holds it to popularity where there is nothing else to know.
`batch_of`, `halves`, `trained` and `ranks` do the same for data of your own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from softrec.losses.softmax import ObjectiveValue
from softrec.objective import Objective
from softrec.retrieval import rank_of
from softrec.testing.checking import require
from softrec.testing.known import chain, halves, noise, popular_probabilities
from softrec.types import Batch, Encoder, evaluating

Loss = Callable[[Encoder, Batch], ObjectiveValue]
"""An `Objective`, or any function like it."""

ONE_HOT = Objective()
LUCK = 3  # standard errors


def trained(
    make: Callable[[], Encoder],
    batch: Batch,
    objective: Loss = ONE_HOT,
    steps: int = 80,
    lr: float = 0.02,
) -> Encoder:
    """Return an encoder after some steps of Adam on one whole batch, in evaluation mode.

    The global random numbers are seeded with 0 first, for the weights and for dropout.

    Args:
        make: makes an encoder.
        batch: what to train on.
        objective: gives the loss of an encoder on a batch.
        steps: steps of the optimiser, each over the whole batch.
        lr: its learning rate.

    Example:
        >>> from softrec.models.gru4rec import GRU4Rec
        >>> batch = chain(5, rows=50, length=3, seed=0)
        >>> model = trained(lambda: GRU4Rec(5, dim=8, dropout=0.0), batch, steps=30)
        >>> (ranks(model, batch) == 1).all()
        tensor(True)
    """
    torch.manual_seed(0)
    model = make()
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        objective(model, batch).total.backward()
        optimiser.step()
    model.eval()
    return model


def ranks(model: Encoder, batch: Batch) -> Tensor:
    """Return the rank of each label among all items, (P,) int64, in evaluation mode; 1 is the best.

    Example:
        >>> from softrec.models.gru4rec import GRU4Rec
        >>> batch = chain(5, rows=4, length=3, seed=0)
        >>> ranks(GRU4Rec(5, dim=8), batch).shape
        torch.Size([4])
    """
    with torch.no_grad(), evaluating(model):
        return rank_of(model.scores()(batch), batch.label)


def check_learns(
    make_encoder: Callable[[], Encoder],
    n_items: int,
    objective: Loss = ONE_HOT,
    *,
    data: Batch | None = None,
    train: int = 700,
    top: int = 1,
    best: float = 1.0,
    slack: float = 0.01,
    steps: int = 80,
    lr: float = 0.02,
) -> None:
    """Check that an encoder learns all there is to learn, as seen on rows it was not trained on.

    The fraction of labels among the first `top` must be within `slack` and 3 standard errors,
    sqrt(best (1 - best) / rows), of the best possible one. Above it is as wrong as below: such a
    model has seen its labels.

    Args:
        make_encoder: makes a fresh encoder of small width, its weights drawn from the global
            random state.
        n_items: size N of its catalogue.
        objective: what it is trained towards.
        data: what to learn. By default a certain `chain` of 1000 histories of 4 items. For models
            blind to order, and for those that know users by number, a `checkerboard`.
        train: rows to train on; the others judge.
        top: how many of the first items count: 1 for a chain, N / 2 for a checkerboard.
        best: the best possible fraction of labels among them: 1, or `best_top1` for a chain with
            randomness.
        slack: how far below that fraction a model may stay beyond luck.
        steps: steps of training, each over all rows to train on.
        lr: learning rate of Adam.

    Raises:
        AssertionError: if the fraction is too low or too high, naming it.

    Example:
        >>> from softrec.models.gru4rec import GRU4Rec
        >>> check_learns(lambda: GRU4Rec(8, dim=16, dropout=0.0), n_items=8)
    """
    data = chain(n_items, 1000, 4, seed=3) if data is None else data
    seen, unseen = halves(data, train)
    found = ranks(trained(make_encoder, seen, objective, steps, lr), unseen)
    fraction = (found <= top).double().mean().item()
    luck = LUCK * (best * (1 - best) / len(found)) ** 0.5
    what = f"of the labels of {len(found)} unseen rows {fraction:.3f} are among the first {top}"
    require(
        fraction >= best - luck - slack,
        f"{what}; after {steps} steps {best - luck - slack:.3f} must be, {best:.3f} can be",
    )
    require(
        fraction <= best + luck,
        f"{what}, but without knowing the labels no more than {best:.3f} can be, and "
        f"{best + luck:.3f} by luck",
    )


def check_learns_nothing_from_noise(
    make_encoder: Callable[[], Encoder],
    n_items: int,
    objective: Loss = ONE_HOT,
    *,
    data: Batch | None = None,
    train: int = 1000,
    steps: int = 40,
    lr: float = 0.02,
) -> None:
    """Check that no ranking of an encoder beats popularity where there is nothing else to know.

    By reciprocal rank, top 1 and top 3, on rows it was not trained on, each gain over the ranking
    by `popular_probabilities` must be within 3 standard errors of 0, or below.

    Args:
        make_encoder: makes a fresh encoder, its weights drawn from the global random state.
        n_items: size N of its catalogue.
        objective: what it is trained towards.
        data: made by `noise`. By default 5000 histories of 4 items; ask for one with times or
            users where the encoder needs them.
        train: rows to train on; the others judge.
        steps: steps of training, each over all rows to train on.
        lr: learning rate of Adam.

    Raises:
        AssertionError: if a metric is above that of popularity by more than luck, naming it.

    Example:
        >>> from softrec.models.gru4rec import GRU4Rec
        >>> check_learns_nothing_from_noise(lambda: GRU4Rec(8, dim=8), n_items=8, steps=10)
    """
    data = noise(n_items, 5000, 4, seed=4) if data is None else data
    seen, unseen = halves(data, train)
    found = ranks(trained(make_encoder, seen, objective, steps, lr), unseen)
    probs = popular_probabilities(n_items)
    popular = 1 + (probs > probs[unseen.label][:, None]).sum(1)
    for name, metric in _METRICS.items():
        gain = metric(found) - metric(popular)
        luck = LUCK * gain.std().item() / len(gain) ** 0.5 + 1e-12
        require(
            gain.mean().item() <= luck,
            f"{name} on noise is {metric(found).mean():.4f}, more than luck above the "
            f"{metric(popular).mean():.4f} of popularity: the labels are seen somewhere",
        )


_METRICS: dict[str, Callable[[Tensor], Tensor]] = {
    "reciprocal rank": lambda rank: 1 / rank.double(),
    "top 1": lambda rank: (rank == 1).double(),
    "top 3": lambda rank: (rank <= 3).double(),
}
