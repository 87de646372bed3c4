"""AEGAN: four networks that make a GAN and its inverse agree.

Lazarou 2020, "Autoencoding generative adversarial networks", arXiv:2004.05472.  Two critics:
D_x tells x from G(z) and from G(E(x)); D_z tells z from E(x) and from E(G(z)).  Both cycles are
reconstructed: 10 times the mean |x - G(E(x))| and 5 times the mean (z - E(G(z)))^2.  The critics'
labels are 0.95 and 0.05; G and E aim at 1.  Real and fake samples weigh the same, although there
are twice as many fakes (the author's code doubles the reals instead).

Ours, off by default: D_x may see less of G(E(x)), down to nothing, and G may be spared the
gradient of E(G(z)), so that E learns to read samples and G need not write z visibly into them.

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
from models.regularisers.r1_penalty import r1_penalty


class AEGAN(Pairing[ScoreObjective]):
    """E, G, a critic of images and a critic of codes."""

    default_weights: ClassVar[Mapping[str, float]] = MappingProxyType(
        {
            "image": 10.0,  # mean |x - G(E(x))|
            "latent": 5.0,  # mean (z - E(G(z)))^2
            "critic_image": 1.0,  # each adversarial term of D_x
            "critic_latent": 1.0,  # each adversarial term of D_z
            "critic_reconstruction": 1.0,  # of G(E(x)) beside G(z) in both sides' terms of D_x
            "cycle_to_generator": 1.0,  # how much of the gradient of E(G(z)) reaches G; 0: none
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
        cycle = encoder(_let_back(sample, self.weights["cycle_to_generator"]))
        return Pass(x=x, z=z, code=code, sample=sample, reconstruction=reconstruction, cycle=cycle)

    def critic_loss(
        self,
        critics: nn.ModuleDict,
        batch: Pass,
        objective: ScoreObjective,
        rng: torch.Generator,
        *,
        update: int = 0,
    ) -> Losses:
        """Each critic against both of its fakes; R1 is for the critic of images."""
        reconstruction, cycle = _both(batch)
        smoothing, share = self.weights["smoothing"], self.weights["critic_reconstruction"]
        shown = [batch.x, batch.sample, *([reconstruction] if share else [])]
        real, sample, *again = critics["image"](torch.cat(shown)).chunk(len(shown))
        image = objective.critic_loss(real=real, fake=sample, smoothing=smoothing)
        if again:
            other = objective.critic_loss(real=real, fake=again[0], smoothing=smoothing)
            image = (image + share * other) / (1 + share)
        real, *fakes = critics["latent"](torch.cat([batch.z, batch.code, cycle])).chunk(3)
        latent = objective.critic_loss(real=real, fake=torch.cat(fakes), smoothing=smoothing)
        losses = {"critic_image": image, "critic_latent": latent}
        total = image + latent
        r1 = self.regularisers.r1
        if r1 and (factor := r1.factor(update)):
            losses["r1"] = r1_penalty(critics["image"], batch.x)
            total = total + factor * losses["r1"]
        return {**losses, "total": total}

    def pair_loss(self, critics: nn.ModuleDict, batch: Pass, objective: ScoreObjective) -> Losses:
        """Four adversarial terms and two reconstructions, all minimised by G and E together."""
        reconstruction, cycle = _both(batch)
        weights = self.weights
        share = weights["critic_reconstruction"]
        shown = [batch.sample, *([reconstruction] if share else [])]
        samples, *again = critics["image"](torch.cat(shown)).chunk(len(shown))
        codes, cycles = critics["latent"](torch.cat([batch.code, cycle])).chunk(2)
        fools = objective.generator_loss
        losses = {
            "sample": fools(fake=samples),
            "code": fools(fake=codes),
            "cycle": fools(fake=cycles),
            "image": image_loss(x=batch.x, reconstruction=reconstruction),
            "latent": latent_loss(z=batch.z, cycle=cycle),
        }
        adversarial = losses["sample"]
        if again:
            losses["reconstruction"] = fools(fake=again[0])
            adversarial = adversarial + share * losses["reconstruction"]
        total = (
            weights["critic_image"] * adversarial
            + weights["critic_latent"] * (losses["code"] + losses["cycle"])
            + weights["image"] * losses["image"]
            + weights["latent"] * losses["latent"]
        )
        return {**losses, "total": total}


def _let_back(part: Tensor, share: float) -> Tensor:
    """`part`, of whose gradient only a share flows back."""
    return part if share == 1 else share * part + (1 - share) * part.detach()


def _both(batch: Pass) -> tuple[Tensor, Tensor]:
    if batch.reconstruction is None or batch.cycle is None:
        raise ValueError("AEGAN's losses need G(E(x)) and E(G(z))")
    return batch.reconstruction, batch.cycle
