"""TiMiRec: several interests, and a prediction of which of them comes next."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from softrec.models.comirec import ComiRecSA, Positions
from softrec.models.dropout import Dropout
from softrec.models.gru4rec import states_at
from softrec.models.histories import Histories, ItemTable, each_row, prefixes
from softrec.models.layers import Init, initialise
from softrec.models.registry import MODELS
from softrec.types import Batch, Encoder, Interests, ItemVectors, Vectors

_PLAIN: dict[str, Any] = {
    "dim": 64, "length": 20, "attention": 8, "positions": "scores", "bias": True, "tied": True,
    "output_bias": False, "predictor_dropout": 0.5, "init": "normal",
}  # fmt: skip
_PLUS: dict[str, Any] = _PLAIN | {"transformer": True, "positions": "values"}
_MOVIELENS: dict[str, Any] = {"interests": 2, "predictor_layers": 2}
_BEAUTY: dict[str, Any] = {"interests": 4, "predictor_layers": 1}
_GROCERY: dict[str, Any] = {"interests": 6, "predictor_layers": 1}


@MODELS.named("timirec")
class TiMiRec(Encoder):
    r"""The user vector is the mean of K interests, weighted by the predicted probabilities.

    $$h = \sum_k \mathrm{softmax}(z)_k v_k \qquad z = \mathrm{MLP}(\mathrm{GRU}(H'))$$

    `extractor`, a `ComiRecSA`, computes the interests v_k and the item vectors. `predictor`, with
    its own item vectors H', computes the K logits z. It is trained with the loss
    `softrec.losses.distillation.interest_distillation`, whose teacher knows the label. The
    extractor is first trained alone, as a ComiRec; `initialise_from` copies its weights.

    Args:
        n_items: size N of the catalogue.
        dim: width D of item and interest vectors, and of the predictor.
        length: longest history.
        interests: number K of interests.
        attention: width of the extractor's attention; 4 D if None.
        transformer: a transformer layer in the extractor: TiMiRec+.
        positions: where the extractor adds position vectors: "scores", "values" or "none"; by
            default "scores", and "values" with a transformer, which needs one of the last two.
        bias: whether the extractor's linear layers have biases.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        predictor_layers: linear layers from the GRU's last state to the logits; all except the last
            are D -> D, each followed by dropout and ReLU.
        predictor_dropout: in the predictor, after each linear layer except the last.
        init: "xavier" (all matrices Xavier normal, biases 0), "normal" (all matrices and linear
            biases from N(0, 0.01)) or "gaussian" (all matrices from N(0, 0.01), biases 0); the GRU
            is initialised as in PyTorch.

    Raises:
        ValueError: if a size is not positive, or an option is unknown or does not fit.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> model = TiMiRec(5, dim=4, interests=3)
        >>> vectors = model(padded([[0, 3], [1]], 5))
        >>> interests = vectors.interests
        >>> interests.vectors.shape, interests.logits.shape, vectors.users.shape
        (torch.Size([2, 3, 4]), torch.Size([2, 3]), torch.Size([2, 4]))

    Defaults: of the extractor those of comirec-sa; the predictor's dropout is that of the presets.
    It learns on a small log, more slowly than sasrec (docs/log.md).

    Source: Wang et al., "Target Interest Distillation for Multi-Interest Recommendation", CIKM
    2022, eq. 3, 4 and 12-15. Presets: "movielens-1m", "beauty" and "grocery" are TiMiRec+ with the
    authors' settings; the temperatures of their distillation were 0.5, 0.1 and 1. The same names
    with "-plain" are TiMiRec, whose settings were not published: K and layers are those of
    TiMiRec+.
    """

    predicts_interests = True
    initialised_from = (ComiRecSA,)

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "movielens-1m": _PLUS | _MOVIELENS,
        "beauty": _PLUS | _BEAUTY,
        "grocery": _PLUS | _GROCERY,
        "movielens-1m-plain": _PLAIN | _MOVIELENS,
        "beauty-plain": _PLAIN | _BEAUTY,
        "grocery-plain": _PLAIN | _GROCERY,
    }

    def __init__(
        self,
        n_items: int,
        *,
        dim: int = 64,
        length: int = 50,
        interests: int = 4,
        attention: int | None = None,
        transformer: bool = False,
        positions: Positions | None = None,
        bias: bool = True,
        tied: bool = True,
        output_bias: bool = False,
        predictor_layers: int = 1,
        predictor_dropout: float = 0.5,
        init: Init = "xavier",
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.n_interests = interests
        self.extractor = ComiRecSA(
            n_items,
            dim=dim,
            length=length,
            interests=interests,
            attention=attention,
            transformer=transformer,
            positions=positions,
            bias=bias,
            tied=tied,
            output_bias=output_bias,
            init=init,
        )
        self.predictor = Predictor(
            n_items, dim, interests, layers=predictor_layers, dropout=predictor_dropout, init=init
        )

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the user vectors (P, D), the items, and the interests whose mean the users are.

        Raises:
            ValueError: if a history is longer than the model's `length`.
        """
        histories = prefixes(batch, self.n_items, self.extractor.length)
        found = self.extractor.interests_in(histories, batch)
        interests = Interests(found, self.predictor(histories))
        return Vectors(interests.mean(), items or self.items(), interests)

    def items(self) -> ItemVectors:
        """Return the output vectors and the bias of the extractor."""
        return self.extractor.items()

    def initialise_from(self, other: Encoder) -> None:
        """Copy the weights of a TiMiRec, or those of a `ComiRecSA` for the extractor.

        Raises:
            ValueError: if `other` is of another kind or has other settings.
        """
        if not isinstance(other, ComiRecSA):
            super().initialise_from(other)
            return
        own = self.extractor.settings
        differing = [
            f"{name}={value!r}, not {own[name]!r}"
            for name, value in other.settings.items()
            if value != own[name]
        ]
        if differing:
            raise ValueError(
                f"the trained ComiRecSA has {'; '.join(differing)}; build both models with the "
                "same settings"
            )
        self.extractor.load_state_dict(other.state_dict())


class Predictor(nn.Module):
    """Predicts the next interest: item vectors -> GRU -> linear layers of its last state."""

    def __init__(
        self, n_items: int, dim: int, interests: int, *, layers: int, dropout: float, init: Init
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"predictor_layers must be positive, got {layers}")
        self.table = ItemTable(n_items, dim)
        self.gru = nn.GRU(dim, dim, batch_first=True)
        steps: list[nn.Module] = []
        for _ in range(layers - 1):
            steps += [nn.Linear(dim, dim), Dropout(dropout), nn.ReLU()]
        self.logits = nn.Sequential(*steps, nn.Linear(dim, interests))
        for part in (self.table, self.logits):
            initialise(part, init)

    def forward(self, histories: Histories) -> Tensor:
        """Return the logits (P, K) after the last item of histories (P, L')."""
        inputs, lengths = self.table(histories.items), histories.lengths
        return self.logits(states_at(self.gru, inputs, lengths, each_row(lengths), lengths - 1))
