"""What a pairing may ask of any objective, whatever its family reads from a critic.

An objective is immutable: where it has a state, `after` gives the objective as it is after an
update.  It sees pairs and what a critic makes of them, never a network's weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from torch import Tensor

from models.errors import BadConfig
from models.networks.heads import Head

JointScore = Callable[[Tensor, Tensor], Tensor]  # ([B, ...], [B, Z]) to numbers [B]
JointCritic = Callable[[Tensor, Tensor], Any]  # ([B, ...], [B, Z]) to what the family reads


class Pair(NamedTuple):
    """Items with their codes: (x, E(x)) where real, (G(z), z) where fake."""

    x: Tensor  # [B, ...]
    z: Tensor  # [B, Z]


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticTerms:
    """What an objective asks of the critic on one batch."""

    loss: Tensor  # scalar, minimised by the critic
    figures: Mapping[str, Tensor] = field(default_factory=dict)  # scalars to log and to advance by
    witness: JointScore | None = None  # the function of a pair whose slope may be penalised


class Objective(ABC):
    """One game on pairs."""

    @property
    @abstractmethod
    def head(self) -> Head:
        """What the critic has to end in."""

    @abstractmethod
    def critic_terms(self, critic: JointCritic, *, real: Pair, fake: Pair) -> CriticTerms:
        """What the critic minimises."""

    @abstractmethod
    def pair_terms(self, critic: JointCritic, *, real: Pair, fake: Pair) -> dict[str, Tensor]:
        """What G and E minimise the sum of: `generator` moves G, `encoder` E, `match` both."""

    @property
    def warming(self) -> bool:
        """Whether the critic still trains alone."""
        return False

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """The same game with a config's `[objective]`.  Raises UnknownName or BadConfig."""
        if settings:
            raise BadConfig(f"this objective has no settings, [objective] has {sorted(settings)}")
        return self

    def with_targets(self, *, smoothing: float, smoothing_real: float) -> Self:
        """The same game with the critic's targets moved, where it has any; models.choices sees
        to it that nothing is moved where there are none.
        """
        return self

    def after(self, figures: Mapping[str, Tensor]) -> Self:
        """The objective after a critic's step on which it gave these figures."""
        return self

    def after_epoch(self) -> Self:
        """The objective after the critics have seen all data once more."""
        return self

    def shown(self) -> Mapping[str, float]:
        """Figures of the state that a log should show."""
        return {}

    def saved(self) -> dict[str, float]:
        """The state, settings left out, as plain numbers; empty where there is none."""
        return {}

    def restored(self, saved: Mapping[str, float]) -> Self:
        """The objective with a state that `saved` gave."""
        return self
