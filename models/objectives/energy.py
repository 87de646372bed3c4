"""The energy family: the critic is an autoencoder of pairs, its error is the energy [B].

Real pairs should be rebuilt well (low energy), fake ones badly; G lowers the energy of its pairs.
E's half is ours, as no paper plays it: E raises the energy of real pairs, but no higher than a
ceiling, since an autoencoder's error has none and E would run away.  Even so its codes must be
bounded, which a uniform prior does: under a normal one single codes grew past 100 on the ring.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, Protocol, Self, TypeVar

from torch import Tensor
from torch.nn.functional import relu

from models.config import filled
from models.errors import BadConfig
from models.networks.heads import Autoencoder, Rebuilt
from models.objectives.objective import CriticTerms, JointCritic, Objective, Pair


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergySettings:
    """What a config may set of any objective of this family."""

    latent_weight: float = 1.0  # of the error in z, where that in x weighs 1

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) < 0:
                raise BadConfig(f"objective.{each.name} must not be negative")


class EnergyState(Protocol):
    """What changes from step to step."""

    @property
    def settings(self) -> EnergySettings: ...

    @property
    def warming(self) -> bool:
        """Whether the autoencoder still trains on real pairs alone."""

    @property
    def ceiling(self) -> float:
        """The energy up to which E raises real pairs."""

    def shown(self) -> Mapping[str, float]:
        """Figures for the log."""


S = TypeVar("S", bound=EnergyState)
S_contra = TypeVar("S_contra", contravariant=True, bound=EnergyState)


class CriticLoss(Protocol[S_contra]):
    """What the autoencoder minimises."""

    def __call__(self, state: S_contra, *, real: Tensor, fake: Tensor) -> Tensor:
        """Energies [B] and [B'] to a scalar."""


class Spread(Protocol[S_contra]):
    """What keeps the codes of fakes apart, weighted."""

    def __call__(self, state: S_contra, *, codes: Tensor) -> Tensor:
        """Bottleneck codes [B, K] to a scalar."""


class WarmUp(Protocol[S]):
    """The state after a step of the autoencoder alone."""

    def __call__(self, state: S, *, real: float) -> S:
        """From the mean energy of real pairs."""


class Advance(Protocol[S]):
    """The state after a step of the game."""

    def __call__(self, state: S, *, real: float, fake: float) -> S:
        """From the mean energies."""


class AfterEpoch(Protocol[S]):
    """The state after an epoch."""

    def __call__(self, state: S) -> S: ...


def energy(pair: Pair, rebuilt: Rebuilt, *, power: int, latent_weight: float) -> Tensor:
    """Mean |x - x'|^power + latent_weight * mean |z - z'|^power of each pair.

    Args:
        pair: x [B, ...] and z [B, Z].
        rebuilt: What the autoencoder made of them.
        power: 1 or 2.
    Returns:
        Energies [B].
    """

    def error(given: Tensor, again: Tensor) -> Tensor:
        return (given - again).float().flatten(1).abs().pow(power).mean(1)

    return error(pair.x, rebuilt.x) + latent_weight * error(pair.z, rebuilt.z)


def generator_loss(*, fake: Tensor) -> Tensor:
    """Mean energy of fakes; [B] to a scalar."""
    return fake.mean()


def encoder_loss(*, real: Tensor, ceiling: float) -> Tensor:
    """Mean shortfall of the energy of real pairs below the ceiling; [B] to a scalar."""
    return relu(ceiling - real).mean()


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyObjective(Objective, Generic[S]):
    """One game on energies, at one moment of its state."""

    state: S
    power: int  # of the errors: 1 or 2
    critic_loss: CriticLoss[S]
    spread: Spread[S] | None = None
    warm_up: WarmUp[S] | None = None
    advance: Advance[S] | None = None
    end_epoch: AfterEpoch[S] | None = None

    @property
    def head(self) -> Autoencoder:
        """The pair once more."""
        return Autoencoder()

    @property
    def warming(self) -> bool:
        """Whether the autoencoder still trains on real pairs alone."""
        return self.state.warming

    def critic_terms(self, critic: JointCritic, *, real: Pair, fake: Pair) -> CriticTerms:
        """The family's loss; while it warms up the energy of real pairs alone."""
        e_real, e_fake = self._energy(real, critic(*real)), self._energy(fake, critic(*fake))
        means = {"energy_real": e_real.mean(), "energy_fake": e_fake.mean()}
        loss = means["energy_real"]
        if not self.warming:
            loss = self.critic_loss(self.state, real=e_real, fake=e_fake)
        return CriticTerms(loss=loss, figures=means)

    def pair_terms(self, critic: JointCritic, *, real: Pair, fake: Pair) -> dict[str, Tensor]:
        """G's half, with what keeps its fakes apart, and E's half."""
        rebuilt = critic(*fake)
        generator = generator_loss(fake=self._energy(fake, rebuilt))
        if self.spread:
            generator = generator + self.spread(self.state, codes=rebuilt.code)
        e_real = self._energy(real, critic(*real))
        encoder = encoder_loss(real=e_real, ceiling=self.state.ceiling)
        return {"generator": generator, "encoder": encoder}

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """With settings from a config."""
        chosen = filled(type(self.state.settings), "objective", settings)
        return self._with_state(settings=chosen)

    def after(self, figures: Mapping[str, Tensor]) -> Self:
        """With the state moved by these mean energies."""
        means = {name: figures[f"energy_{name}"].item() for name in ("real", "fake")}
        if self.warming and self.warm_up:
            return replace(self, state=self.warm_up(self.state, real=means["real"]))
        return replace(self, state=self.advance(self.state, **means)) if self.advance else self

    def after_epoch(self) -> Self:
        """With the state moved by an epoch."""
        return replace(self, state=self.end_epoch(self.state)) if self.end_epoch else self

    def shown(self) -> Mapping[str, float]:
        """The state's own choice."""
        return self.state.shown()

    def saved(self) -> dict[str, float]:
        """All of the state but its settings."""
        names = [each.name for each in fields(self.state)]  # type: ignore[arg-type]
        return {name: getattr(self.state, name) for name in names if name != "settings"}

    def restored(self, saved: Mapping[str, float]) -> Self:
        """With a state that was saved."""
        return self._with_state(**saved)

    def _with_state(self, **changes: Any) -> Self:
        return replace(self, state=replace(self.state, **changes))  # type: ignore[type-var]

    def _energy(self, pair: Pair, rebuilt: Rebuilt) -> Tensor:
        weight = self.state.settings.latent_weight
        return energy(pair, rebuilt, power=self.power, latent_weight=weight)
