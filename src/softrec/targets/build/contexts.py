"""Sources that store something per training context: propagated labels, vectors, neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from softrec.blocks import blocks
from softrec.data.batches import Examples, context_batch, padded_histories
from softrec.data.padding import Padding
from softrec.limits import LIMITS
from softrec.scoring import Scoring
from softrec.targets.sparse import SparseTarget
from softrec.targets.teacher import TeacherTarget, TopTarget
from softrec.types import Batch, Encoder, ItemVectors, evaluating

PLAIN = Scoring()
PROBABILITIES = "probabilities.npy"
FORMER = "shares.npy"  # the former name of the file
Advance = Callable[[int], None]
"""Called with the number of further contexts that are done, for a progress bar."""


def context_vectors(
    encoder: Encoder,
    data: Examples,
    path: Path,
    *,
    length: int,
    scoring: Scoring = PLAIN,
    advance: Advance | None = None,
) -> None:
    """Write the user vector of every training context to `path`, (C, D) float32.

    Of several interests, it is the one with the highest score of the context's label.

    Args:
        encoder: a trained model.
        data: the training examples; their contexts are numbered by `Examples.contexts`.
        path: an .npy file, which is made and can be read as a memory map.
        length: how many of the last items of a history the model reads.
        scoring: the kind of score of the model.
        advance: called after each block with its number of contexts.
    """
    example, start, stop = data.stretches(np.arange(data.n_contexts))
    start = np.maximum(start, stop - length)
    vectors: np.ndarray | None = None
    with evaluating(encoder), torch.no_grad():
        items = encoder.items()
        for some in blocks(len(start), LIMITS.encoded):
            history, time = padded_histories(
                data.sequences, start[some], stop[some], encoder.n_items
            )
            label = torch.from_numpy(data.sequences.items[stop[some]].astype(np.int64))
            user = torch.from_numpy(data.user[example[some]])
            batch = Batch(history, label, torch.from_numpy(example[some]), user, time=time)
            batch = batch.to(items.vectors.device)
            found = scoring.picked(encoder(batch, items).users, items, batch.label)
            if vectors is None:
                vectors = np.lib.format.open_memmap(
                    path, mode="w+", dtype=np.float32, shape=(len(start), found.shape[-1])
                )
            vectors[some] = found.float().cpu().numpy()
            if advance is not None:
                advance(len(history))


@dataclass(frozen=True)
class Contexts:
    """The training contexts, whose numbers are the rows of what a source stores."""

    data: Examples

    def numbers(self, batch: Batch) -> np.ndarray:
        """Return the number of the context of each prediction of `batch`, (P,)."""
        step = None if batch.step is None else batch.step.cpu().numpy()
        return self.data.contexts(batch.example.cpu().numpy(), step)

    @property
    def users(self) -> np.ndarray:
        """Return the user of each context, (C,)."""
        example, _, _ = self.data.stretches(np.arange(self.data.n_contexts))
        return self.data.user[example]

    def check(self, remembered: np.ndarray) -> None:
        """Refuse rows that do not belong to these contexts."""
        if len(remembered) != self.data.n_contexts:
            raise ValueError(
                f"expected one row for each of the {self.data.n_contexts} training contexts, got "
                f"{len(remembered)}"
            )


class RememberedSource(nn.Module):
    """A few stored items with probabilities for each training context, such as propagated labels.

    Formula: s = sum_k probs[c, k] e_{items[c, k]} for context c.

    Args:
        contexts: numbers the contexts.
        items: (C, k) integers, perhaps a memory map.
        probs: (C, k); each row sums to 1, or to less if `n_items` is given.
        n_items: N, if the remaining probability of a row is spread evenly over the catalogue; else
            None.
        about: facts about how they were made, for run.json, as plain data.
    """

    def __init__(
        self,
        contexts: Contexts,
        items: np.ndarray,
        probs: np.ndarray,
        n_items: int | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        contexts.check(items)
        self.contexts, self.items, self.probs = contexts, items, probs
        self.n_items, self.about = n_items, dict(about or {})

    def forward(self, batch: Batch) -> SparseTarget | TopTarget:
        """Return the stored items of each context of `batch` as a target."""
        rows = self.contexts.numbers(batch)
        device = batch.label.device
        items = torch.from_numpy(self.items[rows]).to(device, torch.int64)
        probs = torch.from_numpy(self.probs[rows]).to(device, torch.float32)
        if self.n_items is not None:
            return TopTarget.of(items, probs, self.n_items)
        return SparseTarget(items, probs)


class TeacherSource(nn.Module):
    """The prediction of a trained model for each training context, from stored vectors.

    Formula: s = softmax(z_teacher / T), with z_teacher the scores with which it was trained.

    Args:
        contexts: numbers the contexts.
        user_vectors: (C, D_T) the teacher's user vectors, perhaps a memory map.
        items: its item vectors.
        temperature: T > 0.
        scoring: the kind of score of the teacher.

    Source: SKD and CKD of Cheng et al., SIGIR 2021, eq. 10-11.
    """

    item_vectors: Tensor
    item_bias: Tensor | None

    def __init__(
        self,
        contexts: Contexts,
        user_vectors: np.ndarray,
        items: ItemVectors,
        temperature: float = 1.0,
        scoring: Scoring = PLAIN,
    ) -> None:
        super().__init__()
        contexts.check(user_vectors)
        self.contexts, self.user_vectors = contexts, user_vectors
        self.temperature, self.scoring = temperature, scoring
        self.register_buffer("item_vectors", items.vectors, persistent=False)
        self.register_buffer("item_bias", items.bias, persistent=False)

    def forward(self, batch: Batch) -> TeacherTarget:
        """Return the teacher's prediction for each context of `batch`."""
        stored = torch.from_numpy(self.user_vectors[self.contexts.numbers(batch)])
        users = stored.to(self.item_vectors)  # which have the device and precision of the training
        items = ItemVectors(self.item_vectors, self.item_bias)
        return scored_teacher(users, items, self.temperature, self.scoring)


