"""The gradient penalty: a critic's slope has length 1 between real and fake pairs.

Gulrajani et al. 2017, arXiv:1704.00028, equation 3; on pairs it is taken over both x and z, as in
Wasserstein-BiGAN (its code, not a paper).  Of an embedding critic it is the witness function whose
slope is held (Binkowski et al. 2018, arXiv:1801.01401, equation 4; Bellemare et al. 2017,
arXiv:1705.10743, algorithm 1).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from models.regularisers.slope import slope_at


def gradient_penalty(
    score: Callable[..., Tensor],
    *,
    real: tuple[Tensor, ...],
    fake: tuple[Tensor, ...],
    rng: torch.Generator,
) -> Tensor:
    """The mean square of (length of the slope - 1) at one place between each two pairs.

    Args:
        score: Of as many parts as there are, to numbers [B], each a function of its own row.
        real: The parts of what counts as real, each [B, ...]: x with E(x), or one of them.
        fake: Shaped as real: G(z) with z.  No gradient flows back into E or G.
        rng: Draws one mixing weight per row, the same for all parts.
    Returns:
        Scalar, not yet weighted.  The length is one L2 norm over all parts together.
    """
    mix = torch.rand(len(real[0]), generator=rng, device=real[0].device)
    places = [_between(a, b, mix) for a, b in zip(real, fake, strict=True)]
    slopes = slope_at(score, *places)
    length = torch.cat([slope.flatten(1) for slope in slopes], dim=1).norm(dim=1)
    return (length - 1).square().mean()


def _between(real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    weight = mix.reshape(-1, *[1] * (real.dim() - 1))
    return weight * real.detach() + (1 - weight) * fake.detach()
