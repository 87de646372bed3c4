"""AEGAN: four networks that make a GAN and its inverse agree.

Lazarou 2020, "Autoencoding generative adversarial networks", arXiv:2004.05472.  Two critics:
D_x tells x from G(z) and from G(E(x)); D_z tells z from E(x) and from E(G(z)).  Both cycles are
reconstructed: 10 times the mean |x - G(E(x))| and 5 times the mean (z - E(G(z)))^2.  The critics'
labels are 0.95 and 0.05; G and E aim at 1.  Real and fake samples weigh the same, although there
are twice as many fakes (the author's code doubles the reals instead).

Deviation: one update of the critics and one of G and E on the same batch, where the author
alternates four of each on fresh data.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from models import networks
from models.config import ModelConfig
from models.objectives.score import ScoreObjective
from models.pairings.pairing import Losses, Pairing, Pass
from models.pairings.reconstruction import image_loss, latent_loss


class AEGAN(Pairing[ScoreObjective]):
    """E, G, a critic of images and a critic of codes."""

    default_weights: ClassVar[Mapping[str, float]] = MappingProxyType(
        {
            "image": 10.0,  # mean |x - G(E(x))|
            "latent": 5.0,  # mean (z - E(G(z)))^2
            "critic_image": 1.0,  # each adversarial term of D_x
            "critic_latent": 1.0,  # each adversarial term of D_z
            "smoothing": 0.05,  # the critics' targets are 1 - smoothing and smoothing
        }
    )
    has_joint_critic: ClassVar[bool] = False

    def build_critics(self, model: ModelConfig) -> nn.ModuleDict:
        """`image`: [B, ...] to [B]; `latent`: [B, Z] to [B]."""
        return nn.ModuleDict(
            {
                "image": networks.build_image_critic(model),
                "latent": networks.build_latent_critic(model),
            }
        )

    def forward(self, encoder: nn.Module, generator: nn.Module, x: Tensor, z: Tensor) -> Pass:
        """All four: E(x), G(z), G(E(x)), E(G(z)).

        G sees prior draws and codes in one batch, so that its BatchNorm statistics are those of
        the mixture it serves later; apart, each half would be normalised by its own.
        """
        code = encoder(x)
        sample, reconstruction = generator(torch.cat([z, code])).chunk(2)
        cycle = encoder(sample)
        return Pass(x=x, z=z, code=code, sample=sample, reconstruction=reconstruction, cycle=cycle)

    def critic_loss(
        self, critics: nn.ModuleDict, batch: Pass, objective: ScoreObjective, rng: torch.Generator
    ) -> Losses:
        """Each critic against both of its fakes."""
        reconstruction, cycle = _both(batch)
        real, *fakes = critics["image"](torch.cat([batch.x, batch.sample, reconstruction])).chunk(3)
        image = objective.critic_loss(
            real=real, fake=torch.cat(fakes), smoothing=self.weights["smoothing"]
        )
        real, *fakes = critics["latent"](torch.cat([batch.z, batch.code, cycle])).chunk(3)
        latent = objective.critic_loss(
            real=real, fake=torch.cat(fakes), smoothing=self.weights["smoothing"]
        )
        return {"critic_image": image, "critic_latent": latent, "total": image + latent}

    def pair_loss(self, critics: nn.ModuleDict, batch: Pass, objective: ScoreObjective) -> Losses:
        """Four adversarial terms and two reconstructions, all minimised by G and E together."""
        reconstruction, cycle = _both(batch)
        samples, reconstructions = critics["image"](
            torch.cat([batch.sample, reconstruction])
        ).chunk(2)
        codes, cycles = critics["latent"](torch.cat([batch.code, cycle])).chunk(2)
        fools = objective.generator_loss
        losses = {
            "sample": fools(fake=samples),
            "reconstruction": fools(fake=reconstructions),
            "code": fools(fake=codes),
            "cycle": fools(fake=cycles),
            "image": image_loss(x=batch.x, reconstruction=reconstruction),
            "latent": latent_loss(z=batch.z, cycle=cycle),
        }
        weights = self.weights
        total = (
            weights["critic_image"] * (losses["sample"] + losses["reconstruction"])
            + weights["critic_latent"] * (losses["code"] + losses["cycle"])
            + weights["image"] * losses["image"]
            + weights["latent"] * losses["latent"]
        )
        return {**losses, "total": total}


def _both(batch: Pass) -> tuple[Tensor, Tensor]:
    if batch.reconstruction is None or batch.cycle is None:
        raise ValueError("AEGAN's losses need G(E(x)) and E(G(z))")
    return batch.reconstruction, batch.cycle
