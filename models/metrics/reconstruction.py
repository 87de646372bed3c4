"""How near a reconstruction is to its image, and how much nearer than another's."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]

WHITE: Final = 255.0
ROWS: Final = 1024  # images turned to floating point at once


def mean_absolute_error(*, images: Images, reconstructions: Images) -> float:
    """Mean |x - G(E(x))| / 255 over all images, pixels and channels; 0 is perfect, 1 the worst.

    Raises ValueError if the two differ in shape or are empty.
    """
    _check(images, reconstructions)
    total = sum(float(np.abs(d).sum()) for d in _differences(images, reconstructions))
    return total / images.size / WHITE


def mean_distance(*, images: Images, reconstructions: Images) -> float:
    """Mean over images of the L2 norm of (x - G(E(x))) / 255."""
    _check(images, reconstructions)
    total = sum(
        float(np.linalg.norm(d.reshape(len(d), -1), axis=1).sum())
        for d in _differences(images, reconstructions)
    )
    return total / len(images) / WHITE


def own_to_other_ratio(
    *, images: Images, reconstructions: Images, rng: np.random.Generator
) -> float:
    """Mean L2 distance to the own reconstruction over that to another image's.

    0: every image comes back; 1: the reconstruction says nothing of its image.  "Another" is one
    image each, never itself, drawn as a random cycle through all; a ratio of means, not a mean of
    ratios.  Images that are all alike and all come back have 1: nothing tells them apart.
    Raises ValueError for fewer than two images.
    """
    _check(images, reconstructions)
    if len(images) < 2:
        raise ValueError("the ratio needs at least two images: one has no other")
    cycle = rng.permutation(len(images))
    other = np.empty_like(cycle)
    other[cycle] = np.roll(cycle, 1)
    own = mean_distance(images=images, reconstructions=reconstructions)
    apart = mean_distance(images=images, reconstructions=reconstructions[other])
    return own / apart if apart else 1.0


def _check(images: Images, reconstructions: Images) -> None:
    if images.shape != reconstructions.shape or not images.size:
        raise ValueError(f"images {images.shape}, reconstructions {reconstructions.shape}")


def _differences(images: Images, reconstructions: Images) -> Iterator[npt.NDArray[np.float32]]:
    """x - G(E(x)) in grey levels, some images at a time."""
    for start in range(0, len(images), ROWS):
        part = slice(start, start + ROWS)
        yield images[part].astype(np.float32) - reconstructions[part].astype(np.float32)
