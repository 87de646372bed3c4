"""Margin adaptation GAN: the margin shrinks to the energy of real pairs, epoch by epoch.

Wang et al. 2017, arXiv:1704.03817, algorithm 1.  It starts at the energy of real pairs after a
warm-up in which the autoencoder trains alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor
from torch.nn.functional import relu

from models.objectives.energy import EnergyObjective, EnergySettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings(EnergySettings):
    """What a config may set."""

    warmup: int = 200  # critic updates of the autoencoder alone


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """The margin, and what this epoch's updates have seen so far."""

    settings: Settings = field(default_factory=Settings)
    warmed: int = 0  # critic updates of the autoencoder alone so far
    margin: float = 0.0
    updates: int = 0  # of this epoch
    real_sum: float = 0.0  # over them, of the mean energy of reals
    fake_sum: float = 0.0
    fake_before: float = math.inf  # mean energy of fakes over the epoch before

    @property
    def warming(self) -> bool:
        """Whether the margin is still to be set."""
        return self.warmed < self.settings.warmup

    @property
    def ceiling(self) -> float:
        """E's bound is the margin."""
        return self.margin

    def shown(self) -> Mapping[str, float]:
        """The margin."""
        return {"margin": self.margin}


def critic_loss(state: State, *, real: Tensor, fake: Tensor) -> Tensor:
    """Mean energy of reals plus mean shortfall of fakes below the margin.

    [B] and [B'] to a scalar.
    """
    return real.mean() + relu(state.margin - fake).mean()


def warm_up(state: State, *, real: float) -> State:
    """The state after one more update of the autoencoder alone."""
    return replace(state, warmed=state.warmed + 1, margin=real)


def advance(state: State, *, real: float, fake: float) -> State:
    """The state after one step with these mean energies."""
    return replace(
        state,
        updates=state.updates + 1,
        real_sum=state.real_sum + real,
        fake_sum=state.fake_sum + fake,
    )


def end_epoch(state: State) -> State:
    """The state after an epoch.

    The margin falls to the mean energy of reals if that is below it and below that of fakes, and
    fakes did not come down since the epoch before.
    """
    if not state.updates:
        return state
    real, fake = state.real_sum / state.updates, state.fake_sum / state.updates
    shrinks = real < min(state.margin, fake) and fake >= state.fake_before
    return replace(
        state,
        margin=real if shrinks else state.margin,
        updates=0,
        real_sum=0.0,
        fake_sum=0.0,
        fake_before=fake,
    )


OBJECTIVE = EnergyObjective(
    state=State(),
    power=2,
    critic_loss=critic_loss,
    warm_up=warm_up,
    advance=advance,
    end_epoch=end_epoch,
)
