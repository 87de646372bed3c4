"""Data that is always there: scikit-learn's 1,797 digits of 8x8 pixels."""

import numpy as np

from models.datasets.archive import from_arrays
from models.datasets.dataset import Dataset, Progress, Wanted
from models.errors import DataError
from serving.images import ImageSpec

BRIGHTEST = 16  # the set's grey levels are 0..16


def digits(path: str, spec: ImageSpec, wanted: Wanted, progress: Progress) -> Dataset:
    """UCI's optical recognition of handwritten digits, as scikit-learn ships it."""
    if wanted.split == "test":
        raise DataError(f"{path} has no test part")
    from sklearn.datasets import load_digits  # takes a second: only who asks for it waits

    found = load_digits()
    images = np.rint(found.images * (255 / BRIGHTEST)).astype(np.uint8)
    return from_arrays(images, found.target, spec, wanted, source="digits", progress=progress)
