"""The networks of the AEGAN article: z joins in at every scale, layer norm, dense critic of codes.

Lazarou 2020, arXiv:2004.05472, and its code (`generative_model.py`): E halves by 4x4 convolutions
and ends in two that do not; G goes the other way, a second view of z beside its trunk before every
convolution; D_x is E with 3x3 ones; D_z is sixteen layers of sixteen units, each of which sees all
before it.  Norms run over the channels of one pixel, so that no item sees its batch mates and a
penalty may hold the critics' slopes.

Deviations: no Gaussian noise or dropout within the networks (0.01 and 0.005 there), which a
resumed run could not draw again (`regularisers.instance_noise` is for critics); any size that
`dcgan.pyramid` has.  At 64x64 and a width of 64 the layers are the article's.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, layer_norm

from models.networks.blocks import CodeEncoder, Features, initialise
from models.networks.dcgan import Pyramid, pyramid

SLOPE = 0.02  # of the critics' LeakyReLU
EPSILON = 1e-3  # in layer norm
DENSE_LAYERS, DENSE_UNITS, DENSE_TOP = 16, 16, 128  # of the critic of codes


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel: [B, C, ...] to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Mean 0 and variance 1 over axis 1, then a scale and a shift per channel."""
        last = x.movedim(1, -1)
        normed = layer_norm(last, (x.shape[1],), self.weight, self.bias, EPSILON)
        return normed.movedim(-1, 1)


def _convolution(before: int, after: int, size: int, *, stride: int = 1) -> list[nn.Module]:
    """One that keeps both sides, or halves them."""
    if stride == 2:
        return [nn.Conv2d(before, after, size, stride=2, padding=1)]
    low, high = (size - 1) // 2, size // 2  # an even kernel has one pixel more on one side
    return [nn.ZeroPad2d((low, high, low, high)), nn.Conv2d(before, after, size)]


def _sizes(image: tuple[int, int, int], width: int) -> Pyramid:
    return pyramid(image, width, network="aegan")


def _channels_down(sizes: Pyramid, width: int) -> list[int]:
    """After each halving, and after the two convolutions at the end."""
    halvings = [width if i < 2 else 2 * width for i in range(len(sizes.channels))]
    return [*halvings, 2 * width, 4 * width]


def _channels_up(sizes: Pyramid, width: int) -> list[int]:
    """After each doubling, and after the one before last, which keeps the size."""
    return [4 * width, 2 * width, 2 * width, *[width] * (len(sizes.channels) - 2)]


def _downwards(
    sizes: Pyramid, width: int, *, kernel: int, activation: nn.Module
) -> tuple[nn.Sequential, int]:
    """Convolutions from an image to features [B, size], and that size."""
    layers: list[nn.Module] = []
    before, halvings = sizes.image[2], len(sizes.channels)
    for i, after in enumerate(_channels_down(sizes, width)):
        layers += _convolution(before, after, kernel, stride=2 if i < halvings else 1)
        layers += [ChannelNorm(after), activation]
        before = after
    return nn.Sequential(*layers, nn.Flatten()), sizes.base[0] * sizes.base[1] * before


class Encoder(CodeEncoder):
    """Images [B, C, H, W] in [-1, 1] to codes [B, Z] in the prior's support."""

    def __init__(self, *, image: tuple[int, int, int], width: int, **code: Any) -> None:
        sizes = _sizes(image, width)
        super().__init__(*_downwards(sizes, width, kernel=4, activation=nn.ReLU()), **code)
        initialise(self)


class Generator(nn.Module):
    """Codes [B, Z] to images [B, C, H, W] in [-1, 1]."""

    def __init__(self, *, image: tuple[int, int, int], width: int, latent: int) -> None:
        super().__init__()
        sizes = _sizes(image, width)
        self.halvings = len(sizes.channels)
        rows, columns = sizes.base
        self.trunk = nn.Sequential(
            nn.Linear(latent, width * rows * columns),
            nn.LayerNorm(width * rows * columns, eps=EPSILON),
            nn.ReLU(),
            nn.Unflatten(1, (width, rows, columns)),
        )
        self.beside = nn.Sequential(
            nn.Linear(latent, width),
            nn.LayerNorm(width, eps=EPSILON),
            nn.ReLU(),
            nn.Unflatten(1, (width, 1, 1)),
        )
        steps, before = [], width
        for after in _channels_up(sizes, width):
            steps.append(
                nn.Sequential(
                    *_convolution(before + width, after, 4), ChannelNorm(after), nn.ReLU()
                )
            )
            before = after
        self.steps = nn.ModuleList(steps)
        self.last = nn.Sequential(*_convolution(before + width, image[2], 4), nn.Tanh())
        initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        """G(z), [B, C, H, W]."""
        x, beside = self.trunk(z), self.beside(z)
        for number, step in enumerate(self.steps):
            if number < self.halvings:
                x = interpolate(x, scale_factor=2.0, mode="nearest")
            x = step(_with(x, beside))
        images: Tensor = self.last(_with(x, beside))
        return images


def _with(x: Tensor, beside: Tensor) -> Tensor:
    return torch.cat([x, beside.expand(-1, -1, *x.shape[2:])], dim=1)


class ImageFeatures(Features):
    """A critic's view of an image: [B, C, H, W] to [B, size]."""

    def __init__(self, *, image: tuple[int, int, int], width: int) -> None:
        sizes = _sizes(image, width)
        super().__init__(*_downwards(sizes, width, kernel=3, activation=nn.LeakyReLU(SLOPE)))
        initialise(self)


class CodeFeatures(nn.Module):
    """A critic's view of a code: [B, Z] to [B, size], each layer seeing all before it."""

    def __init__(self, *, latent: int) -> None:
        super().__init__()
        self.size = DENSE_TOP
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(latent + i * DENSE_UNITS, DENSE_UNITS),
                nn.LayerNorm(DENSE_UNITS, eps=EPSILON),
                nn.LeakyReLU(SLOPE),
            )
            for i in range(DENSE_LAYERS)
        )
        self.top = nn.Sequential(
            nn.Linear(latent + DENSE_LAYERS * DENSE_UNITS, DENSE_TOP), nn.LeakyReLU(SLOPE)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Features [B, size]."""
        for layer in self.layers:
            z = torch.cat([z, layer(z)], dim=1)
        features: Tensor = self.top(z)
        return features
