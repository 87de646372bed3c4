"""Densities whose modes are known: 2-D mixtures of narrow Gaussians.

`ring`: 8 modes on a circle of radius 1; `grid`: 25 modes on {-2, -1, 0, 1, 2}^2; both with
standard deviation 0.01, as in the toy script of Sharma and Namboodiri 2018, arXiv:1802.00771.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.dataset import Dataset
from models.errors import UnknownName

PREFIX: Final = "toy:"
POINTS: Final = 50_000
DEVIATION: Final = 0.01  # of each mode, in both axes


def ring() -> NDArray[np.float64]:
    """Centres [8, 2] on the unit circle."""
    angles = np.arange(8) * (2 * np.pi / 8)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def grid() -> NDArray[np.float64]:
    """Centres [25, 2] on a square lattice of spacing 1."""
    side = np.arange(-2.0, 3.0)
    return np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)


CENTRES: Final[Mapping[str, Callable[[], NDArray[np.float64]]]] = MappingProxyType(
    {"ring": ring, "grid": grid}
)


def load(name: str) -> Dataset:
    """POINTS draws, the same every time; labels name the mode each one came from."""
    if name not in CENTRES:
        raise UnknownName("toy density", name, CENTRES)
    centres = CENTRES[name]()
    rng = np.random.Generator(np.random.Philox(key=0))
    labels = rng.integers(len(centres), size=POINTS)
    points = centres[labels] + DEVIATION * rng.standard_normal((POINTS, 2))
    return Dataset(
        images=points.astype(np.float32),
        labels=labels.astype(np.int64),
        classes=tuple(str(i) for i in range(len(centres))),
    )
