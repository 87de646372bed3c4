"""A logistic critic whose raw scores G and E move directly: their slope never vanishes.

The `lol1` losses in the code of Sharma and Namboodiri 2018, arXiv:1802.00771, whose text does not
mention them.  The critic's loss is that of `gan`, G's and E's are those of `wgan`.
"""

from models.objectives.gan import critic_loss
from models.objectives.score import ScoreObjective
from models.objectives.wgan import encoder_loss, generator_loss

OBJECTIVE = ScoreObjective(
    plain=critic_loss,
    smoothed=critic_loss,
    generator_loss=generator_loss,
    encoder_loss=encoder_loss,
)
