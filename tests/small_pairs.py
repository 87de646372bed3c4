"""Small pairs of networks with every layer that export has to deal with, and odd sizes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from export.graphs import Pair


class Encoder(nn.Module):
    """Convolutions whose norms can be folded, and one norm that stands alone."""

    def __init__(self, shape: tuple[int, int, int], latent: int, last: nn.Module) -> None:
        super().__init__()
        height, width, channels = shape
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(6, 8, 3, padding=1)),
            nn.BatchNorm2d(8),
            nn.LeakyReLU(0.2),
        )
        self.alone = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * (height // 2) * (width // 2), latent)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        out: Tensor = self.last(self.head((features + self.alone(features)).flatten(1)))
        return out


def generator(shape: tuple[int, int, int], latent: int) -> nn.Module:
    """Linear to Unflatten to BatchNorm, as in dcgan; a transposed convolution; tanh."""
    height, width, channels = shape
    return nn.Sequential(
        nn.Linear(latent, 8 * (height // 2) * (width // 2), bias=False),
        nn.Unflatten(1, (8, height // 2, width // 2)),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, channels, 3, padding=1),
        nn.Tanh(),
    )


def unsettle(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give every BatchNorm statistics and weights far from those it is born with; eval mode."""
    rng = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.2, 2.0),
                (module.weight, 0.5, 2.0),
                (module.bias, -0.5, 0.5),
            ):
                if tensor is not None:
                    with torch.no_grad():
                        tensor.uniform_(low, high, generator=rng)
    return network.eval()


def image_pair(
    shape: tuple[int, int, int] = (16, 16, 1), latent: int = 5, *, seed: int = 0, **more: Any
) -> Pair:
    """An untrained pair of images [H, W, C], H and W even."""
    prior = more.pop("prior", "normal")
    last = more.pop("last", nn.Tanh() if prior == "uniform" else nn.Identity())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts: dict[str, Any] = {
            "encoder": unsettle(Encoder(shape, latent, last), seed),
            "generator": unsettle(generator(shape, latent), seed + 1),
        }
    return Pair(**(parts | more), shape=shape, latent=latent, prior=prior)


def vector_pair(size: int = 3, latent: int = 2, seed: int = 0) -> Pair:
    """An untrained pair of vectors [D]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Sequential(
            nn.Linear(size, 16), nn.BatchNorm1d(16), nn.LeakyReLU(0.2), nn.Linear(16, latent)
        )
        generator = nn.Sequential(nn.Linear(latent, 16), nn.ReLU(), nn.Linear(16, size))
        return Pair(
            encoder=unsettle(encoder), generator=unsettle(generator),
            shape=(size,), latent=latent, prior="normal",
        )  # fmt: skip
