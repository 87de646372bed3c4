"""Wasserstein GAN: the critic estimates the earth mover's distance between the two sorts of pairs.

Arjovsky, Chintala and Bottou 2017, arXiv:1701.07875, algorithm 1.  Without a bound on the critic's
slope the loss has no lowest value: clip its weights, as the paper does, or penalise its slope
(`wgan-gp`).
"""

from torch import Tensor

from models.objectives.score import ScoreObjective


def critic_loss(*, real: Tensor, fake: Tensor) -> Tensor:
    """Mean score of fakes minus mean score of reals; [B] and [B'] to a scalar."""
    return fake.mean() - real.mean()


def generator_loss(*, fake: Tensor) -> Tensor:
    """Minus the mean score of fakes; [B] to a scalar."""
    return -fake.mean()


def encoder_loss(*, real: Tensor) -> Tensor:
    """The mean score of reals; [B] to a scalar."""
    return real.mean()


OBJECTIVE = ScoreObjective(
    plain=critic_loss, generator_loss=generator_loss, encoder_loss=encoder_loss
)
