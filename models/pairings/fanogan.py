"""f-AnoGAN: a GAN first, its encoder afterwards.

Schlegl et al. 2019, "f-AnoGAN", Medical Image Analysis 54: G plays against a critic of images
until `train.polish` steps before the end; over those E learns with both frozen, as izi_f
(models.training.polish).  Until then E rests, and what a run shows of it means nothing.

Deviations: E ends as the prior asks (the paper's tanh cannot reach a third of a normal prior in
each dimension); any objective of scores takes the place of wgan-gp, which the paper plays.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.objectives.score import ScoreObjective
from models.pairings.image_game import ImageGame
from models.pairings.pairing import Pass, given
from models.pairings.terms import Term, Terms


class FAnoGAN(ImageGame):
    """G and a critic of images; E rests."""

    default_weights: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"smoothing": 0.0, "smoothing_real": 0.0}
    )
    encoder_rests: ClassVar[bool] = True

    def forward(
        self, encoder: nn.Module, generator: nn.Module, x: Tensor, z: Tensor, rng: torch.Generator
    ) -> Pass:
        """G(z)."""
        return Pass(x=x, z=z, sample=generator(z))

    def pair_side(
        self, critics: nn.ModuleDict, batch: Pass, seen: Pass, objective: ScoreObjective
    ) -> Terms:
        """G alone."""
        fooled = objective.generator_loss(fake=critics["image"](given(seen.sample)))
        return {"sample": Term(fooled)}
