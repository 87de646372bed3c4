"""What trained critics say of an item: two score terms, higher for the more abnormal.

feature = mean |f(x, E(x)) - f(G(E(x)), E(x))|, f the critic's last hidden layer: the feature
          matching part of the score of Zenati et al. 2018 (EGBAD), arXiv:1802.06222; of a critic
          of items mean |f(x) - f(G(E(x)))|, in the spirit of Schlegl et al. 2019 (f-AnoGAN,
          Medical Image Analysis 54), who square it; of ALAD mean |f(x, x) - f(x, G(E(x)))| of
          D_xx (Zenati et al. 2018, arXiv:1812.02288, its score by features).  Both papers sum;
          a mean does not depend on the layer's width.
critic  = -c, c the raw score that the critic gives the pair (x, E(x)), the item x, or to
          ALAD's D_xx (x, G(E(x))): the more it doubts, the higher.  EGBAD's and ALAD's
          softplus(-c) puts items in the same order, but rounds large c to one value.
"""

from typing import Final, Literal

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.errors import BadConfig
from models.networks.joint import Critic, JointCritic

JUDGED: Final = ("feature", "critic")
_NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Sees = Literal["pairs", "items", "cycles"]  # (x, E(x)); x; (x, G(E(x))) side by side


class Judge(nn.Module):
    """A trained critic that judges items."""

    def __init__(self, critic: Critic | JointCritic, sees: Sees) -> None:
        super().__init__()
        self.critic, self.sees = critic, sees

    def forward(self, x: Tensor, again: Tensor, code: Tensor) -> list[Tensor]:
        """`feature` and `critic`, [B] each, of items, their reconstructions and codes [B, Z]."""
        given, made = self._shown(x, x, code), self._shown(x, again, code)
        noticed, missed = (self.critic.features(*each) for each in (given, made))
        judged = missed if self.sees == "cycles" else noticed
        return [(noticed - missed).abs().flatten(1).mean(1), -self.critic.judged(judged)]

    def _shown(self, x: Tensor, other: Tensor, code: Tensor) -> tuple[Tensor, ...]:
        """What the critic looks at where `other` takes the item's place."""
        if self.sees == "pairs":
            return other, code
        return (other if self.sees == "items" else torch.cat([x, other], dim=1),)


def judge_among(critics: nn.ModuleDict, model: ModelConfig) -> Judge:
    """The critic of a trained pairing that judges items, in eval mode.

    Raises BadConfig where there is none: no critic sees items, it gives no scores, or what it says
    of one item depends on others.
    """
    terms = " and ".join(JUDGED)
    if model.classes:
        raise BadConfig(f"critics of a conditional model are told classes: no terms {terms}")
    sees: Sees = "items"
    if model.pairing == "alad":
        sees = "cycles"
    elif "joint" in critics:
        sees = "pairs"
    elif "image" not in critics:
        raise BadConfig(f"{model.pairing} has no critic of items for the terms {terms}")
    critic = critics["joint" if sees == "pairs" else "image"]
    if not isinstance(critic, Critic | JointCritic):
        raise BadConfig(f"the critic of {model.objective} gives no scores for the terms {terms}")
    if model.critic_minibatch != "none" or any(isinstance(m, _NORMS) for m in critic.modules()):
        raise BadConfig(
            "a critic that looks at batches (model.critic_minibatch, BatchNorm) has no terms "
            f"{terms}: it scores no item by itself"
        )
    return Judge(critic, sees).requires_grad_(False).eval()
