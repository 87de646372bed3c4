"""How critics look at items: through noise that fades, and through random changes of images.

Reals and fakes are looked at alike, G(E(x)) in the same way as its x: a view draws its changes once
per row of a batch and applies them to whatever stands in that row.  Codes are left as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

Change = Literal["color", "translation", "cutout"]
Row = Callable[[Tensor], Tensor]  # items [B, ...] to the same shape

SHIFT: Final = 0.125  # of a side: how far an image moves at most
HOLE: Final = 0.5  # of a side: the square that is cut out


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceNoise:
    """Normal noise on all that critics see, fading in a straight line to nothing.

    Sonderby et al. 2017, arXiv:1610.04490; Arjovsky and Bottou 2017,
    arXiv:1701.04862, section 3.
    """

    sigma: float  # at the first step; images span 2
    steps: int = 0  # updates of G and E until it is gone; 0: all of the run's

    def at(self, step: int, of: int) -> float:
        """The deviation in update `step` of `of` updates of G and E, counted from 0."""
        return self.sigma * max(0.0, 1 - step / (self.steps or of))


def noisy(sigma: float, rng: torch.Generator) -> Row:
    """Items plus N(0, sigma^2), drawn afresh at each look."""

    def look(items: Tensor) -> Tensor:
        noise = torch.randn(items.shape, generator=rng, device=items.device, dtype=items.dtype)
        return items + sigma * noise

    return look


def changed(changes: tuple[Change, ...], like: Tensor, rng: torch.Generator) -> Row:
    """Images changed at random, and differentiably, in the order of `changes`.

    Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training",
    arXiv:2006.10738: its three policies at its strengths.

    Args:
        changes: Names of what is done.
        like: [B, C, H, W]: the shape of what will be looked at.
        rng: Draws once, here.
    """
    rows = [_CHANGES[name](like, rng) for name in changes]

    def look(items: Tensor) -> Tensor:
        for row in rows:
            items = row(items)
        return items

    return look


def _color(like: Tensor, rng: torch.Generator) -> Row:
    """Brightness by -0.5..0.5, saturation by 0..2, contrast by 0.5..1.5."""
    drawn = torch.rand(len(like), 3, 1, 1, 1, generator=rng, device=like.device)
    brightness, saturation, contrast = drawn[:, 0] - 0.5, 2 * drawn[:, 1], drawn[:, 2] + 0.5

    def row(images: Tensor) -> Tensor:
        images = images + brightness
        grey = images.mean(1, keepdim=True)
        images = (images - grey) * saturation + grey
        level = images.mean((1, 2, 3), keepdim=True)
        return (images - level) * contrast + level

    return row


def _translation(like: Tensor, rng: torch.Generator) -> Row:
    """Moved by whole pixels; what comes in is 0."""
    count, _, height, width = like.shape
    down, right = round(height * SHIFT), round(width * SHIFT)
    rows = _whole(-down, down, count, rng, like.device) + down
    columns = _whole(-right, right, count, rng, like.device) + right
    of_item = torch.arange(count, device=like.device)[:, None, None]
    of_row = (rows[:, None] + torch.arange(height, device=like.device))[:, :, None]
    of_column = (columns[:, None] + torch.arange(width, device=like.device))[:, None, :]

    def row(images: Tensor) -> Tensor:
        padded = pad(images, (right, right, down, down)).permute(0, 2, 3, 1)
        return padded[of_item, of_row, of_column].permute(0, 3, 1, 2)

    return row


def _cutout(like: Tensor, rng: torch.Generator) -> Row:
    """A square, whose middle is anywhere in the image, made 0."""
    count, _, height, width = like.shape
    tall, wide = round(height * HOLE), round(width * HOLE)
    top = _whole(0, height - 1, count, rng, like.device)[:, None] - tall // 2
    left = _whole(0, width - 1, count, rng, like.device)[:, None] - wide // 2
    y, x = (torch.arange(side, device=like.device)[None] for side in (height, width))
    in_rows, in_columns = (y >= top) & (y < top + tall), (x >= left) & (x < left + wide)
    kept = ~(in_rows[:, None, :, None] & in_columns[:, None, None, :])

    def row(images: Tensor) -> Tensor:
        return images * kept

    return row


def _whole(low: int, high: int, count: int, rng: torch.Generator, device: torch.device) -> Tensor:
    return torch.randint(low, high + 1, (count,), generator=rng, device=device)


_CHANGES: Final = {"color": _color, "translation": _translation, "cutout": _cutout}
