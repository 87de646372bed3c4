"""Unrolled critics: G and E see what the critics would become, not what they are.

Metz et al. 2017, "Unrolled generative adversarial networks", arXiv:1611.02163, section 2.2:
the losses of G and E are those against critics after a few steps of plain gradient descent on the
same batch, and the gradient flows through these steps.  Each step costs a critic's update again,
and twice differentiated: for toys.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from models.objectives.objective import Objective
from models.pairings.pairing import Pairing, Pass, Turn
from models.pairings.terms import Losses
from models.regularisers import Unrolled


class _Game(nn.Module):
    """Both sides' losses as functions of the critics' weights."""

    def __init__(self, pairing: Pairing[Any], critics: nn.ModuleDict) -> None:
        super().__init__()
        self.pairing = pairing
        self.critics = critics

    def forward(self, side: str, batch: Pass, objective: Objective, turn: Turn) -> Losses:
        loss = self.pairing.critic_loss if side == "critic" else self.pairing.pair_loss
        return loss(self.critics, batch, objective, turn)


def unrolled_loss(
    pairing: Pairing[Any],
    critics: nn.ModuleDict,
    batch: Pass,
    objective: Objective,
    turn: Turn,
    chosen: Unrolled,
) -> Losses:
    """What G and E minimise against critics that are some steps ahead; `critics` stay as they are.

    `batch` is not detached: G and E also see how what they make moves the critics.
    """
    game = _Game(pairing, critics)
    weights: dict[str, Tensor] = {
        name: weight.detach().requires_grad_() for name, weight in game.named_parameters()
    }
    for _ in range(chosen.steps):
        losses: Losses = functional_call(game, weights, ("critic", batch, objective, turn))
        slopes = torch.autograd.grad(losses["total"], list(weights.values()), create_graph=True)
        weights = {
            name: weight - chosen.lr * slope
            for (name, weight), slope in zip(weights.items(), slopes, strict=True)
        }
    return functional_call(game, weights, ("pair", batch, objective, turn))
