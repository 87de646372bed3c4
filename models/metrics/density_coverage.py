"""Density and coverage: precision and recall that a few outliers cannot spoil.

Naeem et al. 2020, arXiv:2002.09797, equations 5 and 6.  Both look only at balls around real rows,
so that far samples make no large balls; density counts every ball that a sample lies in.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.metrics.neighbours import balls_around, check_pair, radii


class DensityCoverage(NamedTuple):
    """Both are near 1 for samples like the real rows."""

    density: float  # balls that hold a sample, over k; from 0, above 1 where samples crowd
    coverage: float  # share of real balls that hold a sample, in 0 .. 1


def density_coverage(
    *, real: npt.NDArray[Any], samples: npt.NDArray[Any], k: int = 5
) -> DensityCoverage:
    """Density and coverage of samples [M, ...] against real rows [N, ...].

    Args:
        k: The neighbour a ball reaches to; the paper has 5.  For equal distributions and N = M
            the coverage is expected at 1 - 2^-k (.97 for 5).
    Raises:
        ValueError: not more than k real rows, no samples, or rows of different sizes.
    """
    x, y = check_pair(real, samples)
    held = np.zeros(len(x), np.int64)
    for part in balls_around(centres=x, radius=radii(x, k), points=y):
        held += part.sum(axis=0)
    return DensityCoverage(
        density=float(held.sum() / (k * len(y))), coverage=float((held > 0).mean())
    )
