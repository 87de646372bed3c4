"""The embedding family: a distance between two clouds of points [B, D] that a critic draws.

The critic maximises the distance; G and E both minimise it, since it depends on both halves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from models.config import filled
from models.networks.heads import Embedding, Head, Projections
from models.objectives.objective import CriticTerms, JointCritic, Objective, Pair


class Distance(Protocol):
    """How far two clouds are apart."""

    def __call__(self, *, real: Tensor, fake: Tensor) -> Tensor:
        """[B, D] and [B', D] to a scalar."""


class Witness(Protocol):
    """The function of a point whose mean over one cloud minus that over the other is largest."""

    def __call__(self, points: Tensor, *, real: Tensor, fake: Tensor) -> Tensor:
        """[N, D], with clouds [B, D] and [B', D], to [N]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingObjective(Objective):
    """One distance between clouds, and the size of the critic's embedding."""

    distance: Distance
    size: Embedding | Projections
    witness: Witness | None = None  # None: there is no slope to penalise

    @property
    def head(self) -> Head:
        """A point per pair."""
        return self.size

    def critic_terms(self, critic: JointCritic, *, real: Pair, fake: Pair) -> CriticTerms:
        """Minus the distance; the witness may be held in slope, through the critic."""
        clouds = _clouds(critic, real, fake)
        witness = self.witness
        if witness is None:
            return CriticTerms(loss=-self.distance(**clouds))

        def seen(x: Tensor, z: Tensor) -> Tensor:
            return witness(critic(x, z).float(), **clouds)

        return CriticTerms(loss=-self.distance(**clouds), witness=seen)

    def pair_terms(self, critic: JointCritic, *, real: Pair, fake: Pair) -> dict[str, Tensor]:
        """The distance, for both."""
        return {"match": self.distance(**_clouds(critic, real, fake))}

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """With another size; what is not set stays as it is."""
        own = {name: getattr(self.size, name) for name in type(self.size).__dataclass_fields__}
        return replace(self, size=filled(type(self.size), "objective", {**own, **settings}))


def _clouds(critic: JointCritic, real: Pair, fake: Pair) -> dict[str, Tensor]:
    return {"real": critic(*real).float(), "fake": critic(*fake).float()}


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2, from [N, D] and [M, D] to [N, M]; twice differentiable, and never negative.

    By inner products, about the mean of b so that little cancels, and in float32 throughout.
    """
    with torch.autocast(a.device.type, enabled=False):
        centre = b.detach().mean(0)
        a, b = a - centre, b - centre
        squares = a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T
    return squares.clamp(min=0)


def mean_off_diagonal(values: Tensor) -> Tensor:
    """The mean of [N, N] over i != j: each thing against every other, not against itself."""
    n = len(values)
    return (values.sum() - values.diagonal().sum()) / (n * (n - 1))
