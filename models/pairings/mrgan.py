"""MRGAN: a GAN whose G must also come near every x, by way of E.

Che et al. 2017, "Mode regularized generative adversarial networks", arXiv:1612.02136, sections 3.1
and 3.2.  D tells x from G(z) and never sees G(E(x)) as a fake.  G gains by D's praise of G(z); G
and E by nearness of G(E(x)) to x (lambda 1) and by D's praise of G(E(x)) (lambda 2): no mode is
left out.

Nothing in the paper brings E(x) to the prior; `regularisers.latent_mmd`, on by default, does.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from models.objectives.score import ScoreObjective
from models.pairings.image_game import ImageGame
from models.pairings.pairing import Pass, given
from models.pairings.scores import scores
from models.pairings.terms import Term, Terms


class MRGAN(ImageGame):
    """E, G and a critic of images."""

    default_weights: ClassVar[Mapping[str, float]] = MappingProxyType(
        {
            "image": 0.2,  # lambda 1: mean (x - G(E(x)))^2
            "critic_reconstruction": 0.4,  # lambda 2: D's praise of G(E(x))
            "smoothing": 0.0,
            "smoothing_real": 0.0,
        }
    )

    def forward(
        self, encoder: nn.Module, generator: nn.Module, x: Tensor, z: Tensor, rng: torch.Generator
    ) -> Pass:
        """E(x), G(z) and G(E(x))."""
        code = encoder(x)
        sample, reconstruction = generator(torch.cat([z, code])).chunk(2)
        return Pass(x=x, z=z, code=code, sample=sample, reconstruction=reconstruction)

    def pair_side(
        self, critics: nn.ModuleDict, batch: Pass, seen: Pass, objective: ScoreObjective
    ) -> Terms:
        """`sample` moves G alone, the regularisers both."""
        shown = given(seen.sample), given(seen.reconstruction)
        samples, reconstructions = scores(critics["image"], *shown)
        fools = objective.generator_loss
        near = mse_loss(given(batch.reconstruction), batch.x)
        return {
            "sample": Term(fools(fake=samples)),
            "image": Term(near, self.weights["image"]),
            "reconstruction": Term(
                fools(fake=reconstructions), self.weights["critic_reconstruction"]
            ),
        }
