"""Fully connected networks for images: one hidden layer each way.

Kramer 1991, "Nonlinear principal component analysis using autoassociative neural networks", AIChE
Journal 37, doi 10.1002/aic.690370209: a layer that maps, the code, a layer that maps back.
Every pixel is seen where it is.  What a convolution learns in one place it knows everywhere, and
so it rebuilds strokes of digits it never saw; these rebuild what they were shown, and little else.
For small images of things that stand in the same place, and for scores; sharp pictures want another
network.  No BatchNorm anywhere.
"""

import math

from torch import Tensor, nn

from models.networks.blocks import SLOPE, Support


class Encoder(nn.Module):
    """Images [B, C, H, W] to codes [B, Z] in the prior's support."""

    def __init__(
        self,
        *,
        image: tuple[int, int, int],
        width: int,
        latent: int,
        prior: str,
        categorical: int = 0,
    ) -> None:
        super().__init__()
        self.features = ImageFeatures(image=image, width=width)
        self.head = nn.Sequential(nn.Linear(width, latent), Support(prior, categorical))

    def forward(self, x: Tensor) -> Tensor:
        """E(x), [B, Z]."""
        codes: Tensor = self.head(self.features(x))
        return codes


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


class ImageFeatures(nn.Module):
    """The one hidden layer: [B, C, H, W] to [B, size]."""

    def __init__(self, *, image: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(image), width), nn.LeakyReLU(SLOPE)
        )
        self.size = width

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, size]."""
        features: Tensor = self.layers(x)
        return features
