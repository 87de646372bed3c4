"""idx files, the format of MNIST: big-endian sizes, then raw bytes; plain or gzipped."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets.archive import from_arrays
from models.datasets.dataset import Dataset, Progress, Split, Wanted
from models.errors import DataError
from serving.images import ImageSpec

UNSIGNED_BYTE = 8
PREFIXES: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("t10k", "test")}


def is_idx_name(name: str) -> bool:
    """Whether a file's name is that of an idx file."""
    return name.lower().removesuffix(".gz").endswith(("ubyte", ".idx"))


def is_idx_folder(path: Path) -> bool:
    """Whether a folder holds image files in the MNIST layout."""
    return any(is_idx_name(file.name) and "images" in file.name for file in path.iterdir())


def load_folder(path: str, spec: ImageSpec, wanted: Wanted, progress: Progress) -> Dataset:
    """A folder in the MNIST layout: train-images..., t10k-images... and labels beside them."""
    prefixes = PREFIXES[wanted.split]
    files = sorted(file for file in Path(path).iterdir() if is_idx_name(file.name))
    own = [file for file in files if file.name.startswith(prefixes)]
    images = next((file for file in own if "images" in file.name), None)
    if images is None:
        raise DataError(f"{path} has no {wanted.split} part: no {prefixes[0]}-images file")
    return _load(images, spec, wanted, progress)


def load_file(path: str, spec: ImageSpec, wanted: Wanted, progress: Progress) -> Dataset:
    """One idx file of images, with the labels beside it where they are."""
    if wanted.split == "test":
        raise DataError(f"{path} has no test part: name the folder that holds both parts")
    return _load(Path(path), spec, wanted, progress)


def _load(file: Path, spec: ImageSpec, wanted: Wanted, progress: Progress) -> Dataset:
    beside = file.with_name(file.name.replace("images", "labels").replace("idx3", "idx1"))
    labels = read(beside) if beside != file and beside.exists() else None
    return from_arrays(read(file), labels, spec, wanted, source=str(file), progress=progress)


def read(file: Path) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes.  Raises DataError."""
    try:
        raw = file.read_bytes()
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != UNSIGNED_BYTE or data[3] == 0:
        raise DataError(f"{file} is no idx file of unsigned bytes")
    axes = data[3]
    body = 4 + 4 * axes
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes))
    if len(data) != body + int(np.prod(shape, dtype=object)):
        raise DataError(f"{file} says shape {shape} but holds {max(len(data) - body, 0)} bytes")
    return np.frombuffer(data, np.uint8, offset=body).reshape(shape)
