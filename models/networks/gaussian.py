"""An encoder that gives a Gaussian per item, as ALI and VAE/GAN have it.

Kingma and Welling 2014, arXiv:1312.6114: z = mean + sigma * epsilon, so that a sample has a
gradient in both.  Called, the encoder gives the mean: what is served and scored has no noise.
"""

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from models.networks.labelled import untold

LOWEST, HIGHEST = -7.0, 2.0  # of log sigma: beyond them sigma is a point, or overflows
PARTS: Final = 2  # mean and log sigma: numbers per latent dimension


class Gaussian(NamedTuple):
    """N(mean, sigma^2) with independent dimensions, one per item."""

    mean: Tensor  # [B, Z]
    log_sigma: Tensor  # [B, Z]

    def sample(self, rng: torch.Generator) -> Tensor:
        """mean + sigma * epsilon, [B, Z]."""
        mean = self.mean
        noise = torch.randn(mean.shape, generator=rng, device=mean.device, dtype=mean.dtype)
        return mean + self.log_sigma.exp() * noise

    def divergence(self) -> Tensor:
        """KL(N(mean, sigma^2) || N(0, 1)), summed over Z, mean over the batch; in nats.

        Kingma and Welling 2014, arXiv:1312.6114, appendix B.
        """
        mean, log_sigma = self.mean.float(), self.log_sigma.float()
        terms = mean.square() + (2 * log_sigma).exp() - 1 - 2 * log_sigma
        return terms.sum(1).mean() / 2


class GaussianEncoder(nn.Module):
    """An encoder whose `body` gives mean and log sigma side by side, [B, 2 * Z]."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """The means, [B, Z]."""
        return self.gaussian(x).mean

    def gaussian(self, x: Tensor) -> Gaussian:
        """E(x) as a distribution."""
        mean, log_sigma = self.body(x).chunk(PARTS, dim=1)
        return Gaussian(mean=mean, log_sigma=log_sigma.clamp(LOWEST, HIGHEST))


def gaussian_of(encoder: Any, x: Tensor) -> Gaussian:
    """E(x) as a distribution, of an encoder that gives one."""
    if not isinstance(untold(encoder), GaussianEncoder):
        raise TypeError(f"{type(encoder).__name__} gives points, where a Gaussian is needed")
    gaussian: Gaussian = encoder.gaussian(x)
    return gaussian
