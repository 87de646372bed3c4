"""The critic's side of a plain GAN, which several pairings build upon: D tells x from G(z)."""

from typing import Any, ClassVar

from torch import Tensor, nn

from models import networks
from models.config import ModelConfig
from models.networks.joint import Critic
from models.networks.labelled import untold
from models.objectives.score import ScoreObjective
from models.pairings.contest import Contest
from models.pairings.pairing import Critics, Pairing, Pass, Turn, given
from models.pairings.scores import scores
from models.pairings.terms import Term, Terms


class ImageGame(Pairing[ScoreObjective]):
    """One critic, of images."""

    has: ClassVar[Critics] = Critics(image=True)

    def build_critics(self, model: ModelConfig) -> nn.ModuleDict:
        """`image`: [B, ...] to [B]."""
        return nn.ModuleDict({"image": networks.build_image_critic(model)})

    def critic_side(
        self, critics: nn.ModuleDict, seen: Pass, objective: ScoreObjective, turn: Turn
    ) -> tuple[Terms, list[Contest]]:
        """x against G(z)."""
        sample = given(seen.sample)
        real, fake = scores(critics["image"], seen.x, sample)
        loss = objective.critic_loss(real=real, fake=fake, **self.targets)
        return {"critic_image": Term(loss)}, [Contest(critics["image"], (seen.x,), (sample,))]

    def features(self, critics: nn.ModuleDict, x: Tensor, z: Tensor) -> Tensor | None:
        """Of the critic of images."""
        return image_features(critics, x)


def image_features(critics: nn.ModuleDict, x: Tensor) -> Tensor | None:
    """What the critic of images notices of x, [B, D]; None where it is none of this project's."""
    critic: Any = critics["image"]
    return critic.features(x) if isinstance(untold(critic), Critic) else None
