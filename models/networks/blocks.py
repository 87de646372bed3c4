"""Pieces that several networks share."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2  # of LeakyReLU (Radford et al. 2016, arXiv:1511.06434)


class Support(nn.Module):
    """Bring an encoder's output to where the prior lives.

    A normal prior covers the real line, so its codes stay linear; a uniform(-1, 1) prior gets
    tanh.  An encoder that ends in tanh under a normal prior can never reach 32 % of the prior's
    mass in each dimension.

    Of a mixed prior the last `categorical` numbers are which of so many categories, as shares that
    add up to 1: a softmax (Makhzani et al. 2016, arXiv:1511.05644, section 5), where a draw of the
    prior has a single 1.
    """

    def __init__(self, prior: str, categorical: int = 0) -> None:
        super().__init__()
        self.prior = prior
        self.categorical = categorical

    def forward(self, z: Tensor) -> Tensor:
        """Codes [B, Z] inside the prior's support."""
        if self.categorical:
            free, shares = z[:, : -self.categorical], z[:, -self.categorical :]
            return torch.cat([self._bounded(free), shares.softmax(dim=1)], dim=1)
        return self._bounded(z)

    def _bounded(self, z: Tensor) -> Tensor:
        return z.tanh() if self.prior == "uniform" else z


class CodeEncoder(nn.Module):
    """What E is in every family: features of an item, then its code in the prior's support.

    Args:
        features: [B, ...] to [B, size].
    """

    def __init__(
        self, features: nn.Module, size: int, *, latent: int, prior: str, categorical: int = 0
    ) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Sequential(nn.Linear(size, latent), Support(prior, categorical))

    def forward(self, x: Tensor) -> Tensor:
        """E(x), [B, Z]."""
        codes: Tensor = self.head(self.features(x))
        return codes


class Features(nn.Module):
    """A critic's view of an item or a code: `layers`, [B, ...] to [B, size]."""

    def __init__(self, layers: nn.Module, size: int) -> None:
        super().__init__()
        self.layers = layers
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, size]."""
        features: Tensor = self.layers(x)
        return features


class Orthonormal(nn.Module):
    """A linear map without bias whose columns are orthonormal: [B, size] to [B, rank]."""

    def __init__(self, size: int, rank: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(size, rank)))

    def forward(self, points: Tensor) -> Tensor:
        """Their coordinates along the columns."""
        return points @ self.weight

    @torch.no_grad()
    def retract(self) -> None:
        """Make the columns orthonormal again, by QR, after an optimiser has moved them."""
        columns, upper = torch.linalg.qr(self.weight)
        self.weight.copy_(columns * upper.diagonal().sign())  # else QR may turn columns round


def initialise(network: nn.Module) -> None:
    """N(0, 0.02) for weights, 0 for biases, as DCGAN does (arXiv:1511.06434, section 4)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def spectrally_normalised(network: nn.Module) -> nn.Module:
    """`network` with every weight divided by its largest singular value, in place.

    Miyato et al. 2018, arXiv:1802.05957, algorithm 1: one power iteration per forward pass in
    training mode.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            spectral_norm(module)
    return network
