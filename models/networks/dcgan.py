"""The DCGAN family: strided convolutions, for images of 16 to 256 pixels a side.

Radford, Metz and Chintala 2016, arXiv:1511.06434: strided convolutions instead of pooling,
BatchNorm, ReLU in G and LeakyReLU elsewhere.  Here BatchNorm is in G and E only: a critic whose
score of one image depends on its batch mates has no per-sample gradient to penalise.  Deviations:
G ends in a 3x3 convolution at full size instead of a transposed one, and its transposed ones may
be held to what a larger image and a 3x3 convolution give (`Enlarging`), against checkerboards.

Every size is a number: with k halvings and a base of 4 to 7 pixels on the smaller side, 28x28 is
7·2², 32x32 is 4·2³, 24x40 is 6·2² by 10·2².
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d

from models.config import Upsampling
from models.errors import BadConfig
from models.networks.blocks import SLOPE, CodeEncoder, Features, initialise

SMALLEST, LARGEST = 16, 256  # pixels a side
MAX_MULTIPLE = 8  # of the width, in the layer next to the latent


@dataclass(frozen=True, kw_only=True, slots=True)
class Pyramid:
    """Sizes of a strided network: `levels` halvings from the image down to `base`."""

    image: tuple[int, int, int]  # height, width, channels
    base: tuple[int, int]
    channels: tuple[int, ...]  # after each halving, finest first

    @property
    def flat(self) -> int:
        """Features of the coarsest layer, flattened."""
        return self.base[0] * self.base[1] * self.channels[-1]


def pyramid(
    image: tuple[int, int, int], width: int, *, network: str = "dcgan", smallest: int = SMALLEST
) -> Pyramid:
    """The pyramid for images of [height, width, channels]; `network` is who asks.

    Raises BadConfig when a side is outside smallest..256 or cannot be halved down to 4..7 pixels.
    """
    height, breadth, _ = image
    if not all(smallest <= side <= LARGEST for side in (height, breadth)):
        raise BadConfig(
            f"{network} takes {smallest} to {LARGEST} pixels a side, got {height}x{breadth}"
        )
    levels = (min(height, breadth) // 4).bit_length() - 1
    if height % 2**levels or breadth % 2**levels:
        step = 2**levels
        raise BadConfig(
            f"{network} halves a {height}x{breadth} image {levels} times: "
            f"both sides must be multiples of {step}"
        )
    channels = tuple(width * min(2**i, MAX_MULTIPLE) for i in range(levels))
    return Pyramid(image=image, base=(height >> levels, breadth >> levels), channels=channels)


class Encoder(CodeEncoder):
    """Images [B, C, H, W] in [-1, 1] to codes [B, Z] in the prior's support."""

    def __init__(self, *, image: tuple[int, int, int], width: int, **code: Any) -> None:
        sizes = pyramid(image, width)
        layers: list[nn.Module] = []
        before = image[2]
        for channels in sizes.channels:
            layers += [
                nn.Conv2d(before, channels, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.LeakyReLU(SLOPE),
            ]
            before = channels
        super().__init__(nn.Sequential(*layers, nn.Flatten()), sizes.flat, **code)
        initialise(self)


class Generator(nn.Module):
    """Codes [B, Z] to images [B, C, H, W] in [-1, 1]."""

    def __init__(
        self,
        *,
        image: tuple[int, int, int],
        width: int,
        latent: int,
        upsampling: Upsampling = "transposed",
    ) -> None:
        super().__init__()
        sizes = pyramid(image, width)
        coarsest = sizes.channels[-1]
        layers: list[nn.Module] = [
            nn.Linear(latent, sizes.flat, bias=False),
            nn.Unflatten(1, (coarsest, *sizes.base)),
            nn.BatchNorm2d(coarsest),
            nn.ReLU(),
        ]
        before = coarsest
        finest = max(width // 2, 8)
        for channels in (*reversed(sizes.channels[:-1]), finest):
            layers += [
                nn.ConvTranspose2d(before, channels, 4, stride=2, padding=1, bias=False)
                if upsampling == "transposed"
                else Enlarging(before, channels, upsampling),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            ]
            before = channels
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, image[2], 3, padding=1), nn.Tanh())
        initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        """G(z), [B, C, H, W]."""
        images: Tensor = self.layers(z)
        return images


class Enlarging(nn.ConvTranspose2d):
    """An image made twice as large, then a 3x3 convolution: "nearest" repeats each pixel 2x2,
    "bilinear" interpolates.

    Both at once, by the transposed convolution of stride 2, 4x4 or 6x6, that they come to.  An even
    area stays even, while free weights, which sum up to something else for each of the four pixels
    that one becomes, make a checkerboard of it.
    Odena, Dumoulin and Olah 2016, doi:10.23915/distill.00003 ("resize-convolution").
    """

    kernel: Tensor  # one pixel, made twice as large, [1, 1, k, k]

    def __init__(self, before: int, channels: int, upsampling: Literal["nearest", "bilinear"]):
        super().__init__(before, channels, 3, stride=2, bias=False)
        line = torch.tensor([1.0, 1.0] if upsampling == "nearest" else [0.25, 0.75, 0.75, 0.25])
        self.register_buffer("kernel", torch.outer(line, line)[None, None], persistent=False)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """[B, in, H, W] to [B, out, 2 H, 2 W]."""
        side = self.kernel.shape[-1] + 2
        apart = conv_transpose2d(self.weight.reshape(-1, 1, 3, 3), self.kernel)
        weight = apart.reshape(self.in_channels, self.out_channels, side, side)
        return conv_transpose2d(x, weight, self.bias, stride=2, padding=side // 2 - 1)


class ImageFeatures(Features):
    """A critic's view of an image: [B, C, H, W] to [B, size], without BatchNorm."""

    def __init__(self, *, image: tuple[int, int, int], width: int) -> None:
        sizes = pyramid(image, width)
        layers: list[nn.Module] = []
        before = image[2]
        for channels in sizes.channels:
            layers += [nn.Conv2d(before, channels, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
            before = channels
        super().__init__(nn.Sequential(*layers, nn.Flatten()), sizes.flat)
        initialise(self)


class ImageDecoder(nn.Module):
    """An autoencoding critic's way back: codes [B, K] to images, without BatchNorm."""

    def __init__(self, *, image: tuple[int, int, int], width: int, code: int) -> None:
        super().__init__()
        sizes = pyramid(image, width)
        coarsest = sizes.channels[-1]
        layers: list[nn.Module] = [
            nn.Linear(code, sizes.flat),
            nn.Unflatten(1, (coarsest, *sizes.base)),
            nn.LeakyReLU(SLOPE),
        ]
        before = coarsest
        for channels in (*reversed(sizes.channels[:-1]), width):
            layers += [
                nn.ConvTranspose2d(before, channels, 4, stride=2, padding=1),
                nn.LeakyReLU(SLOPE),
            ]
            before = channels
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, image[2], 3, padding=1), nn.Tanh())

    def forward(self, code: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1]."""
        images: Tensor = self.layers(code)
        return images
