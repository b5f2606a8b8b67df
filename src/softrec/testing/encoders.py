"""The contract of an encoder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from softrec.errors import DataError
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
    reads: Literal["history", "user"] = "history",
) -> None:
    """Check shapes, padding, causality, determinism, gradients and saving of an encoder.

    Args:
        make_encoder: makes a fresh encoder, an `nn.Module` for histories of 6 items or more, its
            weights drawn from the global random state.
        n_items: size N of its catalogue, 8 or more.
        prefixes: whether asking at a step within a history equals asking at the end of the
            history cut there. False for models that number positions back from the end.
        unmoved: endings of the names of parameters that no gradient can reach, such as the bias
            of attention keys, which cancels in the softmax.
        reads: what the user vector comes from. "user": from the number of the user alone, of whom
            there are 4 or more; the history changes nothing, and strangers are refused.

    Raises:
        AssertionError: if the encoder breaks a rule, naming it.
    """
    torch.manual_seed(0)
    encoder = make_encoder()
    require(isinstance(encoder, Encoder), "an encoder has n_items, users(batch) and items()")
    require(encoder.n_items == n_items, f"n_items is {encoder.n_items}, expected {n_items}")
    module = _module(encoder)
    histories = _histories(n_items)
    module.eval()
    with torch.no_grad():
        _check_shapes(encoder, histories)
        _check_padding(encoder, module, histories)
        _check_alone(encoder, histories)
        _check_steps(encoder, histories, prefixes)
        if reads == "history":
            _check_last_item(encoder, histories)
        else:
            _check_users_alone(encoder, histories)
            _check_strangers(encoder, histories)
        _check_saving(encoder, module, make_encoder, histories)
    _check_gradients(encoder, module, histories, unmoved)


def padded(
    histories: Sequence[Sequence[int]],
    padding: int,
    *,
    side: str = "right",
    extra: int = 0,
    users: Sequence[int] | None = None,
) -> Batch:
    """Return a batch of histories, each asked once at its end, with `extra` columns of padding.

    The users are numbered as the rows unless `users` gives their numbers.

    Example:
        >>> padded([[1, 2], [3]], 9, side="left").history
        tensor([[1, 2],
                [9, 3]])
    """
    width = max(len(history) for history in histories) + extra
    rows = []
    for history in histories:
        fill = [padding] * (width - len(history))
        rows.append([*fill, *history] if side == "left" else [*history, *fill])
    numbers = torch.arange(len(rows))
    user = numbers if users is None else torch.tensor(users)
    return Batch(torch.tensor(rows), torch.zeros_like(numbers), numbers, user)


def at_every_step(batch: Batch, lengths: Sequence[int]) -> Batch:
    """Return the batch asked after each item of each row."""
    row = torch.tensor([r for r, length in enumerate(lengths) for _ in range(length)])
    step = torch.tensor([s for length in lengths for s in range(length)])
    numbers = torch.arange(len(row))
    return batch._replace(label=torch.zeros_like(row), example=numbers, row=row, step=step)


def _module(encoder: Encoder) -> nn.Module:
    if not isinstance(encoder, nn.Module):
        raise AssertionError(f"an encoder is an nn.Module, got {type(encoder).__name__}")
    return encoder


def _histories(n_items: int) -> list[list[int]]:
    require(n_items >= 8, f"the contract needs 8 items or more, got {n_items}")
    generator = torch.Generator().manual_seed(1)
    return [torch.randperm(n_items, generator=generator)[:length].tolist() for length in LENGTHS]


def _check_shapes(encoder: Encoder, histories: list[list[int]]) -> None:
    vectors, bias = encoder.items()
    require(
        vectors.dim() == 2 and len(vectors) == encoder.n_items,
        f"items() gives vectors {tuple(vectors.shape)}, expected ({encoder.n_items}, D)",
    )
    if bias is not None:
        require(bias.shape == vectors.shape[:1], f"the bias has shape {tuple(bias.shape)}")
    batch = padded(histories, encoder.n_items)
    users = encoder.users(batch)
    require(
        users.dim() in (2, 3)
        and len(users) == len(histories)
        and users.shape[-1] == vectors.shape[1],
        f"users() gives {tuple(users.shape)} for {len(histories)} rows and items of width "
        f"{vectors.shape[1]}",
    )
    require(users.is_floating_point(), f"users() gives {users.dtype}, no float")
    require(
        bool((encoder.users(batch) == users).all()), "asked twice in eval mode, users() differs"
    )
    empty = batch._replace(history=torch.full_like(batch.history, encoder.n_items))
    require(bool(torch.isfinite(encoder.users(empty)).all()), "an empty history is not finite")


def _check_padding(encoder: Encoder, module: nn.Module, histories: list[list[int]]) -> None:
    expected = encoder.users(padded(histories, encoder.n_items))
    for side in ("right", "left"):
        for extra in (0, 3):
            users = encoder.users(padded(histories, encoder.n_items, side=side, extra=extra))
            what = f"users with {extra} more columns of padding on the {side}"
            require_close(users, expected, what, atol=TOLERANCE)
    batch = padded(histories, encoder.n_items, side="left", extra=2)
    for table in module.modules():
        if isinstance(table, nn.Embedding) and table.padding_idx is not None:
            kept = table.weight[table.padding_idx].clone()
            table.weight[table.padding_idx] = 100.0
            users = encoder.users(batch)
            table.weight[table.padding_idx] = kept
            require_close(users, expected, "users with another padding row", atol=TOLERANCE)


def _check_alone(encoder: Encoder, histories: list[list[int]]) -> None:
    together = encoder.users(padded(histories, encoder.n_items))
    for user, (history, expected) in enumerate(zip(histories, together, strict=True)):
        alone = encoder.users(padded([history], encoder.n_items, users=[user]))[0]
        what = f"a history of {len(history)} items alone, not in a batch"
        require_close(alone, expected, what, atol=TOLERANCE)


def _check_steps(encoder: Encoder, histories: list[list[int]], prefixes: bool) -> None:
    """Asked at every step: the last is the default, later items change nothing before them."""
    batch = padded(histories, encoder.n_items)
    asked = at_every_step(batch, LENGTHS)
    users = encoder.users(asked)
    require(
        len(users) == sum(LENGTHS), f"{sum(LENGTHS)} steps were asked for, got {len(users)} users"
    )
    ends = torch.tensor(LENGTHS).cumsum(0) - 1
    require_close(users[ends], encoder.users(batch), "the last step of each row", atol=TOLERANCE)
    left = at_every_step(padded(histories, encoder.n_items, side="left"), LENGTHS)
    require_close(encoder.users(left), users, "every step, padded on the left", atol=TOLERANCE)
    for cut in range(LENGTHS[0] - 1):
        changed = batch.history.clone()
        later = changed[0, cut + 1 :]
        changed[0, cut + 1 :] = (later + 1) % encoder.n_items
        moved = encoder.users(asked._replace(history=changed))
        what = f"users up to step {cut} after later items changed"
        require_close(moved[: cut + 1], users[: cut + 1], what, atol=TOLERANCE)
    if prefixes:
        cuts = [history[: step + 1] for history in histories for step in range(len(history))]
        owner = [user for user, history in enumerate(histories) for _ in history]
        one_by_one = encoder.users(padded(cuts, encoder.n_items, users=owner))
        require_close(users, one_by_one, "every step at once, not one by one", atol=TOLERANCE)


def _check_last_item(encoder: Encoder, histories: list[list[int]]) -> None:
    batch = padded(histories, encoder.n_items)
    last = batch.history.clone()
    last[0, LENGTHS[0] - 1] = (last[0, LENGTHS[0] - 1] + 1) % encoder.n_items
    moved = encoder.users(batch._replace(history=last))[0]
    still = bool((moved == encoder.users(batch)[0]).all())
    require(not still, "another last item does not change the user vector")


def _check_users_alone(encoder: Encoder, histories: list[list[int]]) -> None:
    """Users who change places take their vectors along, whatever the histories."""
    batch = padded(histories, encoder.n_items)
    users = encoder.users(batch)
    require(bool((users[0] != users[1]).any()), "another user has the same user vector")
    moved = encoder.users(batch._replace(user=batch.user.flip(0)))
    what = "users who changed places, their histories not"
    require_close(moved, users.flip(0), what, atol=TOLERANCE)


def _check_strangers(encoder: Encoder, histories: list[list[int]]) -> None:
    """A user without a number, -1, is refused by an error that says so."""
    batch = padded(histories, encoder.n_items, users=[0, -1, 1, 2])
    try:
        encoder.users(batch)
    except DataError:
        return
    raise AssertionError("user -1, who is in no training log, must raise a DataError")


def _check_saving(
    encoder: Encoder,
    module: nn.Module,
    make_encoder: Callable[[], Encoder],
    histories: list[list[int]],
) -> None:
    batch = padded(histories, encoder.n_items)
    torch.manual_seed(1)
    other = make_encoder()
    other_module = _module(other).eval()
    before = other.users(batch)
    require(bool((before != encoder.users(batch)).any()), "weights do not depend on the seed")
    other_module.load_state_dict(module.state_dict())
    require_close(other.users(batch), encoder.users(batch), "users after load_state_dict", atol=0)
    for name, loaded, own in zip(("vectors", "bias"), other.items(), encoder.items(), strict=True):
        if loaded is not None and own is not None:
            require_close(loaded, own, f"item {name} after load_state_dict", atol=0)


def _check_gradients(
    encoder: Encoder, module: nn.Module, histories: list[list[int]], unmoved: Collection[str]
) -> None:
    """One cross-entropy reaches every parameter, and no padding row."""
    module.eval()  # dropout could cut a parameter off by chance
    users = encoder.users(padded(histories, encoder.n_items, side="left"))
    scores = _scores(users, *encoder.items())
    labels = torch.arange(len(histories))
    torch.nn.functional.cross_entropy(scores, labels).backward()
    for name, parameter in module.named_parameters():
        if name.endswith(tuple(unmoved)):
            continue
        gradient = parameter.grad
        require(gradient is not None and bool((gradient != 0).any()), f"no gradient reaches {name}")
        if gradient is not None:
            require(bool(torch.isfinite(gradient).all()), f"the gradient of {name} is not finite")
    module.zero_grad()


def _scores(users: Tensor, vectors: Tensor, bias: Tensor | None) -> Tensor:
    """Return the logits (B, N), the best interest counting."""
    scores = users @ vectors.T
    scores = scores.amax(1) if users.dim() == 3 else scores
    return scores if bias is None else scores + bias
