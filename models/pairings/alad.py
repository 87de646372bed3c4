"""ALAD: BiGAN's game, and a critic of each cycle.

Zenati et al. 2018, "Adversarially learned anomaly detection", arXiv:1812.02288: D_xz tells
(x, E(x)) from (G(z), z), D_xx tells (x, x) from (x, G(E(x))) and D_zz tells (z, z) from
(z, E(G(z))).  G and E want the cycles taken for real; (x, x) and (z, z) move nobody.  The authors
hold E and all critics by spectral norm: `model.encoder_norm` and `model.critic_norm`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from models import networks
from models.config import ModelConfig
from models.objectives.objective import Objective
from models.objectives.score import ScoreObjective
from models.pairings.bigan import BiGAN
from models.pairings.contest import Contest
from models.pairings.cycles import both_cycles
from models.pairings.pairing import Pass, Turn, given
from models.pairings.scores import scores
from models.pairings.terms import Term, Terms


class ALAD(BiGAN):
    """E, G, a critic of pairs, one of two images and one of two codes."""

    default_weights: ClassVar[Mapping[str, float]] = MappingProxyType(
        {
            **BiGAN.default_weights,
            "critic_image": 1.0,  # of D_xx's term beside that of D_xz
            "critic_latent": 1.0,  # of D_zz's
        }
    )
    scores_only: ClassVar[bool] = True

    def build_critics(self, model: ModelConfig) -> nn.ModuleDict:
        """Beside BiGAN's: `image`, [B, 2C, H, W] to [B]; `latent`, [B, 2Z] to [B]."""
        critics = super().build_critics(model)
        critics["image"] = networks.build_image_pair_critic(model)
        critics["latent"] = networks.build_latent_pair_critic(model)
        return critics

    def forward(
        self, encoder: nn.Module, generator: nn.Module, x: Tensor, z: Tensor, rng: torch.Generator
    ) -> Pass:
        """All four: E(x), G(z), G(E(x)), E(G(z))."""
        code = encoder(x)
        sample, reconstruction, cycle = both_cycles(encoder, generator, z, code, self.weights)
        return Pass(x=x, z=z, code=code, sample=sample, reconstruction=reconstruction, cycle=cycle)

    def critic_side(
        self, critics: nn.ModuleDict, seen: Pass, objective: Objective, turn: Turn
    ) -> tuple[Terms, list[Contest]]:
        """BiGAN's, and each cycle against what it should have come back to."""
        terms, contests = super().critic_side(critics, seen, objective, turn)
        game = cast(ScoreObjective, objective)  # scores_only
        for name, given_, again in _cycles(seen):
            critic = critics[name]
            real, fake = scores(critic, _beside(given_, given_), _beside(given_, again))
            terms[name] = Term(game.critic_loss(real=real, fake=fake, **self.targets))
            places = (_beside(given_, given_),), (_beside(given_, again),)
            contests.append(Contest(critic, *places, name=name, on_data=False))
        return terms, contests

    def pair_side(
        self, critics: nn.ModuleDict, batch: Pass, seen: Pass, objective: Objective
    ) -> Terms:
        """BiGAN's, and both cycles to be taken for what they began with."""
        terms = super().pair_side(critics, batch, seen, objective)
        game = cast(ScoreObjective, objective)
        for name, given_, again in _cycles(seen):
            fooled = game.generator_loss(fake=critics[name](_beside(given_, again)))
            terms[f"cycle_{name}"] = Term(fooled, self.weights[f"critic_{name}"])
        return terms


def _cycles(seen: Pass) -> list[tuple[str, Tensor, Tensor]]:
    """What each critic of a cycle is called, where the cycle begins and where it ends."""
    return [
        ("image", seen.x, given(seen.reconstruction)),
        ("latent", seen.z, given(seen.cycle)),
    ]


def _beside(one: Tensor, other: Tensor) -> Tensor:
    return torch.cat([one, other], dim=1)
