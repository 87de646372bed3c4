"""Archives: a .zip of an image folder, and .npz files of arrays."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.datasets.dataset import Dataset, Progress, Skipped, Split, Wanted, collected, numbered
from models.datasets.folder import classes_of, decoded, is_image, part
from models.errors import DataError, NoGroups
from serving.errors import ServingError
from serving.images import ImageSpec, fit_array

KEYS: dict[Split, tuple[str, ...]] = {"train": ("images", "train_images"), "test": ("test_images",)}
LABELS: dict[Split, tuple[str, ...]] = {
    "train": ("labels", "train_labels", "label", "train_label", "y"),
    "test": ("test_labels", "test_label"),
}


def load_zip(path: str, spec: ImageSpec, wanted: Wanted, progress: Progress) -> Dataset:
    """The images in a .zip, read as the folder it holds; a single top folder is looked through."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _from_zip(archive, path, spec, wanted, progress)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as a zip: {error}") from error


def _from_zip(
    archive: zipfile.ZipFile, path: str, spec: ImageSpec, wanted: Wanted, progress: Progress
) -> Dataset:
    files = sorted(info.filename for info in archive.infolist() if is_image(info.filename))
    top = single_top(files)
    chosen = part([file.removeprefix(top) for file in files], wanted.split, source=path)
    labels, classes = classes_of(chosen, wanted.split)
    kept, labels, classes = wanted.select(len(chosen), labels, classes)

    def items() -> Iterator[NDArray[np.uint8] | Skipped]:
        for name in (chosen[i] for i in kept):
            try:
                data = archive.read(top + name)
            except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
                # damaged, encrypted, or packed in a way this Python cannot undo
                yield Skipped(name=name, reason=str(error))
            else:
                yield decoded(data, name, spec)

    images, read, skipped = collected(
        items(), total=len(kept), shape=spec.shape, source=path, progress=progress
    )
    labels = None if labels is None else labels[read]
    return Dataset(images=images, labels=labels, classes=classes, skipped=skipped)


def single_top(files: Sequence[str]) -> str:
    """The one folder that all these files lie in, with its slash; "" where there is none such."""
    tops = {PurePosixPath(file).parts[0] for file in files}
    single = len(tops) == 1 and all("/" in file for file in files) and tops != {"train"}
    return f"{next(iter(tops))}/" if single else ""


def load_npz(path: str, spec: ImageSpec, wanted: Wanted, progress: Progress) -> Dataset:
    """The arrays `images` or `train_images` ([N, H, W] or [N, H, W, C] uint8) of an .npz."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            image_keys, label_keys = KEYS[wanted.split], LABELS[wanted.split]
            key = next((k for k in image_keys if k in arrays), None)
            if key is None:
                names = " or ".join(image_keys)
                raise DataError(f"{path} has no {names}; it holds {', '.join(arrays)}")
            images = arrays[key]
            label_key = next((k for k in label_keys if k in arrays), None)
            labels = None if label_key is None else arrays[label_key]
            groups = None
            if wanted.group is not None and wanted.split == "train":
                if wanted.group not in arrays:
                    raise NoGroups(path, wanted.group, f"it holds {', '.join(arrays)}")
                groups = arrays[wanted.group]
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path} cannot be read as npz: {error}") from error
    return from_arrays(images, labels, spec, wanted, groups=groups, source=path, progress=progress)


def from_arrays(
    images: NDArray[Any],
    labels: NDArray[Any] | None,
    spec: ImageSpec,
    wanted: Wanted,
    *,
    groups: NDArray[Any] | None = None,
    source: str,
    progress: Progress,
) -> Dataset:
    """The wanted ones of uint8 images [N, h, w] or [N, h, w, c], at the model's size.

    Raises DataError for other arrays, and for labels or groups that are not one per image.
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size:
        raise DataError(
            f"{source} must hold uint8 [N, H, W] or [N, H, W, C], "
            f"got {images.dtype} {list(images.shape)}"
        )
    count = len(images)
    numbers, classes = (None, ()) if labels is None else numbered(labels, count, source)
    group = None if groups is None else numbered(groups, count, source, what="groups")[0]
    kept, numbers, classes = wanted.select(count, numbers, classes)
    fitted = np.empty((len(kept), *spec.shape), np.uint8)
    for row, place in enumerate(kept):
        try:
            fitted[row] = fit_array(images[place], spec)
        except ServingError as error:  # every image has the same shape, so none would fit
            raise DataError(f"{source} does not fit the model: {error.detail}") from error
        progress(row + 1, len(kept))
    group = None if group is None else group[kept]
    return Dataset(images=fitted, labels=numbers, classes=classes, groups=group)
