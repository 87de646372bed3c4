"""Fisher GAN: the gap between mean scores, where the scores' second moment is held at 1.

Mroueh and Sercu 2017, arXiv:1705.09675, equations 6 to 8 and algorithm 1: an augmented Lagrangian
whose multiplier climbs after each critic's step.  No clip and no slope penalty is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from torch import Tensor

from models.config import filled
from models.errors import BadConfig
from models.networks.heads import SCORES, Scores
from models.objectives.objective import CriticTerms, JointCritic, Objective, Pair
from models.objectives.wgan import encoder_loss, generator_loss


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a config may set."""

    rho: float = 1e-6  # penalty weight and step of the multiplier; 1e-4 suits toys

    def __post_init__(self) -> None:
        if self.rho <= 0:
            raise BadConfig(f"objective.rho must be positive, got {self.rho}")


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """The multiplier of the constraint."""

    settings: Settings = field(default_factory=Settings)
    alpha: float = 0.0


def second_moment(*, real: Tensor, fake: Tensor) -> Tensor:
    """Mean square of all scores, each half weighing the same; [B] and [B'] to a scalar."""
    return (real.square().mean() + fake.square().mean()) / 2


def critic_loss(state: State, *, real: Tensor, fake: Tensor) -> Tensor:
    """Minus the augmented Lagrangian; [B] and [B'] to a scalar."""
    gap = real.mean() - fake.mean()
    slack = 1 - second_moment(real=real, fake=fake)
    return -(gap + state.alpha * slack - state.settings.rho / 2 * slack.square())


def advance(state: State, *, moment: float) -> State:
    """The state after a step on scores with this second moment."""
    return replace(state, alpha=state.alpha - state.settings.rho * (1 - moment))


@dataclass(frozen=True, kw_only=True, slots=True)
class FisherObjective(Objective):
    """Scores with a multiplier; G and E see the gap alone, nothing of the constraint."""

    state: State = field(default_factory=State)

    @property
    def head(self) -> Scores:
        """One number per pair."""
        return SCORES

    def critic_terms(self, critic: JointCritic, *, real: Pair, fake: Pair) -> CriticTerms:
        """The Lagrangian, and the second moment that moves the multiplier."""
        scores = {"real": critic(*real).float(), "fake": critic(*fake).float()}
        return CriticTerms(
            loss=critic_loss(self.state, **scores),
            figures={"second_moment": second_moment(**scores)},
            witness=critic,
        )

    def pair_terms(self, critic: JointCritic, *, real: Pair, fake: Pair) -> dict[str, Tensor]:
        """G's half and E's half of the gap."""
        return {
            "generator": generator_loss(fake=critic(*fake)),
            "encoder": encoder_loss(real=critic(*real)),
        }

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """With rho from a config."""
        chosen = filled(Settings, "objective", settings)
        return replace(self, state=replace(self.state, settings=chosen))

    def after(self, figures: Mapping[str, Tensor]) -> Self:
        """With the multiplier moved."""
        return replace(self, state=advance(self.state, moment=figures["second_moment"].item()))

    def shown(self) -> Mapping[str, float]:
        """The multiplier."""
        return self.saved()

    def saved(self) -> dict[str, float]:
        """The multiplier."""
        return {"alpha": self.state.alpha}

    def restored(self, saved: Mapping[str, float]) -> Self:
        """With a multiplier that was saved; unchanged where none was."""
        if not saved:
            return self
        return replace(self, state=replace(self.state, alpha=saved["alpha"]))


OBJECTIVE = FisherObjective()
