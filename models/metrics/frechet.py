"""Frechet distance between the Gaussians that fit two sets of features: "FID" without Inception.

Heusel et al. 2017, arXiv:1706.08500, equation 6, which is squared:

    |m_r - m_s|^2 + Tr(C_r + C_s - 2 (C_r C_s)^(1/2))

With the features of an Inception network it is called FID; with any other it is not, and values
of different features cannot be compared.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from models.metrics.neighbours import Floats, check_pair


def frechet_distance(*, real: npt.NDArray[Any], samples: npt.NDArray[Any]) -> float:
    """The squared Frechet distance of [N, D] and [M, D], in the features' unit squared; 0 is best.

    Covariances are divided by N - 1.  Biased upward, the more the fewer rows there are: see
    `enough_rows`.  The trace of the root is the sum of the roots of the eigenvalues of
    C_r^(1/2) C_s C_r^(1/2), which are those of C_r C_s, real and at least 0 also where a
    covariance is singular.
    Raises ValueError for sets of fewer than two rows, or of different sizes.
    """
    x, y = check_pair(real, samples)
    if len(x) < 2 or len(y) < 2:
        raise ValueError(f"a covariance of {min(len(x), len(y))} rows")
    shift = x.mean(axis=0) - y.mean(axis=0)
    ours, theirs = _covariance(x), _covariance(y)
    root = _root(ours)
    inner = root @ theirs @ root
    both = np.sqrt(np.linalg.eigvalsh((inner + inner.T) / 2).clip(min=0.0)).sum()
    return float(max(shift @ shift + np.trace(ours) + np.trace(theirs) - 2.0 * both, 0.0))


def enough_rows(*, rows: int, dimensions: int) -> bool:
    """Whether a covariance of so many dimensions is worth comparing: two rows for each, at least.

    With fewer than `dimensions` it is singular, and most of the distance is that.
    """
    return rows >= 2 * dimensions


def _covariance(rows: Floats) -> Floats:
    centred = rows - rows.mean(axis=0)
    return centred.T @ centred / (len(rows) - 1)


def _root(matrix: Floats) -> Floats:
    """The symmetric root of a symmetric matrix whose eigenvalues are at least 0."""
    values, vectors = np.linalg.eigh(matrix)
    root: Floats = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    return root
