"""The baseline that tells learning from architecture: the same encoder with random weights.

A strided network keeps much of the pixels' neighbourhoods without any training, so a 1-NN
accuracy on E(x) says something only beside that of a random E.
"""

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.datasets.pixels import to_float

Images = npt.NDArray[np.uint8]

ROWS = 256  # images per forward pass


def with_fresh_statistics(encoder: nn.Module, images: Images) -> nn.Module:
    """A copy of `encoder` in eval mode whose BatchNorm statistics are those of `images`.

    Fresh statistics (mean 0, variance 1) would be no fair baseline: untrained layers shrink their
    input at every step.
    """
    encoder = copy.deepcopy(encoder).train()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain average over the batches
    features(encoder, images)
    return encoder.eval()


@torch.no_grad()
def features(encoder: nn.Module, images: Images) -> npt.NDArray[np.float32]:
    """E(x), [N, Z], of images uint8 [N, H, W, C]."""
    parts = [encoder(_inside(images[i : i + ROWS])) for i in range(0, len(images), ROWS)]
    return torch.cat(parts).numpy()


def _inside(images: Images) -> Tensor:
    return to_float(torch.from_numpy(images))
