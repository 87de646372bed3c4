"""A folder of images; sub-folders are classes, `train/` and `test/` are parts where both are there.

The MVTec layout is the same tree: train/good, test/good, test/KIND, and ground_truth/KIND, which
holds masks and is never read as images.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from models.datasets.dataset import Dataset, Labels, Progress, Skipped, Split, Wanted, collected
from models.errors import DataError
from serving.cores import usable_cores
from serving.errors import ServingError
from serving.images import FOLDER_FORMATS, FOLDER_SUFFIXES, ImageSpec, decode

MASKS = "ground_truth"
AT_ONCE = 256  # files in flight: bounds memory, keeps every core decoding


def load(path: str, spec: ImageSpec, wanted: Wanted, progress: Progress) -> Dataset:
    """The images below a folder, in the order of their names."""
    root = Path(path)
    files = sorted(
        name
        for file in root.rglob("*")
        if is_image(name := file.relative_to(root).as_posix()) and file.is_file()
    )
    chosen = part(files, wanted.split, source=path)
    labels, classes = classes_of(chosen, wanted.split)
    kept, labels, classes = wanted.select(len(chosen), labels, classes)
    chosen = [chosen[i] for i in kept]
    with ThreadPoolExecutor(usable_cores()) as pool:
        items = (
            item
            for start in range(0, len(chosen), AT_ONCE)
            for item in pool.map(
                lambda name: _read(root / name, name, spec), chosen[start : start + AT_ONCE]
            )
        )
        images, read, skipped = collected(
            items, total=len(chosen), shape=spec.shape, source=path, progress=progress
        )
    labels = None if labels is None else labels[read]
    return Dataset(images=images, labels=labels, classes=classes, skipped=skipped)


def is_image(name: str) -> bool:
    """Whether a file may be an image by its name; hidden and __MACOSX files never are."""
    path = PurePosixPath(name)
    hidden = any(piece.startswith((".", "__")) for piece in path.parts)
    return path.suffix.lower() in FOLDER_SUFFIXES and not hidden


def part(files: Sequence[str], split: Split, *, source: str) -> list[str]:
    """The files of one part: all of them as "train" where the data has no parts.

    Raises DataError for data without files, or without a test part.
    """
    if not files:
        raise DataError(f"{source} holds no images ({', '.join(sorted(FOLDER_SUFFIXES))})")
    tops = {PurePosixPath(file).parts[0] for file in files if "/" in file}
    if "train" not in tops:
        if split == "test":
            raise DataError(f"{source} has no test part")
        return [file for file in files if PurePosixPath(file).parts[0] != MASKS]
    chosen = [file for file in files if PurePosixPath(file).parts[0] == split]
    if not chosen:
        raise DataError(f"{source} has no {split} part")
    return chosen


def classes_of(names: Sequence[str], split: Split) -> tuple[Labels | None, tuple[str, ...]]:
    """Labels [N] and class names from the folder each file lies in; (None, ()) without folders."""
    folders = [PurePosixPath(name).parent.parts for name in names]
    if all(parts and parts[0] == split for parts in folders):
        folders = [parts[1:] for parts in folders]
    own = ["/".join(parts) for parts in folders]
    if not all(own):
        return None, ()
    classes = tuple(sorted(set(own)))
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[name] for name in own], np.int64), classes


def decoded(data: bytes, name: str, spec: ImageSpec) -> NDArray[np.uint8] | Skipped:
    """One image at the model's size, or why it cannot be read."""
    try:
        return decode(data, spec, formats=FOLDER_FORMATS)
    except ServingError as error:
        return Skipped(name=name, reason=str(error))


def _read(file: Path, name: str, spec: ImageSpec) -> NDArray[np.uint8] | Skipped:
    try:
        data = file.read_bytes()
    except OSError as error:
        return Skipped(name=name, reason=error.strerror or str(error))
    return decoded(data, name, spec)
