"""The score family: losses of raw critic scores [B], as scalars.

Real pairs should score high, fake ones low; so G's loss depends on fakes alone, E's on reals.
"""

from dataclasses import dataclass, replace
from typing import Protocol, Self

from torch import Tensor

from models.networks.heads import SCORES, Scores
from models.objectives.objective import CriticTerms, JointCritic, Objective, Pair


class CriticLoss(Protocol):
    """What the critic minimises."""

    def __call__(self, *, real: Tensor, fake: Tensor) -> Tensor:
        """[B] and [B'] to a scalar."""


class SmoothedLoss(Protocol):
    """The same with both targets moved `smoothing` towards each other, and one further."""

    def __call__(
        self, *, real: Tensor, fake: Tensor, smoothing: float, smoothing_real: float
    ) -> Tensor:
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
class ScoreObjective(Objective):
    """One game on raw scores."""

    plain: CriticLoss
    generator_loss: GeneratorLoss
    encoder_loss: EncoderLoss
    smoothed: SmoothedLoss | None = None  # None: the critic has no targets to move
    smoothing: float = 0.0  # of the critic's targets on pairs
    smoothing_real: float = 0.0  # of that of real pairs beside it

    @property
    def head(self) -> Scores:
        """One number per pair."""
        return SCORES

    def critic_loss(
        self, *, real: Tensor, fake: Tensor, smoothing: float = 0.0, smoothing_real: float = 0.0
    ) -> Tensor:
        """What a critic minimises, [B] and [B'] to a scalar; smoothing needs targets."""
        if not smoothing and not smoothing_real:
            return self.plain(real=real, fake=fake)
        if self.smoothed is None:
            raise ValueError("this objective has no targets to smooth")
        return self.smoothed(
            real=real, fake=fake, smoothing=smoothing, smoothing_real=smoothing_real
        )

    def with_targets(self, *, smoothing: float, smoothing_real: float) -> Self:
        """The same game with the critic's targets moved."""
        return replace(self, smoothing=smoothing, smoothing_real=smoothing_real)

    def critic_terms(self, critic: JointCritic, *, real: Pair, fake: Pair) -> CriticTerms:
        """The loss of both halves; the critic itself may be held in slope."""
        loss = self.critic_loss(
            real=critic(*real),
            fake=critic(*fake),
            smoothing=self.smoothing,
            smoothing_real=self.smoothing_real,
        )
        return CriticTerms(loss=loss, witness=critic)

    def pair_terms(self, critic: JointCritic, *, real: Pair, fake: Pair) -> dict[str, Tensor]:
        """G's half and E's half."""
        return {
            "generator": self.generator_loss(fake=critic(*fake)),
            "encoder": self.encoder_loss(real=critic(*real)),
        }
