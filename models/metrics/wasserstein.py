"""Wasserstein distance: how far samples must be moved to lie where the real ones do.

W1(P, Q) = min over couplings of E |x - y|, with the Euclidean distance: exactly, by linear
programming (Bonneel et al. 2011, as in POT), and along random directions, where sorting does it
(Rabin et al. 2011; Bonneel et al. 2015, definition 4).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import wasserstein_distance

from models.metrics.neighbours import check_pair


def exact_wasserstein(*, real: npt.NDArray[Any], samples: npt.NDArray[Any]) -> float:
    """W1 between the two sets, in the features' unit; 0 for equal sets, however ordered.

    Memory grows with N x M and time faster: for subsets of some thousand.  Even two sets from
    one distribution are apart, in many dimensions far apart: compare with real against real of
    the same sizes, not with 0.

    Args:
        real, samples: Features [N, ...] and [M, ...].
    Raises:
        ValueError: an empty set, or rows of different sizes.
    """
    import ot  # takes a second: only who asks for it waits

    x, y = check_pair(real, samples)
    costs = ot.dist(x, y, metric="euclidean")
    return float(ot.emd2([], [], costs, numItermax=10_000_000))


def sliced_wasserstein(
    *, real: npt.NDArray[Any], samples: npt.NDArray[Any], directions: int = 128, seed: int = 0
) -> float:
    """Mean over random directions of the W1 of both sets' projections, in the features' unit.

    At most the exact W1; in D dimensions a shift by a vector v gives about |v| sqrt(2 / (pi D)).

    Args:
        real, samples: Features [N, ...] and [M, ...], in any numbers.
        directions: How many, uniform on the sphere, drawn with `seed`.
    Raises:
        ValueError: an empty set, rows of different sizes, or no direction.
    """
    x, y = check_pair(real, samples)
    if directions < 1:
        raise ValueError(f"at least one direction is needed, got {directions}")
    rng = np.random.Generator(np.random.Philox(key=seed))
    axes = rng.standard_normal((directions, x.shape[1]))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    ours, theirs = x @ axes.T, y @ axes.T
    return float(
        np.mean([wasserstein_distance(ours[:, i], theirs[:, i]) for i in range(directions)])
    )
