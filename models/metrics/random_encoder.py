"""The baseline that tells learning from architecture: the same encoder with random weights.

A strided network keeps much of the pixels' neighbourhoods without any training, so a 1-NN
accuracy on E(x) says something only beside that of a random E.
"""

import copy
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.datasets.pixels import to_float
from models.training.averaging import estimate_batchnorm

Images = npt.NDArray[np.uint8]

ROWS = 256  # images per forward pass


def with_fresh_statistics(encoder: nn.Module, images: Images) -> nn.Module:
    """A copy of `encoder` in eval mode whose BatchNorm statistics are those of `images`.

    Fresh statistics (mean 0, variance 1) would be no fair baseline: untrained layers shrink their
    input at every step.
    """
    encoder = copy.deepcopy(encoder)
    nothing = torch.empty(0)  # no draws, and no generator to see them
    estimate_batchnorm(encoder, nn.Identity(), ((x, nothing, None) for x in _batches(images)))
    return encoder


@torch.no_grad()
def features(encoder: nn.Module, images: Images) -> npt.NDArray[np.float32]:
    """E(x), [N, Z], of images uint8 [N, H, W, C]."""
    return torch.cat([encoder(x) for x in _batches(images)]).numpy()


@torch.no_grad()
def hidden_features(encoder: nn.Module, images: Images) -> npt.NDArray[np.float32]:
    """What the last linear layer of E sees, [N, D], of images uint8 [N, H, W, C].

    Raises ValueError if E has no linear layer.
    """
    linear = [module for module in encoder.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError("E has no linear layer to look in front of")
    seen: list[Tensor] = []
    hook = linear[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        for x in _batches(images):
            encoder(x)
    finally:
        hook.remove()
    return torch.cat(seen).flatten(1).numpy()


def _batches(images: Images) -> Iterator[Tensor]:
    for start in range(0, len(images), ROWS):
        yield to_float(torch.from_numpy(images[start : start + ROWS]))
