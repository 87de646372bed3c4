"""Boundary equilibrium GAN: a controller holds fakes' energy at a share of reals'.

Berthelot, Schumm and Metz 2017, arXiv:1703.10717, section 3.4; errors are absolute ones.  E's
ceiling is ours: the energy that real pairs have where the balance holds, E[e(fake)] / diversity.
Where k settles p(x, E(x)) and p(G(z), z) need not agree; only the balance does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from models.errors import BadConfig
from models.objectives.energy import EnergyObjective, EnergySettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings(EnergySettings):
    """What a config may set."""

    gain: float = 1e-3  # the paper's lambda_k
    diversity: float = 0.5  # the paper's gamma = E[e(fake)] / E[e(real)]

    def __post_init__(self) -> None:
        EnergySettings.__post_init__(self)
        if not 0 < self.diversity <= 1:
            raise BadConfig(f"objective.diversity must be in (0, 1], got {self.diversity}")


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """The controller, and the mean energies it saw last."""

    settings: Settings = field(default_factory=Settings)
    k: float = 0.0  # weight of the fakes' energy, in [0, 1]
    real: float = 0.0
    fake: float = 0.0

    @property
    def warming(self) -> bool:
        """Never: k starts at 0, which is warm-up enough."""
        return False

    @property
    def ceiling(self) -> float:
        """What the energy of real pairs is in balance with that of fakes."""
        return self.fake / self.settings.diversity

    @property
    def convergence(self) -> float:
        """The paper's global measure: e(real) + |diversity e(real) - e(fake)|; lower is better."""
        return self.real + abs(self.settings.diversity * self.real - self.fake)

    def shown(self) -> Mapping[str, float]:
        """The weight of fakes and the measure of convergence."""
        return {"k": self.k, "convergence": self.convergence}


def critic_loss(state: State, *, real: Tensor, fake: Tensor) -> Tensor:
    """Mean energy of reals minus k times that of fakes; [B] and [B'] to a scalar."""
    return real.mean() - state.k * fake.mean()


def advance(state: State, *, real: float, fake: float) -> State:
    """The state after one step with these mean energies; k stays in [0, 1]."""
    k = state.k + state.settings.gain * (state.settings.diversity * real - fake)
    return replace(state, k=min(max(k, 0.0), 1.0), real=real, fake=fake)


OBJECTIVE = EnergyObjective(state=State(), power=1, critic_loss=critic_loss, advance=advance)
