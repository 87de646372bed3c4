"""R1: a critic's slope is penalised on real data, so that it comes to rest where the fakes agree.

Mescheder, Geiger and Nowozin 2018, arXiv:1801.04406, equation 9.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from models.regularisers.slope import slope_at


def r1_penalty(critic: Callable[..., Tensor], *real: Tensor) -> Tensor:
    """Half the mean squared norm of the critic's slope at real data.

    Args:
        critic: Of as many arguments as there are parts, to raw scores [B].
        real: The parts of what counts as real, each [B, ...]: x for a critic of images, x and
            E(x) for one of pairs, whose norm runs over both.  No gradient flows back into them.
    Returns:
        Scalar, not yet weighted by gamma.

    A critic with BatchNorm has no slope of its own at a sample, and is not what this is for.
    """
    squares = [slope.flatten(1).square().sum(dim=1) for slope in slope_at(critic, *real)]
    return torch.stack(squares).sum(dim=0).mean() / 2
