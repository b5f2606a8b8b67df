"""The objective: a loss towards a target, over a set of candidates, on scores of some kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.candidates import Candidates, CandidateSource, times_used
from softrec.losses.contest import Contest, Expectation, Soft, check_loss, soft_over
from softrec.losses.gathers import pair_logits
from softrec.losses.pairwise import PairwiseLoss
from softrec.losses.softmax import ObjectiveValue, Parts, TargetAnswers, hard, mixed
from softrec.losses.streaming import streamed
from softrec.losses.table import Scores, Shares, row_shares, table_loss
from softrec.scoring import Scoring
from softrec.types import (
    Batch,
    Encoder,
    ItemVectors,
    Target,
    TargetSource,
    Vectors,
    without,
)

Pass = Callable[..., ObjectiveValue]
LabelPart = Callable[[Tensor, Tensor], Tensor]
"""(label logits (P,), user of each row (P,)) -> one value per example: terms of whole batches."""
InterestPart = Callable[[Tensor, Tensor], Tensor]
"""(logits of the interests (P, K), their cosines with the label (P, K)) -> a value per example."""


@dataclass(frozen=True)
class Objective:
    """What a model is trained towards.

    Of several interests of a user, (P, K, D), the one that scores the label highest is trained.

    Example:
        >>> from softrec.targets.smoothing import UniformTarget
        >>> Objective.towards(UniformTarget(100), weight=0.1).weight
        0.1

    Args:
        loss: named softmax losses with their coefficients, or one loss on pairs of scores.
        source: makes the soft target of a batch; None where only the label counts.
        weight: the weight a of the soft target in q = (1 - a) e_y + a s, in [0, 1]: the
            effective soft mass.
        candidates: draws what a label is told from; None for the full catalogue.
        scoring: how vectors become scores.
        exact: under sampling, take the mean logit of the soft target over the whole catalogue
            instead of over the candidates. For targets that all rows share.
        label_part: a loss on all labels of the batch, added with its coefficient.
        interest_part: a loss on how a model predicts the interest that the label calls for, added;
            for encoders that predict interests.
        l2: adds l2 / 2 times the squared length of the vectors used, meant over the rows: of the
            user, the label and the other candidates, a label being no candidate of its own row.
            Of graph models it is the stored vectors that count, not what the graph makes of them.
        shared: the pass over candidates that rows share; the reference is
            `softrec.losses.table.plain`.
        sparse: give item vectors and biases gradients of the drawn rows only, as sparse tensors,
            for `softrec.training.optimizers.LazyAdam`.

    Raises:
        ValueError: if the weight is outside [0, 1], the loss needs a source and there is none or
            has no place for it, or every item has a gradient and `sparse` is asked for.
    """

    loss: Parts | PairwiseLoss = field(default_factory=hard)
    source: TargetSource | None = None
    weight: float = 0.0
    candidates: CandidateSource | None = None
    scoring: Scoring = Scoring()
    exact: bool = False
    label_part: tuple[LabelPart, float] | None = None
    interest_part: InterestPart | None = None
    l2: float = 0.0
    shared: Pass = streamed
    sparse: bool = False

    def __post_init__(self) -> None:
        check_loss(self.loss, self.weight, soft=self.source is not None)
        if not 0 <= self.l2 < inf:
            raise ValueError(f"l2 must be at least 0, got {self.l2}")
        if self.sparse and (self.candidates is None or self.exact or self.l2):
            raise ValueError(
                "sparse gradients need drawn or in-batch candidates, without exact and l2, under "
                "which every item has a gradient"
            )

    @classmethod
    def towards(cls, source: TargetSource, weight: float) -> Objective:
        """Return the mixed objective: cross-entropy with (1 - weight) label + weight target."""
        return cls(loss=mixed(), source=source, weight=weight)

    def __call__(self, encoder: Encoder, batch: Batch) -> ObjectiveValue:
        """Return the mean loss of `encoder` on `batch` and its named parts, per example."""
        target = None if self.source is None else self.source(batch)
        vectors = encoder(batch)
        users, items, predicted = self._read(encoder, vectors, batch)
        chosen = None if self.candidates is None else self.candidates(batch)
        if chosen is not None and chosen.items.dim() == 2:
            value, label = self._by_row(users, items, batch.label, target, chosen)
        else:
            value, label = self._together(users, items, batch.label, target, chosen)
        if self.label_part is not None:
            value = self._with_label_part(value, users, label, batch)
        if predicted is not None:
            parts = {**value.parts, "interest": predicted.detach()}
            value = ObjectiveValue(value.total + predicted.mean(), parts)
        if self.l2:
            stored = vectors.stored or (users, items.vectors)
            value = value._replace(total=value.total + self._l2(*stored, batch.label, chosen))
        return value

    # --- user vectors, one for each prediction ---

    def _read(
        self, encoder: Encoder, vectors: Vectors, batch: Batch
    ) -> tuple[Tensor, ItemVectors, Tensor | None]:
        """Return users (P, D), items, and the value of the interest part (P,), if there is one."""
        users, items, interests, _ = vectors
        if self.interest_part is None:
            return self.scoring.picked(users, items, batch.label), items, None
        if interests is None:
            raise TypeError(
                "an interest part needs an encoder that predicts interests, such as TiMiRec; "
                f"{encoder.name} predicts none"
            )
        label = self._rows(items, batch.label).vectors[:, None]
        cosines = torch.cosine_similarity(interests.vectors, label, dim=-1)
        return users, items, self.interest_part(interests.logits, cosines)

    # --- candidates that all rows share ---

    def _together(
        self,
        users: Tensor,
        items: ItemVectors,
        label: Tensor,
        target: Target | None,
        chosen: Candidates | None,
    ) -> tuple[ObjectiveValue, ItemVectors]:
        scored = self.scoring.users(users)
        if chosen is None:
            whole = self.scoring.items(items)
            contest = Contest(scored, whole, label)
            soft = self._soft(target, label, label, None, whole)
            own = self._rows(whole, label) if self.label_part is not None else whole
            return self.shared(contest, self.loss, soft, self.weight), own
        m = len(chosen.items)
        some = self.scoring.items(self._rows(items, torch.cat([chosen.items, label])))
        others, own = _parted(some, m)
        place = torch.searchsorted(chosen.items, label).clamp(max=m - 1)
        column = place.masked_fill(chosen.items[place] != label, -1)
        contest = Contest(
            scored, others, column, own, chosen.copies, chosen.correction, chosen.own,
            chosen.left_out,
        )  # fmt: skip
        soft = self._soft(target, label, column, chosen.items, items)
        return self.shared(contest, self.loss, soft, self.weight), own

    def _soft(
        self,
        target: Target | None,
        label: Tensor,
        column: Tensor,
        chosen: Tensor | None,
        items: ItemVectors,
    ) -> Soft | Expectation | None:
        if target is None:
            return None
        if not self.exact or chosen is None:
            return soft_over(target, label, column, chosen, len(items.vectors))
        return self._expectation(target, label, items)

    def _expectation(self, target: Target, label: Tensor, items: ItemVectors) -> Expectation:
        vectors, bias, _ = self.scoring.items(items)
        others, surplus, mass = without(target, label)
        mean_bias = None if bias is None else others.mean_item(bias[:, None])
        share = target.prob_of(label)
        return Expectation(others.mean_item(vectors), mean_bias, share, surplus, mass)

    # --- candidates of each row ---

    def _by_row(
        self,
        users: Tensor,
        items: ItemVectors,
        label: Tensor,
        target: Target | None,
        chosen: Candidates,
    ) -> tuple[ObjectiveValue, ItemVectors]:
        scored, places = self.scoring.users(users), chosen.items
        if self.sparse:  # each drawn item once; the pairs know it by its place among them
            used, place = torch.cat([label, places.flatten()]).unique(return_inverse=True)
            whole = self.scoring.items(self._rows(items, used))
            own_place, places = place[: len(label)], place[len(label) :].view_as(places)
        else:
            whole, own_place = self.scoring.items(items), label
        own = _rows(whole, own_place)
        others = pair_logits(scored, whole.vectors, places, whole.bias)
        label_logit = _own_logit(scored, own)
        soft: Shares | TargetAnswers | None = None
        if target is not None and self.exact:
            soft = self._expectation(target, label, items).answers(scored, label_logit)
        elif target is not None:
            soft = row_shares(target, label, chosen.items, chosen.copies)
        scores = Scores(label_logit, others, chosen.copies, chosen.correction)
        return table_loss(scores, self.loss, soft, self.weight), own

    def _rows(self, items: ItemVectors, chosen: Tensor) -> ItemVectors:
        return _rows(items, chosen, sparse=self.sparse)

    # --- what is added ---

    def _with_label_part(
        self, value: ObjectiveValue, users: Tensor, label: ItemVectors, batch: Batch
    ) -> ObjectiveValue:
        assert self.label_part is not None
        loss, coefficient = self.label_part
        part = loss(_own_logit(self.scoring.users(users), label), batch.prediction_user)
        return ObjectiveValue(
            value.total + coefficient * part.mean(), {**value.parts, "label": part.detach()}
        )

    def _l2(
        self, users: Tensor, vectors: Tensor, label: Tensor, chosen: Candidates | None
    ) -> Tensor:
        """Return l2 / (2 P) times the squares of users, labels and every row's other candidates."""
        rows = len(label)
        squares = vectors.square().sum(1)
        if chosen is None:  # an item is every row's, as its label or as another
            total = rows * squares.sum()
        else:
            total = (squares * times_used(label, chosen, len(vectors)).to(squares)).sum()
        return self.l2 / (2 * rows) * (users.square().sum() + total)


def _rows(items: ItemVectors, chosen: Tensor, *, sparse: bool = False) -> ItemVectors:
    """Return the vectors and the bias of some items."""
    if sparse:
        vectors = F.embedding(chosen, items.vectors, sparse=True)
        bias = None if items.bias is None else items.bias.gather(0, chosen, sparse_grad=True)
        return ItemVectors(vectors, bias)
    bias = None if items.bias is None else items.bias.index_select(0, chosen)
    return ItemVectors(items.vectors.index_select(0, chosen), bias)


def _parted(items: ItemVectors, first: int) -> tuple[ItemVectors, ItemVectors]:
    """Return the first rows and the others; `split`, for two slices would add up two gradients."""
    vectors, bias, _ = items
    one, other = vectors.split([first, len(vectors) - first])
    if bias is None:
        return ItemVectors(one), ItemVectors(other)
    one_bias, other_bias = bias.split([first, len(bias) - first])
    return ItemVectors(one, one_bias), ItemVectors(other, other_bias)


def _own_logit(users: Tensor, own: ItemVectors) -> Tensor:
    precise = torch.promote_types(users.dtype, torch.float32)
    logit = (users.to(precise) * own.vectors.to(precise)).sum(1)
    return logit if own.bias is None else logit + own.bias
