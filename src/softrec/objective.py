"""The objective: a loss, with a soft target, candidates and a kind of score."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softrec.candidates import Candidates, CandidateSource, times_used
from softrec.losses.gathers import pair_logits
from softrec.losses.pairwise import Pairs
from softrec.losses.softmax import (
    Loss,
    ObjectiveValue,
    SoftmaxProblem,
    SoftTarget,
    SoftWeight,
    hard,
    loss_of,
    mean_of,
    mixed,
)
from softrec.losses.streaming import NO_PAIRS, streamed
from softrec.losses.table import hidden_among, row_answers, table_loss
from softrec.parallel import Catalogue, gathered
from softrec.scoring import Logits, Scoring
from softrec.types import (
    Batch,
    BorderSource,
    Encoder,
    Following,
    ItemVectors,
    MassSource,
    Offset,
    Target,
    TargetSource,
    Vectors,
    Weigh,
    WeightSource,
    weighted_by,
)

Pass = Callable[..., ObjectiveValue]
LabelPart = Callable[[Tensor, Tensor], Tensor]
"""(label logits (P,), user of each row (P,)) -> one value per example: terms of whole batches."""
InterestPart = Callable[[Tensor, Tensor], Tensor]
"""(logits of the interests (P, K), their cosines with the label (P, K)) -> a value per example."""

PLAIN = Scoring()


class _Rows(NamedTuple):
    """What is known of the rows of a batch before they are scored."""

    label: Tensor  # (P,) int64
    target: Target | None
    weight: SoftWeight  # of the target
    offset: Offset | None  # added to their scores
    weigh: Weigh | None  # their weights
    logits: Logits  # how they are scored
    shards: Catalogue | None  # of the items
    n_items: int

    @property
    def own_offset(self) -> Tensor | None:
        """Return the offset of the labels, (P,)."""
        every = slice(0, len(self.label))
        return None if self.offset is None else self.offset.at(every, self.label[:, None])[:, 0]


class Objective(nn.Module):
    """The objective that training minimises.

    Of several interests of a user, (P, K, D), the one with the highest score of the label is
    trained.

    Example:
        >>> from softrec.targets.smoothing import UniformTarget
        >>> Objective.towards(UniformTarget(100), weight=0.1).weight
        0.1

    Args:
        loss: named softmax losses with their coefficients, or one loss on pairs of scores; hard
            cross-entropy by default.
        source: makes the soft target of a batch; None to train on the label only.
        weight: a in q = (1 - a) e_y + a s, the weight of the soft target, in [0, 1]; a number, or
            a function that returns one for each example of a batch, (P,).
        candidates: samples the negatives that a positive is scored against; None for all items.
        scoring: how scores are computed from vectors.
        exact: with sampled candidates, compute the mean logit of the soft target over the whole
            catalogue instead of over the candidates. For targets that are the same for all rows.
        label_part: a loss on all labels of the batch, added with its coefficient.
        interest_part: a loss on the predicted interests, added; for encoders that predict which
            interest the label belongs to.
        l2: adds l2 / 2 times the squared lengths of the vectors of user, label and negatives,
            averaged over the rows. A label is not counted as a negative of its own row. In graph
            models the vectors before propagation count.
        adjustment: (N,), added to the logits of training, not to the scores of rankings.
        border: returns what is subtracted from all logits of each row, (P,), for losses that are
            not the same at other scores by a constant; read before an epoch, without a gradient.
        weights: weighs the examples: the value of each is multiplied by its weight before the mean.
            The interest part and `l2` have no weights.
        shared: the function that computes the loss over candidates that are the same for all rows;
            the reference is `softrec.losses.reference.plain`.

    If an encoder is marked by `softrec.training.optimizers.mark_sparse`, the gradients in its item
    vectors and biases are sparse: they have only the rows that were sampled.

    Raises:
        ValueError: if the weight is outside [0, 1], if the loss needs a source and there is none,
            or if there is a source and the loss cannot use it.
    """

    _adjustment: Tensor | None

    def __init__(
        self,
        loss: Loss | None = None,
        source: TargetSource | None = None,
        weight: float | MassSource = 0.0,
        candidates: CandidateSource | None = None,
        scoring: Scoring = PLAIN,
        *,
        exact: bool = False,
        label_part: tuple[LabelPart, float] | None = None,
        interest_part: InterestPart | None = None,
        l2: float = 0.0,
        adjustment: Tensor | None = None,
        border: BorderSource | None = None,
        weights: WeightSource | None = None,
        shared: Pass = streamed,
    ) -> None:
        super().__init__()
        self.loss = loss_of(hard() if loss is None else loss)
        self.source, self.weight = source, weight
        self.candidates, self.scoring, self.exact = candidates, scoring, exact
        self.label_part, self.interest_part, self.l2 = label_part, interest_part, l2
        self.register_buffer("_adjustment", adjustment, persistent=False)
        self.weights, self.border, self.shared = weights, border, shared
        most = weight if isinstance(weight, float | int) else 1.0
        self.loss.check(most, soft=source is not None)
        if not 0 <= l2 < inf:
            raise ValueError(f"l2 must be at least 0, got {l2}")

    @property
    def every_item(self) -> bool:
        """Return whether every item has a gradient, and not only the sampled ones."""
        return self.candidates is None or self.exact or bool(self.l2)

    @classmethod
    def towards(cls, source: TargetSource, weight: float) -> Objective:
        """Return the mixed objective: cross-entropy with (1 - weight) label + weight target."""
        return cls(loss=mixed(), source=source, weight=weight)

    def begin_epoch(self, encoder: Encoder, epoch: int) -> None:
        """Let the weights of the examples, and the border, read the model before an epoch."""
        for part in (self.weights, self.border):
            if part is not None:
                part.begin_epoch(encoder, epoch)

    def in_epoch(self, epoch: int) -> None:
        """Say in which epoch the next step is, counted from 0."""
        if not isinstance(self.weight, float | int):
            self.weight.epoch = epoch

    def after_step(self) -> None:
        """Let the source of the target read the model after a step of the optimiser."""
        if isinstance(self.source, Following):
            self.source.after_step()

    def forward(self, encoder: Encoder, batch: Batch) -> ObjectiveValue:
        """Return the mean loss of `encoder` on `batch` and its named parts, per example."""
        target = None if self.source is None else self.source(batch)
        weigh = None if self.weights is None else self.weights(batch)
        vectors = encoder(batch)
        users, items, predicted = self._read(encoder, vectors, batch)
        chosen = None if self.candidates is None else self.candidates(batch)
        border = None if self.border is None else self.border(batch)
        logits = Logits(self.scoring, self._adjustment, border, encoder.log_temperature)
        scored, sparse, shards = logits.users(users), encoder.sparse, encoder.catalogue
        weight = self.weight if isinstance(self.weight, float | int) else self.weight(batch)
        offset, n = vectors.offset, encoder.n_items
        rows = _Rows(batch.label, target, weight, offset, weigh, logits, shards, n)
        if offset is not None and isinstance(self.loss, Pairs):
            raise ValueError(NO_PAIRS)
        by_row = chosen is not None and chosen.items.dim() == 2
        if shards and (by_row or self.label_part is not None or self.l2 or self.exact):
            raise ValueError("shards have no candidates by row, no exact target, label part or l2")
        if shards and logits.log_temperature is not None:
            raise ValueError("shards have no learnt temperature; give it a number")
        if chosen is None:
            value, positive = self._over_all(scored, items, rows)
        elif chosen.items.dim() == 1:
            value, positive = self._shared(scored, items, rows, chosen, sparse)
        else:
            value, positive = self._by_row(scored, items, rows, chosen, sparse)
        if self.label_part is not None:
            value = self._with_label_part(value, logits.users(users), positive, batch, rows)
        if predicted is not None:
            parts = {**value.parts, "interest": predicted.detach()}
            value = ObjectiveValue(value.total + predicted.mean(), parts)
        if self.l2:
            stored = vectors.stored or (users, items.vectors)
            value = value._replace(total=value.total + self._l2(*stored, batch.label, chosen))
        return value

    # --- user and item vectors, scored ---

    def _read(
        self, encoder: Encoder, vectors: Vectors, batch: Batch
    ) -> tuple[Tensor, ItemVectors, Tensor | None]:
        """Return users (P, D), items, and the value of the interest part (P,), if there is one."""
        users, items, interests = vectors[:3]
        if self.interest_part is None:
            if users.dim() == 3:
                users = self.scoring.picked(users, items, batch.label)
            return users, items, None
        if interests is None:
            raise TypeError(
                "an interest part needs an encoder that predicts interests, such as TiMiRec; "
                f"{encoder.name} predicts none"
            )
        sparse = encoder.sparse and self.candidates is not None
        label = _rows(items, batch.label, sparse=sparse).vectors[:, None]
        cosines = torch.cosine_similarity(interests.vectors, label, dim=-1)
        return users, items, self.interest_part(interests.logits, cosines)

    # --- negatives: all items, some for the batch, some for each row ---

    def _over_all(
        self, users: Tensor, items: ItemVectors, rows: _Rows
    ) -> tuple[ObjectiveValue, ItemVectors]:
        shards = rows.shards
        own = None if shards is None else slice(shards.start, shards.stop)
        items, label, offset = rows.logits.items(items, own), rows.label, rows.offset
        soft = None if rows.target is None else SoftTarget(rows.target, label)
        problem = SoftmaxProblem(
            users, items, label,
            offset=offset if own is None else offset and offset.between(own.start, own.stop),
            label_offset=rows.own_offset, weigh=rows.weigh,
        )  # fmt: skip
        part = {} if shards is None else {"catalogue": shards}
        value = self.shared(problem, self.loss, soft, rows.weight, **part)
        return value, items if self.label_part is None else _rows(items, label)

    def _shared(
        self,
        users: Tensor,
        items: ItemVectors,
        rows: _Rows,
        chosen: Candidates,
        sparse: bool,
    ) -> tuple[ObjectiveValue, ItemVectors]:
        label, offset, m = rows.label, rows.offset, len(chosen.items)
        both = torch.cat([chosen.items, label])
        some = rows.logits.items(_rows(items, both, sparse=sparse, shards=rows.shards), both)
        negatives, positive = _parted(some, m)
        place = torch.searchsorted(chosen.items, label).clamp(max=m - 1)
        place = place.masked_fill(chosen.items[place] != label, -1)
        problem = SoftmaxProblem(
            users, negatives, place, positive, chosen.counts, chosen.correction, chosen.hits,
            chosen.masked, offset and _among(offset, chosen.items, rows.n_items),
            rows.own_offset, rows.weigh,
        )  # fmt: skip
        soft = self._soft(rows, items, chosen)
        return self.shared(problem, self.loss, soft, rows.weight), positive

    def _by_row(
        self,
        users: Tensor,
        items: ItemVectors,
        rows: _Rows,
        chosen: Candidates,
        sparse: bool,
    ) -> tuple[ObjectiveValue, ItemVectors]:
        label, offset, own = rows.label, rows.offset, rows.own_offset
        positive, logits = self._pairs(users, items, rows, chosen.items, sparse)
        label_logit = _own_logit(users, positive)
        soft, answers = self._soft(rows, items, chosen), None
        if soft is not None:
            hidden = hidden_among(chosen.items, chosen.counts)
            answers = row_answers(soft, users, label_logit, logits, chosen.items, hidden)
        if offset is not None and own is not None:
            logits = logits + offset.at(slice(0, len(label)), chosen.items).to(logits)
            label_logit = label_logit + own.to(logits)
        value = table_loss(
            label_logit, logits, chosen.counts, self.loss,
            correction=chosen.correction, answers=answers, weight=rows.weight, weigh=rows.weigh,
        )  # fmt: skip
        return value, positive

    def _pairs(
        self, users: Tensor, items: ItemVectors, rows: _Rows, places: Tensor, sparse: bool
    ) -> tuple[ItemVectors, Tensor]:
        """Return the vectors of the labels, and the logits (P, M) of the items at `places`."""
        label = rows.label
        if places.shape[1] == 1:  # as many negatives as labels: both are gathered at once
            both = torch.cat([label, places[:, 0]])
            some = rows.logits.items(_rows(items, both, sparse=sparse), both)
            positive, negative = _parted(some, len(label))
            return positive, _own_logit(users, negative)[:, None]
        own_place, whole, used = label, items, None
        if sparse:  # each sampled item once; a pair refers to it by its place among these
            used, place = torch.cat([label, places.flatten()]).unique(return_inverse=True)
            whole = _rows(items, used, sparse=True)
            own_place, places = place[: len(label)], place[len(label) :].view_as(places)
        whole = rows.logits.items(whole, used)
        logits = pair_logits(users, whole.vectors, places, whole.bias)
        return _rows(whole, own_place), logits

    def _soft(self, rows: _Rows, items: ItemVectors, chosen: Candidates) -> SoftTarget | None:
        """Return the soft target, with its mean item over all items if `exact`."""
        label, target = rows.label, rows.target
        if target is None:
            return None
        if not self.exact:
            return SoftTarget(target, label, chosen.items, rows.n_items)
        mean = mean_of(target.without(label).target, rows.logits.items(items))
        return SoftTarget(target, label, mean=mean)

    # --- what is added ---

    def _with_label_part(
        self,
        value: ObjectiveValue,
        users: Tensor,
        positive: ItemVectors,
        batch: Batch,
        rows: _Rows,
    ) -> ObjectiveValue:
        assert self.label_part is not None
        loss, coefficient = self.label_part
        offset, user = rows.own_offset, batch.prediction_user
        logit = _own_logit(users, positive) + (0.0 if offset is None else offset)
        if batch.total is None:
            part = loss(logit, user)
        else:  # it is one loss on the labels of all processes
            (logits, own), (user, _) = gathered(logit), gathered(user)
            part = loss(logits, user)[own]
        mean = weighted_by(rows.weigh, part, logit, slice(0, len(part))).mean()
        parts = {**value.parts, "label": part.detach()}
        return ObjectiveValue(value.total + coefficient * mean, parts)

    def _l2(
        self, users: Tensor, vectors: Tensor, label: Tensor, chosen: Candidates | None
    ) -> Tensor:
        """Return l2 / (2 P) times the squares of users, labels and every row's negatives."""
        rows = len(label)
        squares = vectors.square().sum(1)
        if chosen is None:  # each item is the label or a negative of every row
            total = rows * squares.sum()
        else:
            total = (squares * times_used(label, chosen, len(vectors)).to(squares)).sum()
        return self.l2 / (2 * rows) * (users.square().sum() + total)


