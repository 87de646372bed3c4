"""Frames: images at their own sizes, which may be far larger than a model's, read one by one.

A folder or a .zip, as for images; in the MVTec layout ground_truth/KIND holds a mask for
each frame of test/KIND, under its name or its name and `_mask`.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.datasets import archive
from models.datasets.dataset import Dataset, Labels, Progress, Skipped, Split, Wanted, silent
from models.datasets.folder import MASKS, classes_of, is_image, part
from models.errors import DataError
from serving.errors import ServingError
from serving.images import FOLDER_FORMATS, ImageSpec, decode_frame, mirrored

Pixels = NDArray[np.uint8]

LIGHT: Final = 128  # a mask marks what is of this grey level or lighter


class Frames:
    """N frames of one part of some data, and what they are called.

    Args:
        names: Of the frames, below the folder they are from.
        read: The frame number i, uint8 [h, w, C].  Raises DataError if it cannot be read.
        mask: The mask of the frame of this name, [h, w], None where there is none.
    """

    def __init__(
        self,
        names: list[str],
        labels: Labels | None,
        classes: tuple[str, ...],
        read: Callable[[int], Pixels],
        mask: Callable[[str], NDArray[np.bool_] | None] = lambda name: None,
    ) -> None:
        self.names, self.labels, self.classes = names, labels, classes
        self.read = read
        self._mask = mask

    def __len__(self) -> int:
        return len(self.names)

    def mask(self, i: int) -> NDArray[np.bool_] | None:
        """What is defective of frame i, [h, w]; None where nobody says."""
        return self._mask(self.names[i])


def load(
    path: str, channels: int, *, split: Split = "train", classes: tuple[str, ...] | None = None
) -> Frames:
    """The frames of the data at `path`; their pixels are read when they are asked for.

    Raises DataError: nothing there, no such part, or data of another kind.
    """
    wanted, place = Wanted(split=split, classes=classes), Path(path)
    if place.is_dir():
        files = [file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file()]
        return _from_files(files, lambda name: (place / name).read_bytes(), path, channels, wanted)
    if not place.exists():
        raise DataError(f"no frames at {path!r}")
    if place.suffix.lower() == ".zip":
        return _from_zip(path, channels, wanted)
    raise DataError(f"{path}: frames are read from a folder or a .zip")


def crops(frames: Frames, spec: ImageSpec, count: int, *, progress: Progress = silent) -> Dataset:
    """`count` random parts of each frame, of the model's size and unshrunk; its number is a group.

    Where they are cut depends on the frame's pixels alone, so that the same frame gives the same
    parts wherever it lies.  A frame smaller than that goes on as its mirror image.
    Raises DataError where no frame can be read.
    """
    images: list[Pixels] = []
    groups: list[int] = []
    skipped: list[Skipped] = []
    for i, name in enumerate(frames.names):
        try:
            frame = mirrored(frames.read(i), spec.height, spec.width)
        except DataError as error:
            skipped.append(Skipped(name=name, reason=str(error)))
        else:
            images += _cut(frame, spec, count)
            groups += [i] * count
        progress(i + 1, len(frames))
    if not images:
        raise DataError(f"no frame can be read ({skipped[0].name}: {skipped[0].reason})")
    group = np.array(groups, np.int64)
    return Dataset(
        images=np.stack(images),
        labels=None if frames.labels is None else frames.labels[group],
        classes=frames.classes,
        groups=group,
        skipped=tuple(skipped),
    )


def _cut(frame: Pixels, spec: ImageSpec, count: int) -> Iterable[Pixels]:
    key = blake2b(repr(frame.shape).encode() + frame.tobytes(), digest_size=8).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    tops = rng.integers(0, frame.shape[0] - spec.height, count, endpoint=True)
    lefts = rng.integers(0, frame.shape[1] - spec.width, count, endpoint=True)
    return [
        frame[y : y + spec.height, x : x + spec.width] for y, x in zip(tops, lefts, strict=True)
    ]


def _from_files(
    files: list[str], read: Callable[[str], bytes], source: str, channels: int, wanted: Wanted
) -> Frames:
    images = sorted(name for name in files if is_image(name))
    names = part(images, wanted.split, source=source)
    labels, classes = classes_of(names, wanted.split)
    kept, labels, classes = wanted.select(len(names), labels, classes)
    names, known = [names[i] for i in kept], set(images)

    def decoded(name: str, channels: int) -> Pixels:
        try:
            return decode_frame(read(name), channels, formats=FOLDER_FORMATS)
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise DataError(str(error)) from error
        except ServingError as error:
            raise DataError(error.detail) from error

    def mask(name: str) -> NDArray[np.bool_] | None:
        below = PurePosixPath(name).relative_to(wanted.split) if "/" in name else None
        if below is None:
            return None
        for stem in (f"{below.stem}_mask", below.stem):
            for suffix in (".png", below.suffix):
                file = (PurePosixPath(MASKS) / below.parent / (stem + suffix)).as_posix()
                if file in known:
                    found: NDArray[np.bool_] = decoded(file, 1)[:, :, 0] >= LIGHT
                    return found
        return None

    return Frames(names, labels, classes, lambda i: decoded(names[i], channels), mask)


def _from_zip(path: str, channels: int, wanted: Wanted) -> Frames:
    try:
        opened = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as a zip: {error}") from error
    files = [info.filename for info in opened.infolist() if is_image(info.filename)]
    top = archive.single_top(files)
    short = [name.removeprefix(top) for name in files]
    return _from_files(short, lambda name: opened.read(top + name), path, channels, wanted)
