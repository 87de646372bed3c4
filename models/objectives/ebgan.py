"""Energy-based GAN: fakes are pushed up to a margin, and apart from each other.

Zhao, Mathieu and LeCun 2017, arXiv:1609.03126, equations 1 and 2, and the pull-away term of
section 2.4.  The paper picks the margin by hand; here it is `ratio` times the energy of real pairs
at the end of a warm-up in which the autoencoder trains alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor
from torch.nn.functional import normalize, relu

from models.objectives.embedding import mean_off_diagonal
from models.objectives.energy import EnergyObjective, EnergySettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings(EnergySettings):
    """What a config may set."""

    ratio: float = 8.0  # of the margin to the energy of real pairs after the warm-up
    warmup: int = 200  # critic updates of the autoencoder alone
    pull_away: float = 0.1  # weight of the pull-away term


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """The margin, once the warm-up has set it."""

    settings: Settings = field(default_factory=Settings)
    warmed: int = 0  # critic updates of the autoencoder alone so far
    margin: float = 0.0

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


def pull_away(state: State, *, codes: Tensor) -> Tensor:
    """The weighted mean squared cosine between the codes of two fakes; [B, K] to a scalar."""
    directions = normalize(codes.float(), dim=1)
    return state.settings.pull_away * mean_off_diagonal((directions @ directions.T).square())


def warm_up(state: State, *, real: float) -> State:
    """The state after one more update of the autoencoder alone."""
    return replace(state, warmed=state.warmed + 1, margin=state.settings.ratio * real)


OBJECTIVE = EnergyObjective(
    state=State(), power=2, critic_loss=critic_loss, spread=pull_away, warm_up=warm_up
)