def _rows(
    items: ItemVectors, chosen: Tensor, *, sparse: bool = False, shards: Catalogue | None = None
) -> ItemVectors:
    """Return the vectors and the bias of some items, of a catalogue in shards from their owners."""
    if shards is not None:
        used, place = chosen.unique(return_inverse=True)
        vectors = shards.rows(items.vectors, used, sparse=True).index_select(0, place)
        if items.bias is None:
            return ItemVectors(vectors)
        bias = shards.rows(items.bias, used, sparse=True)
        return ItemVectors(vectors, bias.index_select(0, place))
    if sparse:
        vectors = F.embedding(chosen, items.vectors, sparse=True)
        bias = None if items.bias is None else items.bias.gather(0, chosen, sparse_grad=True)
        return ItemVectors(vectors, bias)
    bias = None if items.bias is None else items.bias.index_select(0, chosen)
    return ItemVectors(items.vectors.index_select(0, chosen), bias)


def _parted(items: ItemVectors, first: int) -> tuple[ItemVectors, ItemVectors]:
    """Return the first rows and the others; by `split`, since two slices need two gradient sums."""
    vectors, bias, _ = items
    one, other = vectors.split([first, len(vectors) - first])
    if bias is None:
        return ItemVectors(one), ItemVectors(other)
    one_bias, other_bias = bias.split([first, len(bias) - first])
    return ItemVectors(one, one_bias), ItemVectors(other, other_bias)


def _among(offset: Offset, chosen: Tensor, n_items: int) -> Offset:
    """Return the offset over the chosen items (M,), ascending."""
    places = chosen.new_full((n_items,), -1)
    places[chosen] = torch.arange(len(chosen), device=chosen.device)
    return offset.among(places)


def _own_logit(users: Tensor, own: ItemVectors) -> Tensor:
    precise = torch.promote_types(users.dtype, torch.float32)
    logit = (users.to(precise) * own.vectors.to(precise)).sum(1)
    return logit if own.bias is None else logit + own.bias
