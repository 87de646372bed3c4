"""The slope of a critic at a place, differentiable again: what every penalty on it needs."""

from collections.abc import Callable

import torch
from torch import Tensor


def slope_at(
    score: Callable[..., Tensor], *places: Tensor, beside: tuple[Tensor, ...] = ()
) -> list[Tensor]:
    """How the score of each row changes with each part of it.

    Args:
        score: Of the parts and what is beside them, to numbers [B], each of its own row.
        places: The parts [B, ...]; no gradient flows back into them.
        beside: Further parts, which are not differentiated.
    Returns:
        A slope per part, shaped as it, in float32 or better even under autocast: the second
        derivative of a rounded score is noise.
    """
    with torch.autocast(places[0].device.type, enabled=False):
        parts = [_exact(part).requires_grad_() for part in places]
        total = score(*parts, *map(_exact, beside)).sum()
        return list(torch.autograd.grad(total, parts, create_graph=True))


def _exact(part: Tensor) -> Tensor:
    return part.detach().to(torch.promote_types(part.dtype, torch.float32))
