"""Critics: of an image or a code alone, and of a pair (x, z).

A critic gives one raw score per sample, [B]: no sigmoid, which belongs to an objective.
"""

import torch
from torch import Tensor, nn

from models.networks.blocks import SLOPE


class Critic(nn.Module):
    """Score of one thing: features of it, then one number."""

    def __init__(self, features: nn.Module, size: int) -> None:
        super().__init__()
        self.features = features
        self.score = nn.Linear(size, 1)

    def forward(self, sample: Tensor) -> Tensor:
        """Raw scores [B]."""
        scores: Tensor = self.score(self.features(sample)).squeeze(1)
        return scores


class JointCritic(nn.Module):
    """Score of a pair (x, z): features of each, then layers that see both.

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
        self.score = nn.Linear(joint, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Raw scores [B]; real pairs (x, E(x)) should score high."""
        both = torch.cat([self.x_features(x), self.z_features(z)], dim=1)
        scores: Tensor = self.score(self.joint(both)).squeeze(1)
        return scores
