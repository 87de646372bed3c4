"""Fully connected networks for images: two hidden layers each way.

Those of the permutation-invariant MNIST of Donahue, Kraehenbuehl and Darrell 2017,
arXiv:1605.09782, appendix C.1: nothing in them knows which pixels are neighbours, and a BatchNorm
stands behind the second layer of E and G.  Ours: its scale and shift are learned, and the critics
are those of `dense`, without BatchNorm.
"""

import math
from typing import Any

from torch import Tensor, nn

from models.networks.blocks import SLOPE, CodeEncoder


class Encoder(CodeEncoder):
    """Images [B, C, H, W] to codes [B, Z] in the prior's support."""

    def __init__(self, *, image: tuple[int, int, int], width: int, **code: Any) -> None:
        hidden = _hidden(math.prod(image), width, nn.LeakyReLU(SLOPE))
        super().__init__(nn.Sequential(nn.Flatten(), *hidden), width, **code)


class Generator(nn.Module):
    """Codes [B, Z] to images [B, C, H, W] in [-1, 1]."""

    def __init__(self, *, image: tuple[int, int, int], width: int, latent: int) -> None:
        super().__init__()
        height, breadth, channels = image
        self.layers = nn.Sequential(
            *_hidden(latent, width, nn.ReLU()),
            nn.Linear(width, math.prod(image)),
            nn.Tanh(),
            nn.Unflatten(1, (channels, height, breadth)),
        )

    def forward(self, z: Tensor) -> Tensor:
        """G(z), [B, C, H, W]."""
        images: Tensor = self.layers(z)
        return images


def _hidden(before: int, width: int, activation: nn.Module) -> list[nn.Module]:
    second = [nn.Linear(width, width), nn.BatchNorm1d(width), activation]
    return [nn.Linear(before, width), activation, *second]
