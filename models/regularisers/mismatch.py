"""Matched against mismatched pairs: a critic that E and G help to win.

Reed et al. 2016, arXiv:1605.05396, section 4.2, show a critic mismatched pairs as further fakes.
In a game of pairs that would reward codes that tell nothing of x; so here a critic of its own tells
(x, E(x)) from (x, E(x')) and (G(z), z) from (G(z), z'), and E and G lower its loss as it does: a
bound on what a code tells of its item (Hjelm et al. 2019, arXiv:1808.06670, equation 4).
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from models.networks.joint import JointCritic


def mismatch(critic: JointCritic, *pairs: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy of telling matched from mismatched, over sorts of pairs; in nats.

    Args:
        critic: Of pairs, to raw scores, high where matched; looks at an item once for both codes.
        pairs: Items [B, ...] with their codes [B, Z]; a mismatched code is that of the next row.
    Returns:
        Scalar, not yet weighted; 2 log 2 where codes tell nothing.
    """
    losses = []
    for x, z in pairs:
        features = critic.features(x, torch.cat([z, z.roll(1, 0)]))
        matched, other = (critic.judged(half) for half in features.chunk(2))
        losses.append(softplus(-matched).mean() + softplus(other).mean())
    return torch.stack(losses).mean()
