"""Fully connected networks for vectors: the toy densities and tables.

Three hidden layers as in the toy script of the pair-wise penalty (Sharma and Namboodiri 2018,
arXiv:1802.00771).  No BatchNorm anywhere: on eight narrow modes a batch's mean says which modes
it holds.  G's output is linear, since vectors are not bounded.
"""

from typing import Any

from torch import Tensor, nn

from models.networks.blocks import SLOPE, CodeEncoder, Features

HIDDEN_LAYERS = 3


def _hidden(before: int, width: int, activation: nn.Module) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(HIDDEN_LAYERS):
        layers += [nn.Linear(before, width), activation]
        before = width
    return layers


class Encoder(CodeEncoder):
    """Vectors [B, D] to codes [B, Z] in the prior's support."""

    def __init__(self, *, vector: int, width: int, **code: Any) -> None:
        hidden = _hidden(vector, width, nn.LeakyReLU(SLOPE))
        super().__init__(nn.Sequential(*hidden), width, **code)


class Generator(nn.Module):
    """Codes [B, Z] to vectors [B, D]."""

    def __init__(self, *, vector: int, width: int, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_hidden(latent, width, nn.LeakyReLU(SLOPE)), nn.Linear(width, vector)
        )

    def forward(self, z: Tensor) -> Tensor:
        """G(z), [B, D]."""
        vectors: Tensor = self.layers(z)
        return vectors


class VectorFeatures(Features):
    """A critic's view of a vector or a code: [B, D] to [B, size]."""

    def __init__(self, *, vector: int, width: int) -> None:
        super().__init__(nn.Sequential(*_hidden(vector, width, nn.LeakyReLU(SLOPE))), width)
