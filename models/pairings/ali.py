"""ALI: BiGAN's game with an encoder that gives a Gaussian per item.

Dumoulin et al. 2017, arXiv:1606.00704, section 2 and algorithm 1: the critic sees x with a draw
z = mu + sigma * epsilon from E(x).  Served and scored is mu.

Deviation: log sigma is kept in -7..2, so that no code becomes a point or overflows.
"""

import torch
from torch import Tensor, nn

from models.networks.gaussian import Gaussian, gaussian_of
from models.objectives.objective import Objective
from models.pairings.bigan import BiGAN
from models.pairings.pairing import Pass, given
from models.pairings.terms import Term, Terms


class ALI(BiGAN):
    """A stochastic E, G and one joint critic."""

    def code(
        self, encoder: nn.Module, x: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Gaussian | None]:
        """A draw from E(x), [B, Z], and E(x) itself."""
        gaussian = gaussian_of(encoder, x)
        return gaussian.sample(rng), gaussian

    def pair_side(
        self, critics: nn.ModuleDict, batch: Pass, seen: Pass, objective: Objective
    ) -> Terms:
        """BiGAN's, and mean log sigma to look at: where it falls to -7, E has become a point."""
        figure = given(batch.gaussian).log_sigma.mean()
        terms = super().pair_side(critics, batch, seen, objective)
        return {**terms, "log_sigma": Term(figure, None)}
