"""How well heat maps show where an image is defective: pixel by pixel, and region by region."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label
from sklearn.metrics import roc_curve

from models.metrics.auroc import auroc

Heat = Sequence[npt.NDArray[Any]]  # [h, w] of each image; higher is more abnormal
Masks = Sequence[npt.NDArray[np.bool_]]  # [h, w] of each: its defective pixels

LIMIT: Final = 0.3  # false positive rate up to which regions are counted, as the authors do
_NEIGHBOURS: Final = np.ones((3, 3), int)  # pixels that touch at a corner are of one region


def pixel_auroc(heat: Heat, masks: Masks) -> float:
    """The chance that a random defective pixel is hotter than a random sound one, of all images.

    Large defects weigh more than small ones (Bergmann et al. 2019, CVPR, table 3).
    Raises ValueError for shapes that do not fit, or without pixels of one of the two kinds.
    """
    values, defective = _flat(heat, masks)
    return auroc(normal=values[~defective], abnormal=values[defective])


def per_region_overlap(heat: Heat, masks: Masks, *, limit: float = LIMIT) -> float:
    """The area under the per-region-overlap curve up to a false positive rate, over that rate.

    PRO(t) is the mean, over all connected regions of all masks, of the share of a region's pixels
    with heat of at least t; the rate is the share of sound pixels with such heat, of all images
    (Bergmann et al. 2021, IJCV 129, section 5.2).  Each defect counts the same, however large.

    Args:
        limit: Of the rate, above 0 and at most 1.
    Returns:
        0 .. 1: 1 where every region is found whole before any sound pixel; limit / 2 by chance.
    Raises:
        ValueError: as `pixel_auroc` does.
    """
    if not 0 < limit <= 1:
        raise ValueError(f"limit must lie above 0 and be at most 1, got {limit}")
    values, defective = _flat(heat, masks)
    weights = np.concatenate([_weights(mask).ravel() for mask in masks])
    if defective.all() or not defective.any():
        raise ValueError("all pixels are defective, or none is")
    weights[~defective] = 1.0
    # with a pixel's weight one over its region's size, the true positive rate is PRO
    rate, overlap, _ = roc_curve(defective, values, sample_weight=weights)
    last = int(np.searchsorted(rate, limit))  # the first point at or beyond it
    end = np.interp(limit, rate[last - 1 : last + 1], overlap[last - 1 : last + 1])
    return float(
        np.trapezoid(np.append(overlap[:last], end), np.append(rate[:last], limit)) / limit
    )


def _weights(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """One over the size of the region that a pixel is in; 0 where it is in none."""
    regions, _ = label(mask, structure=_NEIGHBOURS)
    sizes = np.bincount(regions.ravel()).astype(np.float64)
    sizes[0] = np.inf
    found: npt.NDArray[np.float64] = 1.0 / sizes[regions]
    return found


def _flat(heat: Heat, masks: Masks) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    if [np.shape(one) for one in heat] != [np.shape(one) for one in masks]:
        raise ValueError("heat maps and masks are not of the same shapes")
    return (
        np.concatenate([np.ravel(one) for one in heat]),
        np.concatenate([np.ravel(one) for one in masks]),
    )
