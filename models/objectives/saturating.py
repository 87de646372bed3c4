"""The minimax GAN: G and E climb the very loss that the critic descends.

Goodfellow et al. 2014, arXiv:1406.2661, equation 1; on pairs Donahue, Kraehenbuehl and Darrell
2017, arXiv:1605.09782, equation 2.  Against a certain critic its slope vanishes: `gan` is the form
to train with, this one to compare with.
"""

from torch import Tensor
from torch.nn.functional import softplus

from models.objectives.gan import critic_loss
from models.objectives.score import ScoreObjective


def generator_loss(*, fake: Tensor) -> Tensor:
    """Minus the critic's half on fakes, mean log(1 - sigmoid); [B] to a scalar, in nats."""
    return -softplus(fake).mean()


def encoder_loss(*, real: Tensor) -> Tensor:
    """Minus the critic's half on reals, mean log sigmoid; [B] to a scalar, in nats."""
    return -softplus(-real).mean()


OBJECTIVE = ScoreObjective(
    plain=critic_loss,
    smoothed=critic_loss,
    generator_loss=generator_loss,
    encoder_loss=encoder_loss,
)
