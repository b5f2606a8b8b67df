"""Caser: convolutions over the history, read as an image of items by embedding dimensions."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softrec.cuda import float32
from softrec.models.dropout import Dropout
from softrec.models.histories import HistoryEncoder, ItemTable, OutputLayer, fitting, recent
from softrec.models.layers import Init, embedded, initialise
from softrec.models.registry import MODELS
from softrec.types import Batch, ItemVectors, Vectors


@MODELS.named("caser")
class Caser(HistoryEncoder):
    r"""Horizontal and vertical filters over the history -> dropout -> fully connected layer.

    With the image E (L x D) of the history's embeddings, the most recent item in its last row,

        horizontal   o_f = max_t relu(<F_f, E[t : t + k]> + b_f)    filters F_f (k x D), heights k
        vertical     o_g = E^T g + b_g                              filters g (L), giving D numbers
        h = relu(W dropout([o_vertical; o_horizontal]) + b)

    A horizontal filter reads k successive items at any place; a vertical filter weights the
    positions. Rows before the oldest item are zero, as in the original: left and right padding give
    the same numbers, and the maximum includes those rows. The user embedding of the original is
    left out: the user is represented by the history only.

    If every step is predicted, the filters run once over each history, with L - 1 zero rows before
    it, and each step takes the maximum over its own L rows. No window is copied for each step:
    memory is B x 2L x D for the rows and B x L x (vertical D + horizontal heights) for the outputs.
    All heights 1 .. L cost about L^3 / 6 D multiply-adds per filter for one prediction, and four
    times that for all L steps of a history: by default there are five, as in the original, whose L
    is 5.

    Args:
        n_items: size N of the catalogue.
        length: rows L of the image, the longest history.
        dim: width D of item and user vectors.
        heights: heights of the horizontal filters, of which those above L are left out; all of
            1 .. L if None.
        horizontal: number of filters of each height.
        vertical: number of vertical filters; 0 leaves them out.
        dropout: on the concatenated outputs of the filters.
        final_activation: "relu", or "none" for user vectors that may be negative.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: "xavier" (all matrices and filters Xavier normal, biases 0), "normal" (all of them
            and the biases from N(0, 0.01)) or "gaussian" (matrices and filters from N(0, 0.01),
            biases 0).

    Raises:
        ValueError: if there are no filters, a height is below 1, or `init` or
            `final_activation` is unknown; from `forward`, if a history is longer than `length`.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> model = Caser(5, length=3, dim=4, heights=(1, 2))
        >>> vectors = model(padded([[0, 3], [1]], 5))
        >>> vectors.users.shape, vectors.items.vectors.shape
        (torch.Size([2, 4]), torch.Size([5, 4]))

    Defaults: heights, filters and dropout of the original (RecBole 1.2: all heights, dim 64, 8
    vertical, dropout 0.4), but with an output table of its own. Measured on two logs
    (docs/log.md).

    Source: Tang and Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence
    Embedding", WSDM 2018. Preset: "softrec" (Cheng et al., SIGIR 2021), which gives no sizes: the
    number of filters and the dropout are the original's.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "softrec": {"dim": 128, "heights": None, "horizontal": 16, "vertical": 4, "dropout": 0.5,
                    "final_activation": "relu", "tied": False, "output_bias": True,
                    "init": "gaussian"},
    }  # fmt: skip

    def __init__(
        self,
        n_items: int,
        *,
        length: int,
        dim: int = 128,
        heights: tuple[int, ...] | None = (1, 2, 3, 4, 5),
        horizontal: int = 16,
        vertical: int = 4,
        dropout: float = 0.5,
        final_activation: Literal["relu", "none"] = "relu",
        tied: bool = False,
        output_bias: bool = True,
        init: Init = "xavier",
    ) -> None:
        super().__init__()
        heights = tuple(range(1, length + 1)) if heights is None else tuple(heights)
        if any(height < 1 for height in heights):
            raise ValueError(f"heights must be at least 1, got {heights}")
        heights = tuple(height for height in heights if height <= length)
        if final_activation not in ("relu", "none"):
            raise ValueError(f"final_activation must be relu or none, got {final_activation!r}")
        if horizontal < 1:
            heights = ()
        width = max(vertical, 0) * dim + horizontal * len(heights)
        if width < 1:
            raise ValueError("Caser needs filters: set vertical, or horizontal and heights")
        self.n_items = n_items
        self.length = length
        self.heights = heights
        self.table = ItemTable(n_items, dim)
        self.horizontal = nn.ModuleList(nn.Conv1d(dim, horizontal, height) for height in heights)
        self.vertical = nn.Linear(length, vertical) if vertical > 0 else None
        self.dropout = Dropout(dropout)
        self.dense = nn.Linear(width, dim)
        self.activation = nn.ReLU() if final_activation == "relu" else nn.Identity()
        self.output = OutputLayer(self.table, dim, tied=tied, bias=output_bias)
        initialise(self, init)

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the user vectors (P, D) and the items.

        Raises:
            ValueError: if a history is longer than the model's `length`.
        """
        image = embedded(self.table, self._rows(batch)).transpose(1, 2)  # (B, D, L or more)
        answers = self._answers(image)  # (B, S, width)
        if batch.row is None or batch.step is None:
            answers = answers[:, 0]
        else:
            answers = answers[batch.row, batch.step]
        users = self.activation(self.dense(self.dropout(answers)))
        return Vectors(users, items or self.items())

    def _rows(self, batch: Batch) -> Tensor:
        """Return the last L item numbers of each history, (B, L), or all after L - 1 paddings."""
        if batch.row is None:
            return recent(batch, self.n_items, self.length)
        items = fitting(batch.history, self.n_items, self.length).items
        return F.pad(items, (self.length - 1, 0), value=self.n_items)

    def _answers(self, image: Tensor) -> Tensor:
        """Return the concatenated outputs of the filters for each L rows, (B, S, width)."""
        with float32(image.device):
            return self._filtered(image)

    def _filtered(self, image: Tensor) -> Tensor:
        answers = []
        if self.vertical is not None:
            weight = self.vertical.weight[:, None, None]
            answers.append(F.conv2d(image[:, None], weight, self.vertical.bias).flatten(1, 2))
        for height, filters in zip(self.heights, self.horizontal, strict=True):
            places = self.length - height + 1  # positions of such a filter in L rows
            answers.append(F.max_pool1d(filters(image), places, stride=1).relu())
        return torch.cat(answers, 1).transpose(1, 2)
