"""The contract of learning: a model must reach the best possible ranking on simulated data.

`chain`, `checkerboard` and `noise` (in `known`) simulate data whose best possible ranking is known.
`check_learns` checks that a model is neither worse nor better than that ranking on rows that it was
not trained on. `check_learns_nothing_from_noise` checks that it is not better than popularity where
nothing else can be learned. `batch_of`, `halves`, `trained` and `ranks` help with your own data.
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
"""An `Objective`, or any function with the same arguments."""

ONE_HOT = Objective()
LUCK = 3  # standard errors


def trained(
    make: Callable[[], Encoder],
    batch: Batch,
    objective: Loss = ONE_HOT,
    steps: int = 80,
    lr: float = 0.02,
) -> Encoder:
    """Return an encoder after some steps of Adam on one batch, in evaluation mode.

    The global random state is seeded with 0 first, for the weights and for dropout.

    Args:
        make: makes an encoder.
        batch: the training examples.
        objective: returns the loss of an encoder on a batch.
        steps: the number of steps, each over the whole batch.
        lr: the learning rate.

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
    """Check that an encoder learns everything that can be learned, on rows not used for training.

    The fraction of labels among the first `top` items must be within `slack` and 3 standard errors,
    sqrt(best (1 - best) / rows), of the best possible fraction. A higher fraction is an error, too:
    such a model knows its labels.

    Args:
        make_encoder: makes a new encoder of small width, with initial weights from the global
            random state.
        n_items: size N of its catalogue.
        objective: the objective to train with.
        data: the data. By default a deterministic `chain` of 1000 histories of 4 items. For models
            that ignore the order, and for those that identify users by number, a `checkerboard`.
        train: the number of rows for training; the others are for the test.
        top: how many of the first items count: 1 for a chain, N / 2 for a checkerboard.
        best: the best possible fraction of labels among them: 1, or `best_top1` for a chain with
            randomness.
        slack: how much lower than `best` the fraction may be, in addition to the standard errors.
        steps: steps of training, each over all rows for training.
        lr: learning rate of Adam.

    Raises:
        AssertionError: if the fraction is too low or too high.

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
    """Check that an encoder is not better than popularity on data without other structure.

    The metrics are reciprocal rank, top 1 and top 3, on rows not used for training. Each gain over
    the ranking by `popular_probabilities` must be at most 3 standard errors.

    Args:
        make_encoder: makes a new encoder, with initial weights from the global random state.
        n_items: size N of its catalogue.
        objective: the objective to train with.
        data: made by `noise`; by default 5000 histories of 4 items. If the encoder needs times or
            users, give data with these.
        train: the number of rows for training; the others are for the test.
        steps: steps of training, each over all rows for training.
        lr: learning rate of Adam.

    Raises:
        AssertionError: if a metric is significantly above that of popularity.

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
