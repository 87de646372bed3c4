"""Reconstruction terms, as means over every element.

Lazarou 2020, arXiv:2004.05472, writes norms; his code takes means, and the weights 10 and 5 are
for means.
"""

from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss


def image_loss(*, x: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean |x - G(E(x))| over batch, pixels and channels; images in [-1, 1], so at most 2."""
    return l1_loss(reconstruction, x)


def squared_image_loss(*, x: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean (x - G(E(x)))^2 over batch, pixels and channels; images in [-1, 1], so at most 4."""
    return mse_loss(reconstruction, x)


def latent_loss(*, z: Tensor, cycle: Tensor) -> Tensor:
    """Mean (z - E(G(z)))^2 over batch and latent dimensions."""
    return mse_loss(cycle, z)
