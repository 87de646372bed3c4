"""What every objective of the score family offers: losses of raw scores [B], as scalars."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class CriticLoss(Protocol):
    """What the critic minimises; `smoothing` moves both targets that far towards each other."""

    def __call__(self, *, real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
        """[B] and [B'] to a scalar."""


class GeneratorLoss(Protocol):
    """What G minimises, from the scores of its fakes."""

    def __call__(self, *, fake: Tensor) -> Tensor:
        """[B] to a scalar."""


class EncoderLoss(Protocol):
    """What E minimises, from the scores of the pairs it makes."""

    def __call__(self, *, real: Tensor) -> Tensor:
        """[B] to a scalar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreObjective:
    """One game on raw scores."""

    critic_loss: CriticLoss
    generator_loss: GeneratorLoss
    encoder_loss: EncoderLoss
