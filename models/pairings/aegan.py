"""AEGAN: four networks that make a GAN and its inverse agree.

Lazarou 2020, "Autoencoding generative adversarial networks", arXiv:2004.05472.  Two critics:
D_x tells x from G(z) and from G(E(x)); D_z tells z from E(x) and from E(G(z)).  Both cycles are
reconstructed: 10 times the mean |x - G(E(x))| and 5 times the mean (z - E(G(z)))^2.  The critics'
labels are 0.95 and 0.05; G and E aim at 1.  Real and fake samples weigh the same, although there
are twice as many fakes (the author's code doubles the reals instead).

Ours, off by default: D_x may see less of G(E(x)), down to nothing, and G or E may be spared the
gradient of E(G(z)): spared, G need not write z visibly into its samples for E to read.

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
from models.pairings.contest import Contest
from models.pairings.cycles import SHARES, both_cycles
from models.pairings.image_game import image_features
from models.pairings.pairing import Critics, Pairing, Pass, Turn, given
from models.pairings.reconstruction import image_loss, latent_loss
from models.pairings.scores import against_two, scores
from models.pairings.terms import Term, Terms


class AEGAN(Pairing[ScoreObjective]):
    """E, G, a critic of images and a critic of codes."""

    default_weights: ClassVar[Mapping[str, float]] = MappingProxyType(
        {
            "image": 10.0,  # mean |x - G(E(x))|
            "latent": 5.0,  # mean (z - E(G(z)))^2
            "critic_image": 1.0,  # each adversarial term of D_x
            "critic_latent": 1.0,  # each adversarial term of D_z
            "critic_reconstruction": 1.0,  # of G(E(x)) beside G(z) in both sides' terms of D_x
            **SHARES,
            "smoothing": 0.05,  # the critics' targets are 1 - smoothing and smoothing
            "smoothing_real": 0.0,  # taken off the reals' target beside that
        }
    )
    has: ClassVar[Critics] = Critics(image=True, latent=True)

    def build_critics(self, model: ModelConfig) -> nn.ModuleDict:
        """`image`: [B, ...] to [B]; `latent`: [B, Z] to [B]."""
        return nn.ModuleDict(
            {
                "image": networks.build_image_critic(model),
                "latent": networks.build_latent_critic(model),
            }
        )

    def forward(
        self, encoder: nn.Module, generator: nn.Module, x: Tensor, z: Tensor, rng: torch.Generator
    ) -> Pass:
        """All four: E(x), G(z), G(E(x)), E(G(z))."""
        code = encoder(x)
        sample, reconstruction, cycle = both_cycles(encoder, generator, z, code, self.weights)
        return Pass(x=x, z=z, code=code, sample=sample, reconstruction=reconstruction, cycle=cycle)

    def critic_side(
        self, critics: nn.ModuleDict, seen: Pass, objective: ScoreObjective, turn: Turn
    ) -> tuple[Terms, list[Contest]]:
        """Each critic against both of its fakes; r1 and dragan are for the critic of images."""
        sample, code = given(seen.sample), given(seen.code)
        image = against_two(
            critics["image"],
            objective,
            x=seen.x,
            sample=sample,
            reconstruction=given(seen.reconstruction),
            share=self.weights["critic_reconstruction"],
            targets=self.targets,
        )
        real, *fakes = scores(critics["latent"], seen.z, code, given(seen.cycle))
        latent = objective.critic_loss(real=real, fake=torch.cat(fakes), **self.targets)
        contests = [
            Contest(critics["image"], (seen.x,), (sample,)),
            Contest(critics["latent"], (seen.z,), (code,), name="latent", on_data=False),
        ]
        return {"critic_image": Term(image), "critic_latent": Term(latent)}, contests

    def pair_side(
        self, critics: nn.ModuleDict, batch: Pass, seen: Pass, objective: ScoreObjective
    ) -> Terms:
        """Four adversarial terms and two reconstructions, all minimised by G and E together."""
        weights, fools = self.weights, objective.generator_loss
        share = weights["critic_reconstruction"]
        shown = [given(seen.sample), *([given(seen.reconstruction)] if share else [])]
        samples, *again = scores(critics["image"], *shown)
        codes, cycles = scores(critics["latent"], given(batch.code), given(batch.cycle))
        image = image_loss(x=batch.x, reconstruction=given(batch.reconstruction))
        terms = {
            "sample": Term(fools(fake=samples), weights["critic_image"]),
            "code": Term(fools(fake=codes), weights["critic_latent"]),
            "cycle": Term(fools(fake=cycles), weights["critic_latent"]),
            "image": Term(image, weights["image"]),
            "latent": Term(latent_loss(z=batch.z, cycle=given(batch.cycle)), weights["latent"]),
        }
        if again:
            loss = fools(fake=again[0])
            terms["reconstruction"] = Term(loss, weights["critic_image"] * share)
        return terms

    def features(self, critics: nn.ModuleDict, x: Tensor, z: Tensor) -> Tensor | None:
        """Of the critic of images."""
        return image_features(critics, x)
