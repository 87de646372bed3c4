"""Archives: a .zip of an image folder, and .npz files of arrays."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.datasets.dataset import Dataset, Progress, Skipped, Split, collected
from models.datasets.folder import SUFFIXES, classes_of, decoded, part
from models.errors import DataError
from serving.images import ImageSpec, fit_array

KEYS = {
    "train": (("images", "train_images"), ("labels", "train_labels", "label", "train_label")),
    "test": (("test_images",), ("test_labels", "test_label")),
}


def load_zip(path: str, spec: ImageSpec, split: Split, progress: Progress) -> Dataset:
    """The images in a .zip, read as the folder it holds; a single top folder is looked through."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _from_zip(archive, path, spec, split, progress)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as a zip: {error}") from error


def _from_zip(
    archive: zipfile.ZipFile, path: str, spec: ImageSpec, split: Split, progress: Progress
) -> Dataset:
    files = sorted(
        info.filename
        for info in archive.infolist()
        if not info.is_dir() and PurePosixPath(info.filename).suffix.lower() in SUFFIXES
    )
    tops = {PurePosixPath(file).parts[0] for file in files}
    single = len(tops) == 1 and all("/" in file for file in files) and tops != {"train"}
    top = f"{next(iter(tops))}/" if single else ""
    chosen = part([file.removeprefix(top) for file in files], split, source=path)

    def items() -> Iterator[tuple[str, NDArray[np.uint8] | Skipped]]:
        for name in chosen:
            try:
                data = archive.read(top + name)
            except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
                # damaged, encrypted, or packed in a way this Python cannot undo
                yield name, Skipped(name=name, reason=str(error))
            else:
                yield name, decoded(data, name, spec)

    images, names, skipped = collected(
        items(), total=len(chosen), shape=spec.shape, source=path, progress=progress
    )
    labels, classes = classes_of(names, split)
    return Dataset(images=images, labels=labels, classes=classes, skipped=skipped)


def load_npz(path: str, spec: ImageSpec, split: Split, progress: Progress) -> Dataset:
    """The arrays `images` or `train_images` ([N, H, W] or [N, H, W, C] uint8) of an .npz."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            image_keys, label_keys = KEYS[split]
            key = next((k for k in image_keys if k in arrays), None)
            if key is None:
                wanted = " or ".join(image_keys)
                raise DataError(f"{path} has no {wanted}; it holds {', '.join(arrays)}")
            images = arrays[key]
            label_key = next((k for k in label_keys if k in arrays), None)
            labels = None if label_key is None else arrays[label_key]
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path} cannot be read as npz: {error}") from error
    fitted = fitted_arrays(images, spec, source=f"{key} in {path}", progress=progress)
    if labels is not None and len(labels) != len(fitted):
        raise DataError(f"{path} has {len(labels)} labels for {len(fitted)} images")
    if labels is None:
        return Dataset(images=fitted)
    names, numbers = np.unique(labels, return_inverse=True)
    return Dataset(
        images=fitted, labels=numbers.astype(np.int64), classes=tuple(str(n) for n in names)
    )


def fitted_arrays(
    images: NDArray[Any], spec: ImageSpec, *, source: str, progress: Progress
) -> NDArray[np.uint8]:
    """uint8 [N, h, w] or [N, h, w, c] brought to the model's size, [N, H, W, C]."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not len(images):
        raise DataError(
            f"{source} must be uint8 [N, H, W] or [N, H, W, C], got {images.dtype} {images.shape}"
        )
    fitted = np.empty((len(images), *spec.shape), np.uint8)
    for i, image in enumerate(images):
        try:
            fitted[i] = fit_array(image, spec)
        except ValueError as error:  # every image has the same shape, so none would fit
            raise DataError(f"{source} does not fit the model: {error}") from error
        progress(i + 1, len(images))
    return fitted
