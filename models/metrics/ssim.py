"""Structural similarity of images and reconstructions.

Wang, Bovik, Sheikh and Simoncelli 2004 (IEEE TIP 13), equation 13:

    SSIM = (2 m_x m_r + C1) (2 s_xr + C2) / ((m_x^2 + m_r^2 + C1) (s_x^2 + s_r^2 + C2))

with means, variances and covariance under a Gaussian window of 11x11 pixels, standard deviation
1.5, C1 = .01^2 and C2 = .03^2 for pixels in [0, 1]: the authors' own choice and what most
libraries mean by SSIM, so values compare; a flat 7x7 window shows blocks in the map.  Only windows
that lie wholly inside the image count, as in the authors' code.  The window is separable, eleven
numbers each way, so the same definition fits into an ONNX graph as a score term 1 - SSIM.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate1d

Images = npt.NDArray[np.uint8]

WINDOW: Final = 11  # pixels a side; smaller images have the largest odd window they hold
SIGMA: Final = 1.5  # pixels
C1, C2 = 0.01**2, 0.03**2
ROWS: Final = 256  # images in floating point at once


def ssim(*, images: Images, reconstructions: Images) -> npt.NDArray[np.float64]:
    """SSIM of each image uint8 [N, H, W, C] with its reconstruction, [N].

    Mean over windows and channels, in -1 .. 1: 1 for the same image, near 0 for unrelated ones.
    Raises ValueError if the two differ in shape or are empty.
    """
    if images.shape != reconstructions.shape or images.ndim != 4 or not images.size:
        raise ValueError(f"images {images.shape}, reconstructions {reconstructions.shape}")
    parts = [
        _of_some(images[i : i + ROWS], reconstructions[i : i + ROWS])
        for i in range(0, len(images), ROWS)
    ]
    return np.concatenate(parts)


def window(side: int) -> npt.NDArray[np.float64]:
    """The Gaussian along one side, summing to 1: WINDOW long, or as long as `side` allows."""
    size = min(WINDOW, side - 1 + side % 2)
    offsets = np.arange(size) - size // 2
    weights = np.exp(-np.square(offsets) / (2.0 * SIGMA**2))
    return weights / weights.sum()


def _of_some(images: Images, reconstructions: Images) -> npt.NDArray[np.float64]:
    x, r = (each.astype(np.float64) / 255.0 for each in (images, reconstructions))
    mean_x, mean_r = _blurred(x), _blurred(r)
    var_x = _blurred(x * x) - mean_x**2
    var_r = _blurred(r * r) - mean_r**2
    both = _blurred(x * r) - mean_x * mean_r
    nearness = (2 * mean_x * mean_r + C1) / (mean_x**2 + mean_r**2 + C1)
    map_ = nearness * (2 * both + C2) / (var_x + var_r + C2)
    found: npt.NDArray[np.float64] = map_.mean(axis=(1, 2, 3))
    return found


def _blurred(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weighted means under every window that lies inside, [N, H - size + 1, W - size + 1, C]."""
    for axis in (1, 2):
        weights = window(x.shape[axis])
        margin = len(weights) // 2
        x = correlate1d(x, weights, axis=axis, mode="constant")
        x = np.take(x, np.arange(margin, x.shape[axis] - margin), axis=axis)
    return x
