"""1-NN two-sample accuracy: can the nearest neighbour tell samples from real images?

Lopez-Paz and Oquab 2017, arXiv:1610.06545, with k = 1 and leave-one-out; Xu et al. 2018,
arXiv:1806.07755, section 3, report the two halves apart, because they fail apart.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from models.metrics.neighbours import check_pair


class TwoSample(NamedTuple):
    """Shares of rows whose nearest other row is of their own kind, in 0 .. 1; .5 is best.

    Near 1: the two can be told apart.  `samples` near 1 with `real` low: samples crowd together,
    as after mode collapse.  Both below .5: the samples are copies of the real ones.
    """

    real: float
    samples: float

    @property
    def both(self) -> float:
        """The accuracy over all rows."""
        return (self.real + self.samples) / 2


def two_sample_accuracy(*, real: npt.NDArray[Any], samples: npt.NDArray[Any]) -> TwoSample:
    """Leave-one-out 1-NN accuracies of two sets of equal size, features [N, ...] each.

    Euclidean distance in float64; of equally near rows any may count, but never the row itself:
    a row and its copy are each other's neighbours.
    Raises ValueError for sets of different sizes: the ideal would not be .5.
    """
    x, y = check_pair(real, samples)
    if len(x) != len(y):
        raise ValueError(f"{len(x)} real rows and {len(y)} samples: as many of both are needed")
    nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(np.concatenate([x, y]))
    found = nearest.kneighbors(return_distance=False)[:, 0] < len(x)
    return TwoSample(real=float(found[: len(x)].mean()), samples=float((~found[len(x) :]).mean()))
