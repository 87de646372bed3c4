"""Networks that pass gradients on and take none."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def held(network: nn.Module) -> Iterator[None]:
    """Gradients flow through what `network` computes here, none are computed for its weights."""
    wanted = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in wanted:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in wanted:
            weight.requires_grad_(True)
