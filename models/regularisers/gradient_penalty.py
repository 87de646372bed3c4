"""The gradient penalty: a critic's slope has length 1 between real and fake pairs.

Gulrajani et al. 2017, arXiv:1704.00028, equation 3; on pairs it is taken over both x and z, as in
Wasserstein-BiGAN (its code, not a paper).  Of an embedding critic it is the witness function whose
slope is held (Binkowski et al. 2018, arXiv:1801.01401, equation 4; Bellemare et al. 2017,
arXiv:1705.10743, algorithm 1).
"""

import torch
from torch import Tensor

from models.objectives.objective import JointScore, Pair


def gradient_penalty(score: JointScore, *, real: Pair, fake: Pair, rng: torch.Generator) -> Tensor:
    """The mean square of (length of the slope - 1) at one place between each two pairs.

    Args:
        score: ([B, ...], [B, Z]) to numbers [B], each a function of its own pair.
        real: x [B, ...] with E(x) [B, Z].
        fake: G(z), shaped as x, with z.  No gradient flows back into E or G.
        rng: Draws one mixing weight per pair, the same for x and z.
    Returns:
        Scalar, not yet weighted.  The length is one L2 norm over x and z together.
    """
    mix = torch.rand(len(real.x), generator=rng, device=real.x.device)
    places = [_between(a, b, mix) for a, b in zip(real, fake, strict=True)]
    slopes = torch.autograd.grad(score(*places).sum(), places, create_graph=True)
    length = torch.cat([slope.float().flatten(1) for slope in slopes], dim=1).norm(dim=1)
    return (length - 1).square().mean()


def _between(real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    weight = mix.reshape(-1, *[1] * (real.dim() - 1))
    return (weight * real.detach() + (1 - weight) * fake.detach()).requires_grad_()
