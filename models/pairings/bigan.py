"""BiGAN: one critic of pairs tells (x, E(x)) from (G(z), z).

Donahue, Kraehenbuehl and Darrell 2017, arXiv:1605.09782, equation 2; Dumoulin et al. 2017 (ALI),
arXiv:1606.00704, is the same game with a stochastic E.  Both halves are played: G wants its pairs
taken for real, E wants its own taken for fake.  Where the critic is fooled everywhere, E inverts G.

Ours: optional reconstruction terms (weights 0 by default), the penalties on the critic's slope, any
objective in place of the paper's, and a second critic that tells matched from mismatched pairs.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models import networks
from models.config import ModelConfig
from models.networks.gaussian import Gaussian
from models.networks.joint import PairFeatures
from models.networks.labelled import untold
from models.objectives.objective import Objective, Pair
from models.pairings.contest import Contest
from models.pairings.cycles import SHARES, code_cycle
from models.pairings.pairing import Critics, Pairing, Pass, Turn, given
from models.pairings.reconstruction import image_loss, latent_loss
from models.pairings.terms import Term, Terms
from models.regularisers.mismatch import mismatch
from models.regularisers.pairwise_penalty import pairwise_penalty


class BiGAN(Pairing[Objective]):
    """E, G and one joint critic."""

    default_weights: ClassVar[Mapping[str, float]] = MappingProxyType(
        {"image": 0.0, "latent": 0.0, "smoothing": 0.0, "smoothing_real": 0.0, **SHARES}
    )
    has: ClassVar[Critics] = Critics(joint=True)
    scores_only: ClassVar[bool] = False

    def build_critics(self, model: ModelConfig) -> nn.ModuleDict:
        """`joint`: ([B, ...], [B, Z]) to what the objective reads; `match`: to scores."""
        critics = {"joint": networks.build_joint_critic(model, self.head)}
        if self.regularisers.mismatch:
            critics["match"] = networks.build_joint_critic(model)
        return nn.ModuleDict(critics)

    def forward(
        self, encoder: nn.Module, generator: nn.Module, x: Tensor, z: Tensor, rng: torch.Generator
    ) -> Pass:
        """E(x) and G(z); G(E(x)) and E(G(z)) only where a weight or a penalty asks for them."""
        code, gaussian = self.code(encoder, x, rng)
        sample = generator(z)
        reconstruction = cycle = None
        if self.weights["image"]:
            reconstruction = generator(code)
        elif self.regularisers.pairwise:
            with torch.no_grad():  # the penalty trains the critic alone
                reconstruction = generator(code)
        if self.weights["latent"]:
            cycle = code_cycle(encoder, sample, self.weights)
        return Pass(
            x=x,
            z=z,
            code=code,
            gaussian=gaussian,
            sample=sample,
            reconstruction=reconstruction,
            cycle=cycle,
        )

    def code(
        self, encoder: nn.Module, x: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Gaussian | None]:
        """E(x) as the critic sees it, [B, Z], and the distribution it is from, where it is."""
        return encoder(x), None

    def critic_side(
        self, critics: nn.ModuleDict, seen: Pass, objective: Objective, turn: Turn
    ) -> tuple[Terms, list[Contest]]:
        """The objective's critic loss, with the penalties that are for pairs alone."""
        critic, real, fake = critics["joint"], *_pairs(seen)
        asked = objective.with_targets(**self.targets).critic_terms(critic, real=real, fake=fake)
        terms = {"joint": Term(asked.loss)}
        terms |= {name: Term(figure, None) for name, figure in asked.figures.items()}
        penalty = self.regularisers.pairwise
        if penalty:
            loss = pairwise_penalty(
                critic,
                x=seen.x,
                z=real.z,
                reconstruction=given(seen.reconstruction),
                rng=turn.rng,
                form=penalty.form,
            )
            terms["pairwise"] = Term(loss, penalty.weight)
        contests = [Contest(asked.witness, real, fake)] if asked.witness else []
        return terms | self._mismatch(critics, seen), contests

    def pair_side(
        self, critics: nn.ModuleDict, batch: Pass, seen: Pass, objective: Objective
    ) -> Terms:
        """The game: `generator` moves G alone, `encoder` E alone, `match` both."""
        real, fake = _pairs(seen)
        asked = objective.pair_terms(critics["joint"], real=real, fake=fake)
        terms = {name: Term(loss) for name, loss in asked.items()}
        if weight := self.weights["image"]:
            loss = image_loss(x=batch.x, reconstruction=given(batch.reconstruction))
            terms["image"] = Term(loss, weight)
        if weight := self.weights["latent"]:
            terms["latent"] = Term(latent_loss(z=batch.z, cycle=given(batch.cycle)), weight)
        return terms | self._mismatch(critics, seen)

    def features(self, critics: nn.ModuleDict, x: Tensor, z: Tensor) -> Tensor | None:
        """Of the pair, before the score; None where the objective has no critic."""
        critic: Any = critics["joint"]
        return critic.features(x, z) if isinstance(untold(critic), PairFeatures) else None

    def _mismatch(self, critics: nn.ModuleDict, seen: Pass) -> Terms:
        weight = self.regularisers.mismatch
        if not weight:
            return {}
        critic: Any = critics["match"]
        return {"mismatch": Term(mismatch(critic, *_pairs(seen)), weight)}


def _pairs(batch: Pass) -> tuple[Pair, Pair]:
    return Pair(x=batch.x, z=given(batch.code)), Pair(x=given(batch.sample), z=batch.z)
