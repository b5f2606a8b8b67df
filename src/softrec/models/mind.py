"""MIND: one matrix for all items, and routing from random logits to a few interests."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from softrec.models.capsules import read_items, route
from softrec.models.histories import HistoryEncoder, ItemTable, OutputLayer
from softrec.models.layers import Init, initialise
from softrec.models.registry import MODELS
from softrec.types import Batch, ItemVectors, Vectors

Routing = Literal["drawn", "fixed"]


@MODELS.named("mind")
class MIND(HistoryEncoder):
    r"""The user is K interests: capsules to which the items of the history are routed.

    $$m_j = S v_j, \quad b_{kj} \sim N(0, 1), \quad
      (u_1, \dots, u_K) = \mathrm{route}(m, b), \quad z_i = \max_k u_k \cdot w_i$$

    with the embeddings v_j of the real items and one matrix S (D x D), the same for all items and
    interests; `softrec.models.capsules.route` is the routing. Because S is the same, interests
    differ only by their initial logits b, so these are random. An interest is 0 for an empty
    history, and its length is below 1 unless a ReLU layer follows.

    In training the logits are sampled again in every step, from the global random state. In
    evaluation they are read from a table, which is sampled once when the model is made, and saved
    with its weights. The logits of an item then depend on its distance from the end of the history,
    so that the vectors of a history are the same each time, in any batch and with any padding.

    Args:
        n_items: size N of the catalogue.
        dim: width D of item vectors and interests.
        length: longest history.
        interests: number K of interests.
        iterations: of the routing, at least 1.
        adaptive: a history of n items has K_n = max(1, min(K, floor(log2 n))) interests. The other
            interests are copies of the first one, which do not change a maximum, and are left out
            of the routing.
        relu_layer: a linear layer and a ReLU on each interest.
        routing: "drawn": random logits as above; "fixed": logits of the table in training, too.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: "xavier" (all matrices Xavier normal, biases 0), "normal" (all matrices and linear
            biases from N(0, 0.01)) or "gaussian" (all matrices from N(0, 0.01), biases 0).

    Raises:
        ValueError: if `interests` or `iterations` is below 1, or `routing` or `init` is unknown.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> model = MIND(5, dim=4, length=3, interests=2)
        >>> vectors = model(padded([[0, 3], [1]], 5))
        >>> vectors.users.shape, vectors.items.vectors.shape
        (torch.Size([2, 2, 4]), torch.Size([5, 4]))

    Defaults: dim 64 and three iterations as in the code of Cen et al., two interests as in the
    preset "timirec". Not measured against others.

    Source: Li et al., "Multi-Interest Network with Dynamic Routing for Recommendation at Tmall",
    CIKM 2019. Presets: "original" (adaptive, with a ReLU layer; sizes of the MIND in the code of
    Cen et al., KDD 2020) and "timirec" (Wang et al., CIKM 2022). The paper has several ReLU layers
    over the interest and a user profile; here it is one layer without profile, as in that code. The
    paper trains with a label-aware attention, whose limit p = infinity is the choice of one
    interest. The published codes sample logits in evaluation, too, so their rankings are random.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "original": {"dim": 64, "length": 20, "interests": 4, "iterations": 3, "adaptive": True,
                     "relu_layer": True, "routing": "drawn", "tied": True, "output_bias": False,
                     "init": "xavier"},
        "timirec": {"dim": 64, "length": 20, "interests": 2, "iterations": 3, "adaptive": False,
                    "relu_layer": False, "routing": "drawn", "tied": True, "output_bias": False,
                    "init": "normal"},
    }  # fmt: skip

    logits: Tensor  # (K, length), the most recent item last

    def __init__(
        self,
        n_items: int,
        *,
        dim: int = 64,
        length: int = 50,
        interests: int = 2,
        iterations: int = 3,
        adaptive: bool = False,
        relu_layer: bool = False,
        routing: Routing = "drawn",
        tied: bool = True,
        output_bias: bool = False,
        init: Init = "xavier",
    ) -> None:
        super().__init__()
        if min(interests, iterations) < 1:
            raise ValueError(
                f"interests and iterations must be 1 or more, got {interests} and {iterations}"
            )
        if routing not in ("drawn", "fixed"):
            raise ValueError(f"routing must be drawn or fixed, got {routing!r}")
        self.n_items = n_items
        self.length = length
        self.n_interests = interests
        self.iterations = iterations
        self.adaptive = adaptive
        self.routing: Routing = routing
        self.table = ItemTable(n_items, dim)
        self.map = nn.Linear(dim, dim, bias=False)
        self.dense = nn.Sequential(nn.Linear(dim, dim), nn.ReLU()) if relu_layer else nn.Identity()
        self.output = OutputLayer(self.table, dim, tied=tied, bias=output_bias)
        self.register_buffer("logits", torch.randn(interests, length))
        initialise(self, init)

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the interests (P, K, D) and the items.

        Raises:
            ValueError: if a history is longer than the model's `length`.
        """
        history = read_items(batch, self.n_items, self.length)
        messages = self.map(self.table(history))  # messages of padding are not used
        interests = self._interests(messages, history != self.n_items)
        return Vectors(interests, items or self.items())

    def _interests(self, messages: Tensor, real: Tensor) -> Tensor:
        """Return the interests (P, K, D) from messages (P, L', D) of real items, by routing."""
        logits = self._logits(messages)
        if not self.adaptive:
            return self.dense(route(messages, real, logits, self.iterations))
        used = self._used(real.sum(1))[..., None]
        logits = logits.masked_fill(~used, -torch.inf)
        interests = self.dense(route(messages, real, logits, self.iterations))
        return torch.where(used, interests, interests[:, :1])

    def _logits(self, messages: Tensor) -> Tensor:
        """Return the initial logits of the routing, (P, K, L') or (1, K, L')."""
        rows, width, _ = messages.shape
        if self.training and self.routing == "drawn":
            shape = (rows, self.n_interests, width)
            return torch.randn(shape, dtype=messages.dtype, device=messages.device)
        return self.logits[None, :, self.length - width :]

    def _used(self, lengths: Tensor) -> Tensor:
        """Return which interests a history of n items has, (P, K) bool: k <= max(1, log2 n)."""
        numbers = torch.arange(1, self.n_interests + 1, device=lengths.device)
        return (lengths[:, None] >= 2.0**numbers) | (numbers == 1)
