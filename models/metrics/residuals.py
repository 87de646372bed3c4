"""What a residual says of an image: one number each, of all its pixels or of the worst of them.

    l2   = mean of d^2
    l2s  = mean of (3x3 mean of d)^2, where edges average only the pixels that exist
    peak = the largest mean of d^2 over a window of 7x7 pixels
    blob = the largest square of the mean of d over such a window, means over channels taken last

d = (x - r) / 255 is signed.  A small defect in a large image is lost in a mean over all pixels,
and is the largest of means over windows of about its size; where it is darker or lighter than it
should be all over, its mean stays while that of noise, which has both signs, falls.  The maximum
of a map of local errors is how Bergmann et al. 2019 (MVTec AD, section 4) judge whole images.
These are the score graph's terms of the same names (export.graphs), for baselines.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter, uniform_filter1d

Floats = npt.NDArray[np.floating[Any]]

WINDOW: Final = 7  # pixels a side; smaller images have one as large as they are


def window(side: int) -> int:
    """The window along a side of so many pixels."""
    return min(WINDOW, side)


def residual_terms(d: Floats) -> dict[str, Floats]:
    """By term the figure [N] of each residual [N, H, W, C]."""
    area = (0, 3, 3, 0)
    there = uniform_filter(np.ones((1, *d.shape[1:3], 1), d.dtype), area, mode="constant")
    smooth = uniform_filter(d, area, mode="constant") / there
    return {
        "l2": np.square(d).mean(axis=(1, 2, 3)),
        "l2s": np.square(smooth).mean(axis=(1, 2, 3)),
        "peak": windowed(np.square(d)).mean(axis=3).max(axis=(1, 2)),
        "blob": np.square(windowed(d)).mean(axis=3).max(axis=(1, 2)),
    }


def windowed(maps: Floats) -> Floats:
    """Means under every window that lies inside, [N, H - h + 1, W - w + 1, C] of [N, H, W, C]."""
    for axis in (1, 2):
        size = window(maps.shape[axis])
        starts = np.arange(maps.shape[axis] - size + 1)
        means = uniform_filter1d(maps, size, axis=axis, mode="constant")
        maps = np.take(means, starts + size // 2, axis=axis)
    return maps
