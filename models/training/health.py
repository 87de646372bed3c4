"""A few cheap numbers that tell, while a run goes on, whether E and G invert each other."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def measure(*, encoder: nn.Module, generator: nn.Module, x: Tensor) -> dict[str, float]:
    """Reconstruction and code moments of real items never trained on.

    Args:
        encoder, generator: In eval mode.
        x: [N, ...], N at least 2.
    Returns:
        reconstruction: mean |x - G(E(x))| in units of the full range (0..1 for images).
        reconstruction_ratio: mean L2 distance of an item to its reconstruction, over that to
            another item's; 1 means that E tells nothing.
        code_mean: the largest |mean| of a latent dimension.
        code_std: mean over latent dimensions of the standard deviation; the prior's is 1 if normal.
    """
    code = encoder(x)
    again = generator(code)
    span = 2.0 if x.dim() == 4 else 1.0  # images live in [-1, 1]
    own = (x - again).flatten(1).norm(dim=1).mean()
    other = (x - again.roll(1, 0)).flatten(1).norm(dim=1).mean()
    return {
        "reconstruction": ((x - again).abs().mean() / span).item(),
        "reconstruction_ratio": (own / other).item(),
        "code_mean": code.mean(0).abs().max().item(),
        "code_std": code.std(0).mean().item(),
    }
