"""Latent MMD: codes are distributed as the prior, without a critic of codes.

Tolstikhin et al. 2018, "Wasserstein auto-encoders", arXiv:1711.01558, algorithm 2: the unbiased
squared discrepancy of the kernel C / (C + |a - b|^2), whose long reach pulls far codes back too.
C is there twice Z times the variance of a normal prior: the mean of |z - z'|^2, which here is taken
from the draws, so that it fits any prior.
"""

import torch
from torch import Tensor

from models.objectives.embedding import mean_off_diagonal, squared_distances


def latent_mmd(*, code: Tensor, z: Tensor) -> Tensor:
    """The squared discrepancy of codes from prior draws, unbiased: it may fall below 0.

    Args:
        code: E(x), [B, Z]; gradients flow back into E.
        z: Prior draws [B', Z].
    Returns:
        Scalar, not yet weighted (the paper takes 10 for digits, beside a squared pixel error).
    """
    code, z = code.float(), z.float()
    with torch.no_grad():
        scale = mean_off_diagonal(squared_distances(z, z))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return scale / (scale + squared_distances(a, b))

    return (
        mean_off_diagonal(kernel(code, code))
        + mean_off_diagonal(kernel(z, z))
        - 2 * kernel(code, z).mean()
    )
