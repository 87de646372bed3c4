"""Distances between rows of features, some rows at a time, and balls around them."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestNeighbors

Floats = npt.NDArray[np.float64]

ROWS: Final = 512  # whose distances to all others are held at once


def flat(rows: npt.NDArray[Any]) -> Floats:
    """Features [N, ...] as float64 [N, D]: in float32, differences of large squares lose all."""
    return np.ascontiguousarray(rows.reshape(len(rows), -1), dtype=np.float64)


def squared_distances(a: Floats, b: Floats) -> Iterator[Floats]:
    """Squared Euclidean distances of [N, D] and [M, D], at least 0, as parts [ROWS, M] in order."""
    for start in range(0, len(a), ROWS):
        part = euclidean_distances(a[start : start + ROWS], b, squared=True)
        if a is b:  # rounding leaves a row a little away from itself
            rows = np.arange(len(part))
            part[rows, start + rows] = 0.0
        yield part


def radii(rows: Floats, k: int) -> Floats:
    """The distance of each row to its k-th nearest other row, [N].

    Raises ValueError unless there are more than k rows.
    """
    if not 1 <= k < len(rows):
        raise ValueError(f"{len(rows)} rows have no {k} neighbours each")
    distances: Floats = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(rows).kneighbors()[0]
    return distances[:, -1]


def balls_around(
    *, centres: Floats, radius: Floats, points: Floats
) -> Iterator[npt.NDArray[np.bool_]]:
    """Which balls hold which points: parts [ROWS, N] of the points in order, for N balls.

    A ball holds what lies on its edge; a part in 10^9 is allowed for rounding.
    """
    reach = np.square(radius) * (1.0 + 1e-9) + 1e-12
    for part in squared_distances(points, centres):
        yield part <= reach


def check_pair(real: npt.NDArray[Any], samples: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Both as [N, D] and [M, D].  Raises ValueError for an empty set, or different sizes."""
    if not len(real) or not len(samples):
        raise ValueError(f"{len(real)} real rows and {len(samples)} samples")
    x, y = flat(real), flat(samples)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"real rows of {x.shape[1]} features, samples of {y.shape[1]}")
    return x, y
