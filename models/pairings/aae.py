"""AAE: an autoencoder whose codes a critic holds to the prior.

Makhzani et al. 2016, "Adversarial autoencoders", arXiv:1511.05644, section 2: D_z tells z from
E(x); nobody judges images.  It is AEGAN with everything but x's side of it turned off.

Deviations: one update of the critic and one of G and E on the same batch, where the paper takes
two for G and E; the reconstruction is AEGAN's, 10 times the mean |x - G(E(x))|, unless
`weights.image_squared` asks for squares.
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
from models.pairings.pairing import Critics, Pairing, Pass, Turn, given
from models.pairings.reconstruction import image_loss, squared_image_loss
from models.pairings.scores import scores
from models.pairings.terms import Term, Terms


class AAE(Pairing[ScoreObjective]):
    """E, G and a critic of codes."""

    default_weights: ClassVar[Mapping[str, float]] = MappingProxyType(
        {
            "image": 10.0,  # mean |x - G(E(x))|
            "image_squared": 0.0,  # mean (x - G(E(x)))^2
            "critic_latent": 1.0,  # the adversarial term of D_z
            "smoothing": 0.0,
            "smoothing_real": 0.0,
        }
    )
    has: ClassVar[Critics] = Critics(latent=True)

    def build_critics(self, model: ModelConfig) -> nn.ModuleDict:
        """`latent`: [B, Z] to [B]."""
        return nn.ModuleDict({"latent": networks.build_latent_critic(model)})

    def forward(
        self, encoder: nn.Module, generator: nn.Module, x: Tensor, z: Tensor, rng: torch.Generator
    ) -> Pass:
        """E(x) and G(E(x))."""
        code = encoder(x)
        return Pass(x=x, z=z, code=code, reconstruction=generator(code))

    def critic_side(
        self, critics: nn.ModuleDict, seen: Pass, objective: ScoreObjective, turn: Turn
    ) -> tuple[Terms, list[Contest]]:
        """Prior draws against codes; what acts on real data acts on the draws."""
        code = given(seen.code)
        real, fake = scores(critics["latent"], seen.z, code)
        loss = objective.critic_loss(real=real, fake=fake, **self.targets)
        return {"critic_latent": Term(loss)}, [Contest(critics["latent"], (seen.z,), (code,))]

    def pair_side(
        self, critics: nn.ModuleDict, batch: Pass, seen: Pass, objective: ScoreObjective
    ) -> Terms:
        """The reconstructions move both; that codes are taken for prior draws, E alone."""
        fooled = objective.generator_loss(fake=critics["latent"](given(batch.code)))
        shown = {"x": batch.x, "reconstruction": given(batch.reconstruction)}
        terms = {
            "image": Term(image_loss(**shown), self.weights["image"]),
            "code": Term(fooled, self.weights["critic_latent"]),
        }
        if weight := self.weights["image_squared"]:
            terms["image_squared"] = Term(squared_image_loss(**shown), weight)
        return terms

    def features(self, critics: nn.ModuleDict, x: Tensor, z: Tensor) -> Tensor | None:
        """Nothing: no critic sees items."""
        return None
