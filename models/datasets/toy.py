"""Densities whose modes are known, as vectors: narrow Gaussians in the plane, a roll, small scenes.

`ring`: 8 modes on a circle of radius 1; `double-ring`: 8 more at radius 2; `grid`: 25 modes on
{-2, -1, 0, 1, 2}^2; `swiss-roll`: a spiral of one turn and a half, whose modes are 20 stretches of
equal length.  All with standard deviation 0.01, as in the toy script of Sharma and Namboodiri 2018,
arXiv:1802.00771.  `heavy-centre`, after its set of traffic scenes: grey images of 16x16 as vectors
of 256 numbers, nine in ten the same empty scene, the rest with one of four objects on it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.dataset import Dataset
from models.errors import UnknownName

PREFIX: Final = "toy:"
POINTS: Final = 50_000
DEVIATION: Final = 0.01  # of each mode, in both axes
SIDE: Final = 16  # of a scene, in pixels
STRETCHES: Final = 20  # of the roll


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Density:
    """Places [P, D], around each of which points lie, and which mode [P] each belongs to."""

    places: NDArray[np.float64]
    modes: NDArray[np.int64]
    shares: NDArray[np.float64]  # [P], of the points
    deviation: float = DEVIATION  # of a point from its place, in every number

    def draw(self, count: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Points [N, D], and the mode of each, [N]."""
        if np.ptp(self.shares) == 0:
            chosen = rng.integers(len(self.places), size=count)
        else:
            chosen = rng.choice(len(self.places), size=count, p=self.shares)
        noise = rng.standard_normal((count, self.places.shape[1]))
        return self.places[chosen] + self.deviation * noise, self.modes[chosen]


def _of_centres(centres: NDArray[np.float64]) -> Density:
    count = len(centres)
    return Density(places=centres, modes=np.arange(count), shares=np.full(count, 1 / count))


def ring() -> Density:
    """8 centres on the unit circle."""
    return _of_centres(_circle(1.0))


def double_ring() -> Density:
    """The same, and 8 at radius 2."""
    return _of_centres(np.concatenate([_circle(1.0), _circle(2.0)]))


def grid() -> Density:
    """25 centres on a square lattice of spacing 1."""
    side = np.arange(-2.0, 3.0)
    return _of_centres(np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2))


def swiss_roll() -> Density:
    """2,000 places along r = 2 t / 4.5 pi for t from 1.5 pi to 4.5 pi, evenly by its length."""
    fine = np.linspace(1.5 * np.pi, 4.5 * np.pi, 100_001)
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(1, (fine[1:] + fine[:-1]) / 2))])
    count = 2000
    t = np.interp((np.arange(count) + 0.5) / count * lengths[-1], lengths, fine)
    radius = 2 * t / (4.5 * np.pi)
    return Density(
        places=np.stack([radius * np.cos(t), radius * np.sin(t)], axis=1),
        modes=np.arange(count) * STRETCHES // count,
        shares=np.full(count, 1 / count),
    )


def heavy_centre() -> Density:
    """The empty scene with 0.9 of the images, each object with 0.025; pixels in -1..1."""
    empty = np.repeat(np.linspace(-0.8, 0.0, SIDE)[:, None], SIDE, axis=1)  # dark above, grey below
    scenes = np.stack([empty] * 5)
    y, x = np.mgrid[:SIDE, :SIDE]
    scenes[1][(abs(y - 4) < 3) & (abs(x - 4) < 3)] = 0.9  # a square
    scenes[2][(y - 4.5) ** 2 + (x - 11) ** 2 < 9] = 0.9  # a disc
    scenes[3][(abs(y - 12) < 2) | (abs(x - 8) < 1)] = 0.9  # a cross
    scenes[4][abs(y - x - 4) < 2] = -1.0  # a dark stripe
    return Density(
        places=scenes.reshape(5, -1),
        modes=np.arange(5),
        shares=np.array([0.9, *[0.025] * 4]),
        deviation=0.02,
    )


def _circle(radius: float) -> NDArray[np.float64]:
    angles = np.arange(8) * (2 * np.pi / 8)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


DENSITIES: Final[Mapping[str, Callable[[], Density]]] = MappingProxyType(
    {
        "ring": ring,
        "double-ring": double_ring,
        "grid": grid,
        "swiss-roll": swiss_roll,
        "heavy-centre": heavy_centre,
    }
)


def find(name: str) -> Density:
    """The density called `name`.  Raises UnknownName, which lists the known ones."""
    if name not in DENSITIES:
        raise UnknownName("toy density", name, DENSITIES)
    return DENSITIES[name]()


def load(name: str) -> Dataset:
    """POINTS draws, the same every time; labels name the mode each one came from."""
    density = find(name)
    points, labels = density.draw(POINTS, np.random.Generator(np.random.Philox(key=0)))
    return Dataset(
        images=points.astype(np.float32),
        labels=labels.astype(np.int64),
        classes=tuple(str(mode) for mode in np.unique(density.modes)),
    )
