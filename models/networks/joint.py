"""Critics: of an image or a code alone, and of a pair (x, z).

A critic gives one raw score per sample, [B]: no sigmoid, which belongs to an objective.  A critic
of pairs may end in an embedding instead, [B, D].
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from models.config import Minibatch
from models.networks.blocks import SLOPE, Orthonormal
from models.networks.minibatch import among


class Critic(nn.Module):
    """Score of one thing: features of it, then one number."""

    def __init__(self, features: nn.Module, size: int, *, minibatch: Minibatch = "none") -> None:
        super().__init__()
        self.features = features
        self.among, extra = among(minibatch, size)
        self.score = nn.Linear(size + extra, 1)

    def forward(self, sample: Tensor) -> Tensor:
        """Raw scores [B]."""
        return self.judged(self.features(sample))

    def judged(self, features: Tensor) -> Tensor:
        """Raw scores [B] of what has these features, [B, D]."""
        scores: Tensor = self.score(self.among(features)).squeeze(1)
        return scores


class PairFeatures(nn.Module, ABC):
    """Features of a pair (x, z): of each, then layers that see both.

    Donahue, Kraehenbuehl and Darrell 2017, arXiv:1605.09782, section 3; the cut into an x part, a
    z part and a joint part is Dumoulin et al. 2017 (ALI), arXiv:1606.00704, table 1.
    """

    def __init__(
        self, x_features: nn.Module, x_size: int, *, latent: int, width: int, joint: int
    ) -> None:
        super().__init__()
        self.x_features = x_features
        self.z_features = nn.Sequential(
            nn.Linear(latent, width), nn.LeakyReLU(SLOPE),
            nn.Linear(width, width), nn.LeakyReLU(SLOPE),
        )  # fmt: skip
        self.joint = nn.Sequential(
            nn.Linear(x_size + width, joint), nn.LeakyReLU(SLOPE),
            nn.Linear(joint, joint), nn.LeakyReLU(SLOPE),
        )  # fmt: skip

    def features(self, x: Tensor, z: Tensor) -> Tensor:
        """Of each pair, [B, joint]; with several batches of codes, one after another, of x with
        each of them.
        """
        of_x, of_z = self.x_features(x), self.z_features(z)
        if len(z) != len(x):
            of_x = of_x.repeat(len(z) // len(x), 1)
        features: Tensor = self.joint(torch.cat([of_x, of_z], dim=1))
        return features

    @abstractmethod
    def judged(self, features: Tensor) -> Any:
        """What the critic says of pairs with these features, [B, joint]."""

    def forward(self, x: Tensor, z: Tensor) -> Any:
        """What the critic says of each pair."""
        return self.judged(self.features(x, z))


class JointCritic(PairFeatures):
    """Score of a pair."""

    def __init__(
        self,
        x_features: nn.Module,
        x_size: int,
        *,
        latent: int,
        width: int,
        joint: int,
        minibatch: Minibatch = "none",
    ) -> None:
        super().__init__(x_features, x_size, latent=latent, width=width, joint=joint)
        self.among, extra = among(minibatch, joint)
        self.score = nn.Linear(joint + extra, 1)

    def judged(self, features: Tensor) -> Tensor:
        """Raw scores [B]; real pairs (x, E(x)) should score high."""
        scores: Tensor = self.score(self.among(features)).squeeze(1)
        return scores


class JointEmbedding(PairFeatures):
    """A pair as a point: for objectives that compare clouds of points."""

    def __init__(
        self, x_features: nn.Module, x_size: int, *, latent: int, width: int, joint: int, size: int
    ) -> None:
        super().__init__(x_features, x_size, latent=latent, width=width, joint=joint)
        self.embed = nn.Linear(joint, size)

    def judged(self, features: Tensor) -> Tensor:
        """Embeddings [B, size]."""
        points: Tensor = self.embed(features)
        return points


class JointProjections(JointEmbedding):
    """An embedding seen through two maps with orthonormal columns.

    Mroueh, Sercu and Goel 2017 (McGan), arXiv:1702.08398, section 4: the maps U and V are trained
    with the critic and brought back to orthonormal columns after each of its steps.
    """

    def __init__(
        self,
        x_features: nn.Module,
        x_size: int,
        *,
        latent: int,
        width: int,
        joint: int,
        size: int,
        rank: int,
    ) -> None:
        super().__init__(x_features, x_size, latent=latent, width=width, joint=joint, size=size)
        self.left, self.right = Orthonormal(size, rank), Orthonormal(size, rank)

    def judged(self, features: Tensor) -> Tensor:
        """Both views side by side, [B, 2 * rank]."""
        points = super().judged(features)
        return torch.cat([self.left(points), self.right(points)], dim=1)


class Identity(nn.Module):
    """No critic: pairs are handed on as they are."""

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """(x, z)."""
        return x, z
