"""Matched against mismatched pairs: a critic that E and G help to win.

Reed et al. 2016, arXiv:1605.05396, section 4.2, show a critic mismatched pairs as further fakes.
In a game of pairs that would reward codes that tell nothing of x; so here a critic of its own tells
(x, E(x)) from (x, E(x')) and (G(z), z) from (G(z), z'), and E and G lower its loss as it does: a
bound on what a code tells of its item (Hjelm et al. 2019, arXiv:1808.06670, equation 4).
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from models.objectives.objective import JointScore


def mismatch(critic: JointScore, *pairs: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy of telling matched from mismatched, over sorts of pairs; in nats.

    Args:
        critic: ([B, ...], [B, Z]) to raw scores [B], high where matched.
        pairs: Items [B, ...] with their codes [B, Z]; a mismatched code is that of the next row.
    Returns:
        Scalar, not yet weighted; 2 log 2 where codes tell nothing.
    """
    losses = []
    for x, z in pairs:
        matched, other = critic(x, z), critic(x, z.roll(1, 0))
        losses.append(softplus(-matched).mean() + softplus(other).mean())
    return torch.stack(losses).mean()
