"""The code cycle E(G(z)), and whom its gradient reaches.

Left to both, G can write z where no eye sees it and E read it from there; so the gradient may be
kept from either.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from models.networks.holding import held

SHARES: Final[Mapping[str, float]] = MappingProxyType(
    {
        "cycle_to_generator": 1.0,  # how much of the gradient of E(G(z)) reaches G; 0: none
        "cycle_to_encoder": 1.0,  # the same of E's own weights
    }
)


def code_cycle(encoder: nn.Module, sample: Tensor, weights: Mapping[str, float]) -> Tensor:
    """E(G(z)), [B, Z]; of its gradient only these shares reach G and E's own weights."""
    seen = _let_back(sample, weights["cycle_to_generator"])
    share = weights["cycle_to_encoder"]
    if share == 1:
        return encoder(seen)
    if share == 0:
        with held(encoder):
            return encoder(seen)  # gradients flow through E, to G alone
    own = {name: _let_back(weight, share) for name, weight in encoder.named_parameters()}
    return functional_call(encoder, own, (seen,))


def both_cycles(
    encoder: nn.Module, generator: nn.Module, z: Tensor, code: Tensor, weights: Mapping[str, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """G(z), G(E(x)) and E(G(z)).

    G sees prior draws and codes in one batch, so that its BatchNorm statistics are those of the
    mixture it serves later; apart, each half would be normalised by its own.
    """
    sample, reconstruction = generator(torch.cat([z, code])).chunk(2)
    return sample, reconstruction, code_cycle(encoder, sample, weights)


def _let_back(part: Tensor, share: float) -> Tensor:
    """`part`, of whose gradient only a share flows back."""
    return part if share == 1 else part.detach() + share * (part - part.detach())
