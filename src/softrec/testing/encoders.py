"""The contract of an encoder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from softrec.errors import DataError
from softrec.testing.answers import check_items, check_users
from softrec.testing.checking import require, require_close
from softrec.types import Batch, Encoder

LENGTHS = (6, 1, 4, 2)
TOLERANCE = 2e-5


def check_encoder(
    make_encoder: Callable[[], Encoder],
    n_items: int,
    *,
    prefixes: bool = True,
    unmoved: Collection[str] = (),
) -> None:
    """Check shapes, padding, causality, determinism, gradients and saving of an encoder.

    The checks depend on the capabilities that it declares. With `reads = "user"` the user vector
    must depend only on the number of the user: the history changes nothing, and unknown users are
    refused. With `needs_times` all batches have times, which must have an effect, and a batch
    without times must be refused. With `predicts_interests` the user vectors are the mean of the
    interests.

    Args:
        make_encoder: makes a new encoder for histories of 6 items or more, with initial weights
            from the global random state; if it reads users, for users 0 to 3 at least.
        n_items: size N of its catalogue, 8 or more.
        prefixes: whether a prediction at a step inside a history equals the prediction at the end
            of the history cut there. False for models that count positions from the end.
        unmoved: endings of the names of parameters that cannot have a gradient, such as the bias
            of attention keys, which cancels in the softmax.

    Raises:
        AssertionError: if the encoder breaks a rule; the message names it.
    """
    torch.manual_seed(0)
    encoder = _made(make_encoder)
    require(
        getattr(encoder, "n_items", None) == n_items,
        f"n_items is {getattr(encoder, 'n_items', 'not set')}, expected {n_items}: set it in "
        "__init__",
    )
    sample = _sample(n_items, encoder.needs_times)
    encoder.eval()
    with torch.no_grad():
        _check_shapes(encoder, sample)
        _check_items_are_shared(encoder, sample)
        _check_interests(encoder, sample)
        _check_padding(encoder, sample)
        _check_alone(encoder, sample)
        _check_steps(encoder, sample, prefixes)
        if encoder.needs_times:
            _check_times(encoder, sample)
        if encoder.reads == "history":
            _check_last_item(encoder, sample)
        else:
            _check_users_alone(encoder, sample)
            _check_unknown_users(encoder, sample)
        _check_saving(encoder, make_encoder, sample)
    _check_gradients(encoder, sample, unmoved)


def padded(
    histories: Sequence[Sequence[int]],
    padding: int,
    *,
    side: str = "right",
    extra: int = 0,
    users: Sequence[int] | None = None,
    times: Sequence[Sequence[int]] | None = None,
) -> Batch:
    """Return a batch with a prediction at the end of each history, and `extra` padded columns.

    By default the users have the numbers of the rows. With `times`, the times of the events, the
    batch has times, padded with 0.

    Example:
        >>> padded([[1, 2], [3]], 9, side="left").history
        tensor([[1, 2],
                [9, 3]])
    """
    width = max(len(history) for history in histories) + extra
    numbers = torch.arange(len(histories))
    return Batch(
        history=_filled(histories, width, padding, side),
        label=torch.zeros_like(numbers),
        example=numbers,
        user=numbers if users is None else torch.tensor(users),
        time=None if times is None else _filled(times, width, 0, side),
    )


def at_every_step(batch: Batch, lengths: Sequence[int]) -> Batch:
    """Return the batch with a prediction after each item of each row."""
    row = torch.tensor([r for r, length in enumerate(lengths) for _ in range(length)])
    step = torch.tensor([s for length in lengths for s in range(length)])
    numbers = torch.arange(len(row))
    return batch._replace(label=torch.zeros_like(row), example=numbers, row=row, step=step)


class _Sample(NamedTuple):
    """Histories of the lengths `LENGTHS`, with times if the encoder reads them."""

    n_items: int
    items: list[list[int]]
    times: list[list[int]] | None

    def batch(
        self, *, side: str = "right", extra: int = 0, users: Sequence[int] | None = None
    ) -> Batch:
        return padded(
            self.items, self.n_items, side=side, extra=extra, users=users, times=self.times
        )

    def alone(self, row: int) -> Batch:
        times = None if self.times is None else [self.times[row]]
        return padded([self.items[row]], self.n_items, users=[row], times=times)

    def prefixes(self) -> Batch:
        """Return each history cut after each of its items, in the order of `at_every_step`."""
        cuts = [(row, end) for row, length in enumerate(LENGTHS) for end in range(1, length + 1)]
        items = [self.items[row][:end] for row, end in cuts]
        times = None if self.times is None else [self.times[row][:end] for row, end in cuts]
        return padded(items, self.n_items, users=[row for row, _ in cuts], times=times)


def _filled(rows: Sequence[Sequence[int]], width: int, padding: int, side: str) -> Tensor:
    """Return the rows (B, width), filled up with `padding` on the side."""
    filled = []
    for row in rows:
        fill = [padding] * (width - len(row))
        filled.append([*fill, *row] if side == "left" else [*row, *fill])
    return torch.tensor(filled)


def _made(make_encoder: Callable[[], Encoder]) -> Encoder:
    try:
        encoder = make_encoder()
    except TypeError as error:
        if "abstract" not in str(error):
            raise
        raise AssertionError(
            f"an encoder has items() and forward(batch, items): {error}"
        ) from error
    require(
        isinstance(encoder, Encoder),
        f"an encoder is a subclass of softrec.types.Encoder, got {type(encoder).__name__}",
    )
    require(
        encoder.reads in ("history", "user"), f"reads is history or user, got {encoder.reads!r}"
    )
    return encoder


def _sample(n_items: int, times: bool) -> _Sample:
    """Return random histories. Some times are equal; others differ by at least 10 seconds."""
    require(n_items >= 8, f"the contract needs 8 items or more, got {n_items}")
    generator = torch.Generator().manual_seed(1)
    items = [torch.randperm(n_items, generator=generator)[:length] for length in LENGTHS]
    times_of = []
    for length in LENGTHS:
        gaps = torch.randint(10, 1000, (length,), generator=generator)
        gaps[2::4] = 0
        times_of.append((1_600_000_000 + gaps.cumsum(0)).tolist())
    return _Sample(n_items, [row.tolist() for row in items], times_of if times else None)


def _check_shapes(encoder: Encoder, sample: _Sample) -> None:
    batch = sample.batch()
    users = check_users(encoder, batch, check_items(encoder).vectors.shape[1])
    require(bool((encoder(batch).users == users).all()), "asked twice in eval mode, users differ")
    empty = batch._replace(history=torch.full_like(batch.history, encoder.n_items))
    require(bool(torch.isfinite(encoder(empty).users).all()), "an empty history is not finite")


def _check_items_are_shared(encoder: Encoder, sample: _Sample) -> None:
    """The result of `items()` can be used for any batch, because a ranking computes it once."""
    batch = sample.batch()
    expected, items = encoder(batch), encoder.items()
    found = encoder(batch, items)
    require(
        found.items is items,
        "forward(batch, items) gives other items: return Vectors(users, items or self.items())",
    )
    require_close(found.users, expected.users, "users beside items computed before", atol=0)
    for name, one, other in zip(("vectors", "bias"), expected.items, items, strict=False):
        if one is not None and other is not None:
            require_close(one, other, f"item {name} of forward(batch) and of items()", atol=0)


def _check_interests(encoder: Encoder, sample: _Sample) -> None:
    users, items, interests, stored = encoder(sample.batch())[:4]
    if stored is not None:
        shapes = tuple(stored.users.shape[:1]), tuple(stored.items.shape[:1])
        expected = (len(LENGTHS),), (encoder.n_items,)
        require(shapes == expected, f"stored vectors have rows {shapes}, expected {expected}")
    require(
        (interests is not None) == encoder.predicts_interests,
        f"predicts_interests is {encoder.predicts_interests}, but forward(batch) gives "
        f"{'no ' if interests is None else ''}interests",
    )
    if interests is None:
        return
    k, d = encoder.n_interests, items.vectors.shape[1]
    shapes = tuple(interests.vectors.shape), tuple(interests.logits.shape)
    expected = (len(LENGTHS), k, d), (len(LENGTHS), k)
    require(shapes == expected, f"interests and logits have shapes {shapes}, expected {expected}")
    require_close(users, interests.mean(), "users and the mean of the interests", atol=TOLERANCE)


def _check_padding(encoder: Encoder, sample: _Sample) -> None:
    expected = encoder(sample.batch()).users
    for side in ("right", "left"):
        for extra in (0, 3):
            users = encoder(sample.batch(side=side, extra=extra)).users
            what = f"users with {extra} more columns of padding on the {side}"
            require_close(users, expected, what, atol=TOLERANCE)
    batch = sample.batch(side="left", extra=2)
    for table in encoder.modules():
        if isinstance(table, nn.Embedding) and table.padding_idx is not None:
            kept = table.weight[table.padding_idx].clone()
            table.weight[table.padding_idx] = 100.0
            users = encoder(batch).users
            table.weight[table.padding_idx] = kept
            require_close(users, expected, "users with another padding row", atol=TOLERANCE)


def _check_alone(encoder: Encoder, sample: _Sample) -> None:
    together = encoder(sample.batch()).users
    for row, (length, expected) in enumerate(zip(LENGTHS, together, strict=True)):
        alone = encoder(sample.alone(row)).users[0]
        what = f"a history of {length} items alone, not in a batch"
        require_close(alone, expected, what, atol=TOLERANCE)


def _check_steps(encoder: Encoder, sample: _Sample, prefixes: bool) -> None:
    """Predictions at every step: the last is the default; later items have no effect on earlier."""
    batch = sample.batch()
    asked = at_every_step(batch, LENGTHS)
    users = encoder(asked).users
    require(
        len(users) == sum(LENGTHS), f"{sum(LENGTHS)} steps were asked for, got {len(users)} users"
    )
    ends = torch.tensor(LENGTHS).cumsum(0) - 1
    require_close(users[ends], encoder(batch).users, "the last step of each row", atol=TOLERANCE)
    left = at_every_step(sample.batch(side="left"), LENGTHS)
    require_close(encoder(left).users, users, "every step, padded on the left", atol=TOLERANCE)
    for cut in range(LENGTHS[0] - 1):
        moved = encoder(_with_later_changed(asked, cut, encoder.n_items)).users
        what = f"users up to step {cut} after later items changed"
        require_close(moved[: cut + 1], users[: cut + 1], what, atol=TOLERANCE)
    if prefixes:
        one_by_one = encoder(sample.prefixes()).users
        require_close(users, one_by_one, "every step at once, not one by one", atol=TOLERANCE)


def _with_later_changed(batch: Batch, cut: int, n_items: int) -> Batch:
    """Return the batch with other items in row 0 after column `cut`, and times 1 second apart."""
    history = batch.history.clone()
    history[0, cut + 1 :] = (history[0, cut + 1 :] + 1) % n_items
    if batch.time is None:
        return batch._replace(history=history)
    time = batch.time.clone()
    time[0, cut:] = time[0, cut] + torch.arange(time.shape[1] - cut)
    return batch._replace(history=history, time=time)


def _check_times(encoder: Encoder, sample: _Sample) -> None:
    """Times change the vectors of a history with several items, and are required."""
    batch = sample.batch()
    at_once = batch._replace(time=torch.zeros_like(batch.history))
    moved = (encoder(batch).users[0] != encoder(at_once).users[0]).any()
    require(bool(moved), "other times do not change the user vector")
    try:
        encoder(batch._replace(time=None))
    except DataError:
        return
    raise AssertionError("histories without times must raise a DataError")


def _check_last_item(encoder: Encoder, sample: _Sample) -> None:
    batch = sample.batch()
    last = batch.history.clone()
    last[0, LENGTHS[0] - 1] = (last[0, LENGTHS[0] - 1] + 1) % encoder.n_items
    moved = encoder(batch._replace(history=last)).users[0]
    still = bool((moved == encoder(batch).users[0]).all())
    require(not still, "another last item does not change the user vector")


def _check_users_alone(encoder: Encoder, sample: _Sample) -> None:
    """If users are exchanged, so are their vectors, for any histories."""
    batch = sample.batch()
    users = encoder(batch).users
    require(bool((users[0] != users[1]).any()), "another user has the same user vector")
    moved = encoder(batch._replace(user=batch.user.flip(0))).users
    what = "users who changed places, their histories not"
    require_close(moved, users.flip(0), what, atol=TOLERANCE)


def _check_unknown_users(encoder: Encoder, sample: _Sample) -> None:
    """The unknown user, -1, is refused with an error."""
    batch = sample.batch(users=[0, -1, 1, 2])
    try:
        encoder(batch)
    except DataError:
        return
    raise AssertionError("user -1, who is in no training log, must raise a DataError")


def _check_saving(encoder: Encoder, make_encoder: Callable[[], Encoder], sample: _Sample) -> None:
    batch = sample.batch()
    torch.manual_seed(1)
    other = make_encoder()
    other.eval()
    before = other(batch).users
    require(bool((before != encoder(batch).users).any()), "weights do not depend on the seed")
    other.load_state_dict(encoder.state_dict())
    require_close(other(batch).users, encoder(batch).users, "users after load_state_dict", atol=0)
    for name, loaded, own in zip(("vectors", "bias"), other.items(), encoder.items(), strict=False):
        if loaded is not None and own is not None:
            require_close(loaded, own, f"item {name} after load_state_dict", atol=0)


def _check_gradients(encoder: Encoder, sample: _Sample, unmoved: Collection[str]) -> None:
    """A cross-entropy has a gradient in every parameter, but not in the padding row."""
    encoder.eval()  # with dropout a parameter might have no gradient by chance
    users, items = encoder(sample.batch(side="left"))[:2]
    scores = _scores(users, items.vectors, items.bias)
    labels = torch.arange(len(LENGTHS))
    torch.nn.functional.cross_entropy(scores, labels).backward()
    for name, parameter in encoder.named_parameters():
        if name.endswith(tuple(unmoved)):
            continue
        gradient = parameter.grad
        require(gradient is not None and bool((gradient != 0).any()), f"no gradient reaches {name}")
        if gradient is not None:
            require(bool(torch.isfinite(gradient).all()), f"the gradient of {name} is not finite")
    encoder.zero_grad()


def _scores(users: Tensor, vectors: Tensor, bias: Tensor | None) -> Tensor:
    """Return the logits (B, N); of several interests, the highest."""
    scores = users @ vectors.T
    scores = scores.amax(1) if users.dim() == 3 else scores
    return scores if bias is None else scores + bias
