"""Which classes the samples fall into, by a classifier trained on real images.

What Che et al. 2017, arXiv:1612.02136, count as modes and missing modes, on labelled classes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt


def class_shares(probabilities: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Share of samples in each class, [K], from class probabilities [N, K]; sums to 1.

    A sample belongs to its most probable class.  Raises ValueError for no samples.
    """
    _check(probabilities)
    counts = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])
    return counts / len(probabilities)


def confidence_ratio(*, samples: npt.NDArray[Any], real: npt.NDArray[Any]) -> float:
    """Mean top probability on samples over that on real images, from [N, K] and [M, K].

    1: samples look as much like one of the classes as real images do; 1 / K over the real
    confidence would be a classifier that cannot tell at all.
    """
    _check(samples)
    _check(real)
    return float(samples.max(axis=1).mean() / real.max(axis=1).mean())


def _check(probabilities: npt.NDArray[Any]) -> None:
    if probabilities.ndim != 2 or not probabilities.size:
        raise ValueError(f"probabilities must be [N, K] with N > 0, got {probabilities.shape}")
