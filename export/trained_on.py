"""Which images a model was trained on, known by 8-byte hashes: calibration must use others.

A run has them in hashes.npy; a bundle in the file that `training.hashes` of its manifest names,
unsigned 8-byte integers in ascending order.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.datasets import Dataset
from models.training.loop import HASHES
from serving.bundle import Bundle
from serving.errors import BundleError

Hashes = npt.NDArray[np.uint64]

FILE: Final = "hashes.npy"  # in a bundle


def of_run(run: Path) -> Hashes | None:
    """The hashes in a run directory; None where it has none, as runs of before have not."""
    try:
        return _read(run / HASHES)
    except (OSError, ValueError, EOFError):  # a kill may have cut it short
        return None


def of_bundle(opened: Bundle) -> Hashes | None:
    """The hashes that a bundle carries; None where its manifest names no file of them.

    Raises BundleError if it names one that is not there, or is none.
    """
    training = opened.manifest.extra.get("training")
    name = training.get("hashes") if isinstance(training, dict) else None
    if name is None:
        return None
    file = opened.path / str(name)
    if file.parent != opened.path:
        raise BundleError(f"training.hashes is {name!r}, which is no file of the bundle")
    try:
        return _read(file)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(f"{file} cannot be read: {error}") from error


def write(hashes: Hashes, folder: Path, described: dict[str, Any]) -> None:
    """Put the hashes into a bundle's folder, and their file's name into its manifest."""
    np.save(folder / FILE, hashes.astype("<u8"))
    described["training"] = {**described.get("training", {}), "hashes": FILE}


def count_among(images: Dataset, hashes: Hashes) -> int:
    """How many of the images were trained on."""
    return int(np.isin(images.hashes(), hashes).sum())


def _read(file: Path) -> Hashes:
    with file.open("rb") as opened:
        found: npt.NDArray[Any] = np.lib.format.read_array(opened, allow_pickle=False)
    if found.ndim != 1 or found.dtype.kind != "u" or found.dtype.itemsize != 8:
        raise ValueError(f"it holds {found.dtype} {list(found.shape)}, not 8-byte hashes")
    return found.astype(np.uint64)
