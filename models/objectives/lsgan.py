"""Least squares: the critic regresses on 1 and 0, G and E on the other's number.

Mao et al. 2017, arXiv:1611.04076, equations 2 and 9 with a = 0, b = c = 1; E's half is the mirror
image of G's.  (Not the "loss-sensitive" GAN, arXiv:1701.06264, which goes by the same letters.)
"""

from torch import Tensor

from models.objectives.score import ScoreObjective


def critic_loss(
    *, real: Tensor, fake: Tensor, smoothing: float = 0.0, smoothing_real: float = 0.0
) -> Tensor:
    """Half the mean square of reals about their target plus that of fakes about theirs.

    [B] and [B'] to a scalar.  The targets are 1 - smoothing - smoothing_real and smoothing.
    """
    target = 1 - smoothing - smoothing_real
    return ((real - target).square().mean() + (fake - smoothing).square().mean()) / 2


def generator_loss(*, fake: Tensor) -> Tensor:
    """Half the mean square of fakes about 1; [B] to a scalar."""
    return (fake - 1).square().mean() / 2


def encoder_loss(*, real: Tensor) -> Tensor:
    """Half the mean square of reals about 0; [B] to a scalar."""
    return real.square().mean() / 2


OBJECTIVE = ScoreObjective(
    plain=critic_loss,
    smoothed=critic_loss,
    generator_loss=generator_loss,
    encoder_loss=encoder_loss,
)
