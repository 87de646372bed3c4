"""DRAGAN: a critic's slope has length 1 around real data.

Kodali et al. 2017, "On convergence and stability of GANs", arXiv:1705.07215, with the noise
of the authors' code: a uniform share, drawn per number, of half the spread of the batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from models.regularisers.slope import slope_at


def dragan_penalty(
    score: Callable[..., Tensor],
    x: Tensor,
    *beside: Tensor,
    rng: torch.Generator,
    noise: float = 0.5,
) -> Tensor:
    """The mean square of (length of the slope - 1) at x moved by noise.

    Args:
        score: Of x and what is beside it, to raw scores [B].
        x: Real items [B, ...]; moved by noise * std(x) * U(0, 1), the deviation over all of x.
        beside: What x is judged with, E(x) for a critic of pairs: neither moved nor differentiated.
        rng: Draws one number per number of x.
        noise: Of the deviation of x.
    Returns:
        Scalar, not yet weighted.  Norms run over all axes of x but the batch.
    """
    x = x.detach()
    drawn = torch.rand(x.shape, generator=rng, device=x.device, dtype=x.dtype)
    (slope,) = slope_at(score, x + noise * x.std() * drawn, beside=beside)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()
