"""The averaged weights that are exported, and the BatchNorm statistics that fit them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@torch.no_grad()
def average_into(average: nn.Module, network: nn.Module, *, decay: float, step: int) -> None:
    """Move `average` towards `network`, in place, after update `step` (counted from 1).

    The decay warms up as min(decay, (1 + step) / (10 + step)): without it a decay of 0.999 still
    shows the first weights after a thousand steps.
    """
    keep = min(decay, (1 + step) / (10 + step))
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(ours, theirs, 1 - keep)


@torch.no_grad()
def estimate_batchnorm(
    encoder: nn.Module, generator: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
) -> None:
    """Set E's and G's running statistics to their means over `batches` of (x, z), in place.

    Averaged weights never ran in training mode, so their statistics must be measured afresh
    (Donahue et al.'s BiGAN code does so over 1,000 batches before it evaluates).  G sees prior
    draws and codes alike, because it serves both.  Leaves both networks in eval mode.
    """
    norms = [m for net in (encoder, generator) for m in net.modules() if isinstance(m, NORMS)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    encoder.train()
    generator.train()
    if norms:
        for x, z in batches:
            generator(torch.cat([z, encoder(x)]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.eval()
    generator.eval()
