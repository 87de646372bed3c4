"""Fully connected networks for images: one hidden layer each way.

Kramer 1991, "Nonlinear principal component analysis using autoassociative neural networks", AIChE
Journal 37, doi 10.1002/aic.690370209: a layer that maps, the code, a layer that maps back.
Every pixel is seen where it is.  What a convolution learns in one place it knows everywhere, and
so it rebuilds strokes of digits it never saw; these rebuild what they were shown, and little else.
For small images of things that stand in the same place, and for scores; sharp pictures want another
network.  No BatchNorm anywhere.
"""

import math
from typing import Any

from torch import Tensor, nn

from models.networks.blocks import SLOPE, CodeEncoder, Features


class Encoder(CodeEncoder):
    """Images [B, C, H, W] to codes [B, Z] in the prior's support."""

    def __init__(self, *, image: tuple[int, int, int], width: int, **code: Any) -> None:
        super().__init__(ImageFeatures(image=image, width=width), width, **code)


class Generator(nn.Module):
    """Codes [B, Z] to images [B, C, H, W] in [-1, 1]."""

    def __init__(self, *, image: tuple[int, int, int], width: int, latent: int) -> None:
        super().__init__()
        height, breadth, channels = image
        self.layers = nn.Sequential(
            nn.Linear(latent, width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(width, math.prod(image)),
            nn.Tanh(),
            nn.Unflatten(1, (channels, height, breadth)),
        )

    def forward(self, z: Tensor) -> Tensor:
        """G(z), [B, C, H, W]."""
        images: Tensor = self.layers(z)
        return images


class ImageFeatures(Features):
    """The one hidden layer: [B, C, H, W] to [B, size]."""

    def __init__(self, *, image: tuple[int, int, int], width: int) -> None:
        hidden = nn.Flatten(), nn.Linear(math.prod(image), width), nn.LeakyReLU(SLOPE)
        super().__init__(nn.Sequential(*hidden), width)
