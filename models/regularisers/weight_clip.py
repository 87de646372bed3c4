"""Weight clipping: after each of its steps a critic's weights are cut to an interval.

Arjovsky, Chintala and Bottou 2017, arXiv:1701.07875, algorithm 1; with two different bounds Guo et
al. 2017, arXiv:1705.07164.
"""

import torch
from torch import nn

from models.networks.blocks import Orthonormal


@torch.no_grad()
def clip(critic: nn.Module, *, low: float, high: float) -> None:
    """Cut every weight and bias of `critic` to [low, high], in place.

    Orthonormal maps are left alone: they are bounded already, and would be orthonormal no more.
    """
    for module in critic.modules():
        if not isinstance(module, Orthonormal):
            for weight in module.parameters(recurse=False):
                weight.clamp_(low, high)
