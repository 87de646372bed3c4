"""BiGAN: one critic of pairs tells (x, E(x)) from (G(z), z).

Donahue, Kraehenbuehl and Darrell 2017, arXiv:1605.09782, equation 2; Dumoulin et al. 2017 (ALI),
arXiv:1606.00704, is the same game.  Both halves are played: G wants its pairs taken for real, E
wants its own taken for fake.  Where the critic is fooled everywhere, E inverts G.

Ours: optional reconstruction terms (weights 0 by default), the penalties on the critic's slope, and
any objective in place of the paper's.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from models import networks
from models.config import ModelConfig
from models.objectives.objective import Objective, Pair
from models.pairings.pairing import Losses, Pairing, Pass
from models.pairings.reconstruction import image_loss, latent_loss
from models.regularisers.gradient_penalty import gradient_penalty
from models.regularisers.pairwise_penalty import pairwise_penalty
from models.regularisers.r1_penalty import r1_penalty


class BiGAN(Pairing[Objective]):
    """E, G and one joint critic."""

    default_weights: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"image": 0.0, "latent": 0.0, "smoothing": 0.0}
    )
    has_joint_critic: ClassVar[bool] = True

    def build_critics(self, model: ModelConfig) -> nn.ModuleDict:
        """`joint`: ([B, ...], [B, Z]) to what the objective reads."""
        return nn.ModuleDict({"joint": networks.build_joint_critic(model, self.head)})

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
        objective: Objective,
        rng: torch.Generator,
        *,
        update: int = 0,
    ) -> Losses:
        """The objective's critic loss, plus the penalties on the critic's slope."""
        critic, real, fake = critics["joint"], *_pairs(batch)
        terms = objective.critic_terms(critic, real=real, fake=fake)
        losses = {"joint": terms.loss, **terms.figures}
        total = terms.loss
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
        slope = self.regularisers.gradient
        if slope and terms.witness:
            losses["gradient"] = gradient_penalty(terms.witness, real=real, fake=fake, rng=rng)
            total = total + slope.weight * losses["gradient"]
        r1 = self.regularisers.r1
        if r1 and (factor := r1.factor(update)):
            losses["r1"] = r1_penalty(critic, batch.x, batch.code)
            total = total + factor * losses["r1"]
        return {**losses, "total": total}

    def pair_loss(self, critics: nn.ModuleDict, batch: Pass, objective: Objective) -> Losses:
        """The game: `generator` moves G alone, `encoder` E alone, `match` both."""
        real, fake = _pairs(batch)
        losses = objective.pair_terms(critics["joint"], real=real, fake=fake)
        total = torch.stack(list(losses.values())).sum()
        if self.weights["image"] and batch.reconstruction is not None:
            losses["image"] = image_loss(x=batch.x, reconstruction=batch.reconstruction)
            total = total + self.weights["image"] * losses["image"]
        if self.weights["latent"] and batch.cycle is not None:
            losses["latent"] = latent_loss(z=batch.z, cycle=batch.cycle)
            total = total + self.weights["latent"] * losses["latent"]
        return {**losses, "total": total}


def _pairs(batch: Pass) -> tuple[Pair, Pair]:
    return Pair(x=batch.x, z=batch.code), Pair(x=batch.sample, z=batch.z)
