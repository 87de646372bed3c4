"""Modes captured: how many of a known density's modes the samples reach, by three rules.

A mode is captured where it has at least a given part of its fair share of the samples within a
given distance.  The rule of Dumoulin et al. 2017 (ALI), arXiv:1606.00704, section 4.4, asks for one
sample that is nearer to it than to any other, at whatever distance.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from models.datasets.toy import Density


class Nearest:
    """The place of a density that each of some samples is nearest to."""

    def __init__(self, density: Density, samples: NDArray[Any]) -> None:
        """Look up samples [N, D].

        Distances are counted in deviations of the density, those of D numbers as if they were two:
        sqrt(2 / D) times the distance, so that thresholds for the plane fit vectors of any size.
        """
        distances, places = KDTree(density.places).query(samples)
        self.sigmas = distances * np.sqrt(2 / samples.shape[1]) / density.deviation  # [N]
        self.modes = density.modes[places]  # [N]
        self.fair = np.bincount(density.modes, weights=density.shares)  # [K]

    def captured(self, *, sigmas: float, part: float) -> int:
        """Modes with at least `part` of their fair share of all samples within so many sigmas."""
        near = self.modes[self.sigmas <= sigmas]
        found = np.bincount(near, minlength=len(self.fair)) / len(self.modes)
        return int((found >= part * self.fair).sum())

    def touched(self) -> int:
        """Modes with at least one sample, however far: ALI's rule."""
        return len(np.unique(self.modes))

    def share(self, *, sigmas: float) -> float:
        """Share of the samples within so many sigmas of a mode: those of high quality."""
        return float((self.sigmas <= sigmas).mean())
