"""The optimisers of a run, and what keeps critics in bounds after a step."""

from collections.abc import Iterable

import torch
from torch import nn

from models.config import Optimiser, TrainConfig
from models.networks.blocks import Orthonormal
from models.pairings.terms import Losses
from models.regularisers import Regularisers
from models.regularisers.weight_clip import clip
from models.training.workers import Workers


def of_pair(parameters: Iterable[nn.Parameter], train: TrainConfig) -> torch.optim.Optimizer:
    """What moves G and E."""
    return _build(train.optimiser, parameters, train.lr, train.betas)


def of_critics(
    parameters: Iterable[nn.Parameter], train: TrainConfig
) -> torch.optim.Optimizer | None:
    """What moves the critics; None where they have no weights."""
    weights = list(parameters)
    name = train.optimiser if train.critic_optimiser == "same" else train.critic_optimiser
    return _build(name, weights, train.critic_lr, train.betas) if weights else None


def _build(
    name: Optimiser, parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    match name:
        case "adam":
            return torch.optim.Adam(parameters, lr=lr, betas=betas, fused=True)
        case "adamax":
            return torch.optim.Adamax(parameters, lr=lr, betas=betas)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=lr)


def descend(optimiser: torch.optim.Optimizer, losses: Losses, workers: Workers) -> Losses:
    """One step down the total; the losses, as means over the workers."""
    optimiser.zero_grad(set_to_none=True)
    losses["total"].backward()
    workers.average_slopes(w for group in optimiser.param_groups for w in group["params"])
    optimiser.step()
    return workers.average(losses)


def constrain(critics: nn.Module, chosen: Regularisers) -> None:
    """Bring the critics' weights back to where they may be, after a step."""
    if chosen.clip:
        clip(critics, low=chosen.clip.low, high=chosen.clip.high)
    for module in critics.modules():
        if isinstance(module, Orthonormal):
            module.retract()
