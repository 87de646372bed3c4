"""Hinge: the critic cares for pairs inside the margin alone.

Lim and Ye 2017, arXiv:1705.02894, equation 21; with spectral norm Miyato et al. 2018,
arXiv:1802.05957, equations 16 and 17.  G's and E's losses are those of `wgan`.
"""

from torch import Tensor
from torch.nn.functional import relu

from models.objectives.score import ScoreObjective
from models.objectives.wgan import encoder_loss, generator_loss


def critic_loss(*, real: Tensor, fake: Tensor) -> Tensor:
    """Mean shortfall of reals below 1 plus mean excess of fakes above -1.

    [B] and [B'] to a scalar.
    """
    return relu(1 - real).mean() + relu(1 + fake).mean()


OBJECTIVE = ScoreObjective(
    plain=critic_loss, generator_loss=generator_loss, encoder_loss=encoder_loss
)
