"""BiGAN: one critic of pairs tells (x, E(x)) from (G(z), z).

Donahue, Kraehenbuehl and Darrell 2017, arXiv:1605.09782, equation 2; Dumoulin et al. 2017 (ALI),
arXiv:1606.00704, is the same game.  Both halves are played: G wants its pairs taken for real, E
wants its own taken for fake.  Where the critic is fooled everywhere, E inverts G.

Ours: optional reconstruction terms (weights 0 by default), and the pair-wise penalty or R1.
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
from models.regularisers.pairwise_penalty import pairwise_penalty
from models.regularisers.r1_penalty import r1_penalty


class BiGAN(Pairing):
    """E, G and one joint critic."""

    default_weights: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"image": 0.0, "latent": 0.0, "smoothing": 0.0}
    )
    has_joint_critic: ClassVar[bool] = True

    def build_critics(self, model: ModelConfig) -> nn.ModuleDict:
        """`joint`: ([B, ...], [B, Z]) to [B]."""
        return nn.ModuleDict({"joint": networks.build_joint_critic(model)})

    def forward(self, encoder: nn.Module, generator: nn.Module, x: Tensor, z: Tensor) -> Pass:
        """E(x) and G(z); G(E(x)) and E(G(z)) only where a weight or a penalty asks for them."""
        code, sample = encoder(x), generator(z)
        reconstruction = cycle = None
        if self.weights["image"]:
            reconstruction = generator(code)
        elif self.regularisers.pairwise:
            with torch.no_grad():  # the penalty trains the critic alone
                reconstruction = generator(code)
        if self.weights["latent"]:
            cycle = encoder(sample)
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
        """The objective's critic loss, plus the pair-wise penalty or R1 on the pairs (x, E(x))."""
        critic = critics["joint"]
        losses = {
            "joint": objective.critic_loss(
                real=critic(batch.x, batch.code),
                fake=critic(batch.sample, batch.z),
                smoothing=self.weights["smoothing"],
            )
        }
        total = losses["joint"]
        penalty = self.regularisers.pairwise
        if penalty and batch.reconstruction is not None:
            losses["pairwise"] = pairwise_penalty(
                critic,
                x=batch.x,
                z=batch.code,
                reconstruction=batch.reconstruction,
                rng=rng,
                form=penalty.form,
            )
            total = total + penalty.weight * losses["pairwise"]
        r1 = self.regularisers.r1
        if r1 and (factor := r1.factor(update)):
            losses["r1"] = r1_penalty(critic, batch.x, batch.code)
            total = total + factor * losses["r1"]
        return {**losses, "total": total}

    def pair_loss(self, critics: nn.ModuleDict, batch: Pass, objective: ScoreObjective) -> Losses:
        """Both halves of the game: `generator` moves G alone and `encoder` E alone."""
        critic = critics["joint"]
        losses = {
            "generator": objective.generator_loss(fake=critic(batch.sample, batch.z)),
            "encoder": objective.encoder_loss(real=critic(batch.x, batch.code)),
        }
        total = losses["generator"] + losses["encoder"]
        if self.weights["image"] and batch.reconstruction is not None:
            losses["image"] = image_loss(x=batch.x, reconstruction=batch.reconstruction)
            total = total + self.weights["image"] * losses["image"]
        if self.weights["latent"] and batch.cycle is not None:
            losses["latent"] = latent_loss(z=batch.z, cycle=batch.cycle)
            total = total + self.weights["latent"] * losses["latent"]
        return {**losses, "total": total}