def scored_teacher(
    users: Tensor, items: ItemVectors, temperature: float, scoring: Scoring
) -> TeacherTarget:
    """Return a teacher target with the kind of score `scoring`."""
    return TeacherTarget(scoring.users(users), scoring.items(items), temperature)


def probabilities_in(folder: Path) -> Path:
    """Return the file with the probabilities of stored items, by its present or former name."""
    former = folder / FORMER
    return former if former.exists() else folder / PROBABILITIES


def best_of_teacher(
    user_vectors: np.ndarray,
    items: ItemVectors,
    temperature: float,
    k: int,
    folder: Path,
    advance: Advance | None = None,
    scoring: Scoring = PLAIN,
) -> None:
    """Write the teacher's k best items and their probabilities, (C, k), to .npy files."""
    shape = (len(user_vectors), k)
    kept = np.lib.format.open_memmap(folder / "items.npy", mode="w+", dtype=np.int32, shape=shape)
    weights = np.lib.format.open_memmap(
        folder / PROBABILITIES, mode="w+", dtype=np.float32, shape=shape
    )
    size = 256
    block = torch.empty(size, len(items.vectors))
    for some in blocks(len(user_vectors), size):
        users = torch.from_numpy(np.array(user_vectors[some]))
        teacher = scored_teacher(users, items, temperature, scoring)
        logits = teacher.fill(slice(None), block[: len(users)])
        probs, best = logits.softmax(1).topk(k, dim=1)
        kept[some], weights[some] = best.numpy(), probs.numpy()
        if advance is not None:
            advance(len(users))


class NeighbourSource(nn.Module):
    """CSN: the model's own prediction for a similar context, sampled again in each step.

    Contexts of the same user should not be among the neighbours (`nearest(..., owner=)`): they
    overlap, and a later one contains the label.

    Formula: s = softmax(z(c') / T), with c' sampled uniformly from the neighbours of c, computed
    with the parameters of this step, without gradient and dropout.

    Args:
        contexts: numbers the contexts.
        neighbours: (C, k) numbers of contexts, perhaps a memory map.
        encoder: the model that is trained. It is not a submodule, because it would be saved twice.
        temperature: T > 0.
        side: the side on which histories are padded.
        scoring: the kind of score of the model in training.

    Source: Cheng et al., SIGIR 2021, eq. 8-9 and Algorithm 1.
    """

    def __init__(
        self,
        contexts: Contexts,
        neighbours: np.ndarray,
        encoder: Encoder,
        temperature: float = 1.0,
        side: Padding = "right",
        scoring: Scoring = PLAIN,
    ) -> None:
        super().__init__()
        contexts.check(neighbours)
        self.contexts, self.neighbours = contexts, neighbours
        self._of = (encoder,)  # in a tuple, so that it does not become a submodule
        self.side: Padding = side
        self.temperature, self.scoring = temperature, scoring

    @property
    def encoder(self) -> Encoder:
        """Return the model that is trained."""
        return self._of[0]

    def forward(self, batch: Batch) -> TeacherTarget:
        """Return the model's own prediction for one neighbour of each context of `batch`."""
        listed = self.neighbours[self.contexts.numbers(batch)]
        # Sampled by torch, whose random state is restored when a run is resumed.
        drawn = torch.randint(listed.shape[1], (len(listed),)).numpy()
        chosen = listed[np.arange(len(listed)), drawn].astype(np.int64)
        others = context_batch(self.contexts.data, chosen, self.encoder.n_items, self.side)
        others = others.to(batch.label.device)
        return own_prediction(self.encoder, others, self.temperature, self.scoring)


def own_prediction(
    encoder: Encoder, batch: Batch, temperature: float, scoring: Scoring
) -> TeacherTarget:
    """Return what a model predicts for a batch, without gradient and dropout."""
    learnt = encoder.log_temperature
    if learnt is not None:
        scoring = Scoring(scoring.kind, float(learnt.detach().exp()))
    with evaluating(encoder), torch.no_grad():
        items = encoder.items()
        users = scoring.picked(encoder(batch, items).users, items, batch.label)
    bias = None if items.bias is None else items.bias.detach()
    kept = ItemVectors(items.vectors.detach(), bias)
    return scored_teacher(users, kept, temperature, scoring)
