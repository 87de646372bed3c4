"""Minibatch discrimination: a critic sees how much the items of a batch are alike.

So that it can tell a G that makes one thing again and again.  A critic with it scores no item by
itself: no penalty can hold its slope at one, and reals must not share a batch with fakes.
"""

import torch
from torch import Tensor, nn

from models.config import Minibatch

KERNELS, SIZE = 50, 16  # of the learned likeness: how many, and numbers in each


class BatchStd(nn.Module):
    """Features with one more: how much they spread over the batch, the same for each item.

    Karras et al. 2018, arXiv:1710.10196, section 3: the standard deviation over the batch, mean
    over features.
    """

    extra = 1

    def forward(self, features: Tensor) -> Tensor:
        """[B, D] to [B, D + 1]."""
        spread = (features.float().var(0, unbiased=False) + 1e-8).sqrt().mean()
        return torch.cat([features, spread.to(features).expand(len(features), 1)], dim=1)


class BatchKernel(nn.Module):
    """Features with KERNELS more: how near each item is to all others in a learned likeness.

    Salimans et al. 2016, arXiv:1606.03498, section 3.2: o_b(x_i) = sum over j of
    exp(-|M_ib - M_jb|_1), M = features T; here over j other than i, which leaves out a 1.
    """

    extra = KERNELS

    def __init__(self, size: int) -> None:
        super().__init__()
        self.project = nn.Linear(size, KERNELS * SIZE, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """[B, D] to [B, D + KERNELS]."""
        rows = self.project(features).view(-1, KERNELS, SIZE)
        distances = (rows[:, None] - rows[None]).abs().sum(3)  # [B, B, KERNELS]
        likeness = (-distances).exp().sum(1) - 1
        return torch.cat([features, likeness.to(features)], dim=1)


def among(name: Minibatch, size: int) -> tuple[nn.Module, int]:
    """What a critic puts between its features [B, size] and its score, and how much it adds."""
    match name:
        case "std":
            return BatchStd(), BatchStd.extra
        case "kernel":
            return BatchKernel(size), BatchKernel.extra
        case "none":
            return nn.Identity(), 0


def looks_at_batches(critic: nn.Module) -> bool:
    """Whether the score of an item depends on its batch mates."""
    return any(isinstance(module, BatchStd | BatchKernel) for module in critic.modules())
