"""The prediction of the model's own averaged weights as the soft target: no second training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from softrec.averages import add_step, trained_weights
from softrec.scoring import Scoring
from softrec.settings import Alpha, Decay, Temperature, setting
from softrec.targets.build.contexts import PLAIN, own_prediction
from softrec.targets.settings import ALPHAS, FLATTER, TEMPERATURES, WEIGHT, TargetSettings
from softrec.targets.teacher import TeacherTarget
from softrec.training_data import TrainingData
from softrec.types import Batch, Encoder


class MeanTeacherSource(nn.Module):
    r"""The prediction of the model with the exponential moving average of its weights.

    $$s = \mathrm{softmax}(z(\bar w_{t-1}) / T), \qquad
    \bar w_t = d_t \bar w_{t-1} + (1 - d_t) w_t, \qquad d_t = \min(d, t / (t + 9))$$

    for the same batch, without gradient and dropout. `after_step` adds the weights of a step. The
    averages are buffers that a checkpoint has; buffers of the model, such as running means, are
    those of the last step.

    Args:
        encoder: the model that is trained. It is not a submodule, because it would be saved twice.
        decay: d in [0, 1).
        temperature: T > 0; larger is flatter.
        scoring: the kind of score of the model in training.

    Source: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017. There the
    target is of unlabelled examples, too, and the distance is a squared one.
    """

    steps: Tensor  # () int64

    def __init__(
        self, encoder: Encoder, decay: float, temperature: float = 1.0, scoring: Scoring = PLAIN
    ) -> None:
        super().__init__()
        self._of = (encoder,)  # in a tuple, so that it does not become a submodule
        self.decay, self.temperature, self.scoring = decay, temperature, scoring
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        weights = trained_weights(encoder)
        self._names = [f"average_{place}" for place in range(len(weights))]
        for name, weight in zip(self._names, weights, strict=True):
            self.register_buffer(name, weight.clone())

    @property
    def encoder(self) -> Encoder:
        """Return the model that is trained."""
        return self._of[0]

    @property
    def averages(self) -> list[Tensor]:
        """Return the averaged weights, in the order of the parameters."""
        return [self.get_buffer(name) for name in self._names]

    def after_step(self) -> None:
        """Add the weights of the model after a step of the optimiser."""
        self.steps += 1
        add_step(self.averages, trained_weights(self.encoder), self.decay, int(self.steps))

    def forward(self, batch: Batch) -> TeacherTarget:
        """Return the prediction of the averaged weights for `batch`."""
        with self._averaged():
            return own_prediction(self.encoder, batch, self.temperature, self.scoring)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """A context in which the model has the averaged weights; nothing is copied."""
        trained = [part for part in self.encoder.parameters() if part.requires_grad]
        own = [part.data for part in trained]
        try:
            for part, average in zip(trained, self.averages, strict=True):
                part.data = average.to(part)
            yield
        finally:
            for part, data in zip(trained, own, strict=True):
                part.data = data


class MeanTeacherSettings(TargetSettings, name="mean-teacher"):
    """The model's own prediction with the moving average of its weights, in the same training."""

    alpha: Alpha = setting(0.2, WEIGHT, common=True, search=ALPHAS)
    temperature: Temperature = setting(1.0, FLATTER, common=True, search=TEMPERATURES)
    decay: Decay = setting(
        0.999, "of the average of the weights over the steps", search="0.9,0.99,0.999"
    )

    @property
    def with_prior(self) -> bool:
        """Return False: the teacher's vectors do not have a prior."""
        return False

    def build(self, training: TrainingData) -> MeanTeacherSource:
        """Return the source, whose average begins with the initial weights."""
        return MeanTeacherSource(training.encoder, self.decay, self.temperature, training.scoring)
