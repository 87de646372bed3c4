"""The linear baseline: principal components, the best linear encoder and decoder there is.

For squared error no linear pair with as many numbers per image does better on the images it was
fitted to (Eckart and Young 1936), so a network that does worse has learned nothing of use.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

Images = npt.NDArray[np.uint8]

ROWS: Final = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearPair:
    """An encoder and a decoder of `size` numbers per image, fitted to images of one shape."""

    fitted: PCA
    shape: tuple[int, ...]  # of one image, or of a vector

    @property
    def size(self) -> int:
        """Numbers per code."""
        return int(self.fitted.n_components_)

    def encode(self, images: Images) -> npt.NDArray[np.float32]:
        """uint8 [N, ...] to codes [N, size]."""
        parts = [self.fitted.transform(_flat(images[i : i + ROWS])) for i in _starts(images)]
        return np.concatenate(parts)

    def decode(self, codes: npt.NDArray[np.float32]) -> Images:
        """Codes [N, size] to images uint8 [N, ...]: rounded and clipped, as a client gets them.

        Codes of vectors come back as float32 [N, D].
        """
        if len(self.shape) == 1:
            vectors: Images = self.fitted.inverse_transform(codes)
            return vectors
        images = np.empty((len(codes), *self.shape), np.uint8)
        for i in _starts(codes):
            flat = self.fitted.inverse_transform(codes[i : i + ROWS]) * 255.0
            images[i : i + ROWS] = np.rint(flat).clip(0.0, 255.0).reshape(-1, *self.shape)
        return images


def fit(images: Images, *, size: int, seed: int = 0) -> LinearPair:
    """PCA of images uint8 [N, ...] with `size` components, fewer where N or the pixels are.

    Vectors float32 [N, D] are taken as they are.

    Exact up to 4,096 numbers per image; above that by the randomised method of Halko et al. 2011,
    arXiv:0909.4061, with `seed`.
    """
    if len(images) < 2:
        raise ValueError(f"PCA needs at least two images, got {len(images)}")
    flat = _flat(images)
    solver = "covariance_eigh" if flat.shape[1] <= 4096 else "randomized"
    components = min(size, *flat.shape)
    fitted = PCA(components, svd_solver=solver, random_state=seed).fit(flat)
    return LinearPair(fitted=fitted, shape=images.shape[1:])


def _starts(rows: npt.NDArray[Any]) -> range:
    """Where each lot of rows begins: all pixels at once in floating point may not fit."""
    return range(0, len(rows), ROWS)


def _flat(images: Images) -> npt.NDArray[np.float32]:
    if images.ndim == 2:
        return images.astype(np.float32)
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255.0)
