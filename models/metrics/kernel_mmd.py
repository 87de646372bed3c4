"""Maximum mean discrepancy: how far apart two sets lie, seen through a kernel.

Gretton et al. 2012 (JMLR 13), equation 3: the unbiased estimate of
MMD^2 = E k(x, x') - 2 E k(x, y) + E k(y, y'), here with k(a, b) = exp(-|a - b|^2 / (2 s^2)) and
s the median distance between two rows of both sets together (their section 8).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist

from models.metrics.neighbours import flat, squared_distances

MEDIAN_ROWS = 1000  # rows of both sets together that the median is taken over


def kernel_mmd(
    *, real: npt.NDArray[Any], samples: npt.NDArray[Any], bandwidth: float | None = None
) -> float:
    """Unbiased MMD^2 of two sets of features [N, D] and [M, D], at most 2; 0 in the mean for
    sets from the same distribution, so that it may be a little negative.

    Args:
        bandwidth: s above; None: the median distance, evenly spread rows taken where there are
            more than MEDIAN_ROWS.
    Raises:
        ValueError: fewer than two rows in a set, or rows of different sizes.
    """
    x, y = flat(real), flat(samples)
    if len(x) < 2 or len(y) < 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"MMD of {x.shape} and {y.shape}: two sets of at least two rows each")
    width = median_distance(real=x, samples=y) if bandwidth is None else bandwidth
    if width <= 0:  # more than half of all rows are alike
        raise ValueError(f"the kernel's bandwidth must be above 0, got {width:g}")
    within = sum(_mean_kernel(rows, rows, width, apart=True) for rows in (x, y))
    return within - 2.0 * _mean_kernel(x, y, width, apart=False)


def median_distance(*, real: npt.NDArray[Any], samples: npt.NDArray[Any]) -> float:
    """The median Euclidean distance between two rows of both sets together."""
    rows = np.concatenate([flat(real), flat(samples)])
    if len(rows) > MEDIAN_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, MEDIAN_ROWS).round().astype(np.int64)]
    return float(np.median(pdist(rows)))


def _mean_kernel(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], width: float, *, apart: bool
) -> float:
    """Mean of k over all pairs; `apart`: of rows of one set, a row with itself left out."""
    total = sum(float(np.exp(part / (-2.0 * width**2)).sum()) for part in squared_distances(a, b))
    return (total - len(a)) / (len(a) * (len(a) - 1)) if apart else total / (len(a) * len(b))
