"""The averaged weights that are exported, and the BatchNorm statistics that fit them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from models.networks.labelled import told

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
SPECTRAL_VECTORS = ("_u", "_v")  # buffers of torch's spectral_norm


@torch.no_grad()
def average_into(average: nn.Module, network: nn.Module, *, decay: float, step: int) -> None:
    """Move `average` towards `network`, in place, after update `step` (counted from 1).

    The decay warms up as min(decay, (1 + step) / (10 + step)): without it a decay of 0.999 still
    shows the first weights after a thousand steps.  The vectors by which spectral norm measures a
    weight are taken over as they are: they have no mean, and follow the weight closely.
    """
    keep = min(decay, (1 + step) / (10 + step))
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(ours, theirs, 1 - keep)
    measured = dict(network.named_buffers())
    for name, buffer in average.named_buffers():
        if name.rpartition(".")[2] in SPECTRAL_VECTORS:
            buffer.copy_(measured[name])


@torch.no_grad()
def estimate_batchnorm(
    encoder: nn.Module,
    generator: nn.Module | None,
    batches: Iterable[tuple[Tensor, Tensor, Tensor | None]],
    *,
    codes: bool = True,
) -> None:
    """Set E's and G's running statistics to their means over `batches` of (x, z, labels), in place.

    Without a generator only E's.

    Averaged weights never ran in training mode, so their statistics must be measured afresh
    (Donahue et al.'s BiGAN code does so over 1,000 batches before it evaluates).  G sees prior
    draws and codes alike, because it serves both; no `codes` where E was not trained yet.  Leaves
    both networks in eval mode.
    """
    networks = [encoder, generator] if generator else [encoder]
    norms = [m for network in networks for m in network.modules() if isinstance(m, NORMS)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    for network in networks:
        network.eval()
    for norm in norms:  # they alone: spectral norm would turn its vectors too
        norm.train()
    if norms:
        for x, z, labels in batches:
            code = told(encoder, labels)(x)
            if generator:
                told(generator, labels)(torch.cat([z, code]) if codes else z)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for network in networks:
        network.eval()
