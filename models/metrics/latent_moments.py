"""Mean and spread of the codes, dimension by dimension, beside what the prior has."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# Mean and standard deviation of one dimension of each prior.
PRIOR_MOMENTS = {"normal": (0.0, 1.0), "uniform": (0.0, 1.0 / math.sqrt(3.0))}


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentMoments:
    """Moments of E(x) over a set of images."""

    mean: npt.NDArray[np.float64]  # [Z]
    std: npt.NDArray[np.float64]  # [Z], divided by N, not by N - 1

    @property
    def mean_range(self) -> tuple[float, float]:
        """Smallest and largest mean of a dimension."""
        return float(self.mean.min()), float(self.mean.max())

    @property
    def std_range(self) -> tuple[float, float]:
        """Smallest and largest standard deviation of a dimension."""
        return float(self.std.min()), float(self.std.max())


def latent_moments(codes: npt.NDArray[Any]) -> LatentMoments:
    """Moments of codes [N, Z].  Raises ValueError for no codes or another number of axes."""
    if codes.ndim != 2 or not codes.size:
        raise ValueError(f"codes must be [N, Z] with N > 0, got {codes.shape}")
    exact = codes.astype(np.float64)
    return LatentMoments(mean=exact.mean(axis=0), std=exact.std(axis=0))
