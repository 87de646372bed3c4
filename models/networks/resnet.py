"""The residual family: blocks with a way around them, for images of 32 to 256 pixels a side.

Miyato et al. 2018, "Spectral normalization for GANs", arXiv:1802.05957, appendix B.4, after He et
al. 2016, arXiv:1603.05027: norm and ReLU before each convolution, halving by mean pooling, doubling
by repeated pixels; no norm layer in critics, which are for `model.critic_norm = "spectral"`.
Weights begin as Glorot's, by sqrt(2) larger within a block than around it.

Deviations: a critic keeps the place of what it sees instead of summing it up over the image, so
that its features tell a reconstruction from its original; sizes are those of `dcgan.pyramid`.
"""

import math
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from models.networks.blocks import CodeEncoder, Features
from models.networks.dcgan import Pyramid, pyramid

SMALLEST = 32  # pixels a side
GAIN = math.sqrt(2)


def _convolution(before: int, after: int, size: int = 3, *, gain: float = GAIN) -> nn.Conv2d:
    layer = nn.Conv2d(before, after, size, padding=size // 2)
    nn.init.xavier_uniform_(layer.weight, gain)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # there is one
    return layer


def _norm(channels: int, *, normalised: bool) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels)] if normalised else []


class Down(nn.Module):
    """A block that halves both sides: [B, before, H, W] to [B, after, H / 2, W / 2]."""

    def __init__(self, before: int, after: int, *, normalised: bool, first: bool = False) -> None:
        super().__init__()
        # what comes first sees pixels, of which ReLU would throw the dark half away
        head = [] if first else [*_norm(before, normalised=normalised), nn.ReLU()]
        self.inner = nn.Sequential(
            *head,
            _convolution(before, after),
            *_norm(after, normalised=normalised),
            nn.ReLU(),
            _convolution(after, after),
        )
        self.around = _convolution(before, after, 1, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways, pooled."""
        return avg_pool2d(self.inner(x) + self.around(x), 2)


class Up(nn.Module):
    """A block that doubles both sides: [B, before, H, W] to [B, after, 2 H, 2 W]."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU())
        self.inner = nn.Sequential(
            _convolution(before, after),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            _convolution(after, after),
        )
        self.around = _convolution(before, after, 1, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        # a 1x1 convolution gives the same before as after the doubling, at a quarter of the cost
        return self.inner(_doubled(self.head(x))) + _doubled(self.around(x))


def _doubled(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2.0, mode="nearest")


def _sizes(image: tuple[int, int, int], width: int) -> Pyramid:
    return pyramid(image, width, network="resnet", smallest=SMALLEST)


def _downwards(sizes: Pyramid, *, normalised: bool) -> nn.Sequential:
    before = (sizes.image[2], *sizes.channels)
    blocks = [
        Down(before[i], after, normalised=normalised, first=i == 0)
        for i, after in enumerate(sizes.channels)
    ]
    last = [*_norm(sizes.channels[-1], normalised=normalised), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*blocks, *last)


class Encoder(CodeEncoder):
    """Images [B, C, H, W] in [-1, 1] to codes [B, Z] in the prior's support."""

    def __init__(self, *, image: tuple[int, int, int], width: int, **code: Any) -> None:
        sizes = _sizes(image, width)
        super().__init__(_downwards(sizes, normalised=True), sizes.flat, **code)


class Generator(nn.Module):
    """Codes [B, Z] to images [B, C, H, W] in [-1, 1]."""

    def __init__(self, *, image: tuple[int, int, int], width: int, latent: int) -> None:
        super().__init__()
        sizes = _sizes(image, width)
        coarsest, finest = sizes.channels[-1], sizes.channels[0]
        upwards = (coarsest, *reversed(sizes.channels))
        self.layers = nn.Sequential(
            nn.Linear(latent, sizes.flat),
            nn.Unflatten(1, (coarsest, *sizes.base)),
            *(Up(upwards[i], upwards[i + 1]) for i in range(len(sizes.channels))),
            nn.BatchNorm2d(finest),
            nn.ReLU(),
            _convolution(finest, image[2], gain=1.0),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """G(z), [B, C, H, W]."""
        images: Tensor = self.layers(z)
        return images


class ImageFeatures(Features):
    """A critic's view of an image: [B, C, H, W] to [B, size], without BatchNorm."""

    def __init__(self, *, image: tuple[int, int, int], width: int) -> None:
        sizes = _sizes(image, width)
        super().__init__(_downwards(sizes, normalised=False), sizes.flat)
