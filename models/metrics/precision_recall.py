"""Precision and recall: are samples realistic, and are all kinds of real images among them?

Kynkaanniemi et al. 2019, arXiv:1904.06991, equations 1 and 2: a set's manifold is the union of
the balls around its rows that reach to the k-th nearest other row.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.metrics.neighbours import Floats, balls_around, check_pair, radii


class PrecisionRecall(NamedTuple):
    """Shares in 0 .. 1; 1 is best."""

    precision: float  # of samples that lie on the manifold of the real rows
    recall: float  # of real rows that lie on the manifold of the samples


def precision_recall(
    *, real: npt.NDArray[Any], samples: npt.NDArray[Any], k: int = 3
) -> PrecisionRecall:
    """Precision and recall of samples [M, ...] against real rows [N, ...].

    Args:
        k: The neighbour a ball reaches to; the paper has 3.
    Raises:
        ValueError: not more than k rows in a set, or rows of different sizes.
    """
    x, y = check_pair(real, samples)
    return PrecisionRecall(precision=_share_inside(x, y, k), recall=_share_inside(y, x, k))


def _share_inside(manifold: Floats, points: Floats, k: int) -> float:
    parts = balls_around(centres=manifold, radius=radii(manifold, k), points=points)
    return float(np.concatenate([part.any(axis=1) for part in parts]).mean())
