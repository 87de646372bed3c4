"""Relaxed Wasserstein GAN: the losses of `wgan` under a clip with two different bounds.

Guo, Hong, Lin and Yang 2017, arXiv:1705.07164.  The asymmetric clip stands for a Bregman cost in
place of the distance; that is a heuristic, there is no dual problem that it solves.  The bounds
-0.005 and 0.01 in our documents are recalled, not read.
"""

from models.objectives.score import ScoreObjective
from models.objectives.wgan import critic_loss, encoder_loss, generator_loss

OBJECTIVE = ScoreObjective(
    plain=critic_loss, generator_loss=generator_loss, encoder_loss=encoder_loss
)
