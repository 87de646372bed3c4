"""VAE/GAN: a variational autoencoder that reconstructs what a critic notices.

Larsen et al. 2016, "Autoencoding beyond pixels using a learned similarity metric",
arXiv:1512.09300, algorithm 1.  D tells x from G(z) and from G(E(x)); half the
squared distance of D's last hidden layer between x and G(E(x)) takes the place of a pixel error.
Who learns from what, as in the algorithm: E from the divergence and that distance, never from the
game; G from the distance, weighted by gamma, and the game; D from the game alone.

E(x) is a Gaussian and z one draw from it; served and scored is its mean.  Divergence and distance
are sums over dimensions and means over the batch, as a likelihood has them.  The paper's beta is 1;
against the features of a critic with spectral norm, which are small, E then tells little.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.networks.gaussian import gaussian_of
from models.objectives.score import ScoreObjective
from models.pairings.contest import Contest
from models.pairings.image_game import ImageGame, image_features
from models.pairings.pairing import Pass, Turn, given
from models.pairings.scores import against_two
from models.pairings.terms import Term, Terms


class VAEGAN(ImageGame):
    """A stochastic E, G and a critic of images."""

    default_weights: ClassVar[Mapping[str, float]] = MappingProxyType(
        {
            "divergence": 0.05,  # beta: KL(E(x) || prior), in nats, in E's loss
            "feature": 1.0,  # the distance of features in E's loss
            "feature_generator": 1.0,  # gamma: the same in G's loss, beside the game
            "critic_image": 1.0,  # each adversarial term of G
            "smoothing": 0.0,
            "smoothing_real": 0.0,
        }
    )

    def forward(
        self, encoder: nn.Module, generator: nn.Module, x: Tensor, z: Tensor, rng: torch.Generator
    ) -> Pass:
        """A draw from E(x), G(z) and G of the draw, which G takes cut off from E."""
        gaussian = gaussian_of(encoder, x)
        code = gaussian.sample(rng)
        entry = code.detach().requires_grad_(torch.is_grad_enabled())
        sample, reconstruction = generator(torch.cat([z, entry])).chunk(2)
        return Pass(
            x=x,
            z=z,
            code=code,
            gaussian=gaussian,
            entry=entry,
            sample=sample,
            reconstruction=reconstruction,
        )

    def critic_side(
        self, critics: nn.ModuleDict, seen: Pass, objective: ScoreObjective, turn: Turn
    ) -> tuple[Terms, list[Contest]]:
        """x, counted twice, against both fakes."""
        sample = given(seen.sample)
        loss = against_two(
            critics["image"],
            objective,
            x=seen.x,
            sample=sample,
            reconstruction=given(seen.reconstruction),
            share=1.0,
            targets=self.targets,
        )
        return {"critic_image": Term(loss, 2.0)}, [Contest(critics["image"], (seen.x,), (sample,))]

    def pair_side(
        self, critics: nn.ModuleDict, batch: Pass, seen: Pass, objective: ScoreObjective
    ) -> Terms:
        """`divergence` and `feature` move E alone, the others G alone."""
        weights, gaussian = self.weights, given(batch.gaussian)
        fools = objective.generator_loss
        again = given(seen.reconstruction)
        aim = given(image_features(critics, seen.x)).detach()
        noticed = given(image_features(critics, again))
        distance = feature_distance(noticed, aim)
        critic: Any = critics["image"]
        samples, reconstructions = critic(given(seen.sample)), critic.judged(noticed)
        return {
            "divergence": Term(gaussian.divergence(), weights["divergence"]),
            "feature": Term(_handed_on(distance, batch), weights["feature"]),
            "feature_generator": Term(distance, weights["feature_generator"]),
            "sample": Term(fools(fake=samples), weights["critic_image"]),
            "reconstruction": Term(fools(fake=reconstructions), weights["critic_image"]),
            "log_sigma": Term(gaussian.log_sigma.mean(), None),
        }


def feature_distance(features: Tensor, aim: Tensor) -> Tensor:
    """Half the squared L2 distance, mean over the batch; [B, D] and [B, D] to a scalar."""
    return (features - aim).float().square().sum(1).mean() / 2


def _handed_on(loss: Tensor, batch: Pass) -> Tensor:
    """`loss`, whose gradient moves E alone: G took E's codes cut off, and here it is joined on."""
    code, entry = given(batch.code), given(batch.entry)
    (pull,) = torch.autograd.grad(loss, entry, retain_graph=True)
    moving = (code * pull).sum()
    return loss.detach() + moving - moving.detach()
