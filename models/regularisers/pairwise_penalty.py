"""The pair-wise gradient penalty: a joint critic's slope points from each reconstruction to x.

Sharma and Namboodiri 2018, arXiv:1802.00771.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.errors import ShapeError
from models.regularisers import Form
from models.regularisers.slope import slope_at

JointScore = Callable[[Tensor, Tensor], Tensor]  # ([B, ...], [B, Z]) to raw scores [B]


def pairwise_penalty(
    critic: JointScore,
    *,
    x: Tensor,
    z: Tensor,
    reconstruction: Tensor,
    rng: torch.Generator,
    form: Form = "norm",
) -> Tensor:
    """The mean distance of the critic's slope from the unit vector that points to the image.

    Args:
        critic: ([B, ...], [B, Z]) to raw scores [B]; real pairs (x, E(x)) score high.
        x: Real images [B, ...].
        z: Their codes E(x), [B, Z]; no gradient flows back into E.
        reconstruction: G(E(x)), shaped as x; no gradient flows back into G.
        rng: Draws one mixing weight per image.
        form: "norm" is the mean L2 norm of (slope - direction), as the authors' code has it;
            "squared" the mean of its square.
    Returns:
        Scalar, not yet weighted.  Norms run over all axes but the batch.
    Raises:
        ShapeError: if x and reconstruction differ in shape.

    The widely copied form that normalises over the last axis alone makes the target sqrt(H*W)
    times too long for images; a mean over pixels instead of a norm makes it H*W*C times weaker.
    """
    if x.shape != reconstruction.shape:
        raise ShapeError(f"images {tuple(x.shape)}, reconstructions {tuple(reconstruction.shape)}")
    x, reconstruction = x.detach(), reconstruction.detach()
    mix = torch.rand(len(x), *[1] * (x.dim() - 1), generator=rng, device=x.device)
    (slope,) = slope_at(critic, mix * x + (1 - mix) * reconstruction, beside=(z,))
    direction = normalize((x - reconstruction).flatten(1), dim=1, eps=1e-8)
    distance = (slope.flatten(1) - direction).norm(dim=1)
    return (distance if form == "norm" else distance.square()).mean()
