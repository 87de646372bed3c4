"""The images that the offline verbs read: files, folders, zips and npz archives, as a stream.

What is listed is not opened, and what is read is not kept: there may be millions.
"""

import lzma
import math
import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from serving.errors import InputError, ServingError, TooLarge
from serving.images import (
    FOLDER_FORMATS,
    FOLDER_SUFFIXES,
    MAX_PIXELS,
    ImageSpec,
    Pixels,
    decode,
    decode_frame,
    fit_array,
)

Reading = Callable[[bytes | Pixels], Pixels]  # of a file's bytes, or of the pixels in an archive

ARRAYS: Final = ("images", "train_images")  # of an npz, the first that it has
_MAX_BYTES: Final = 2**29  # of a file: more than an uncompressed image of the most pixels has
_CHANNELS: Final = ((), (1,), (3,), (4,))  # of an array's images
_UNREADABLE: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError,
    RuntimeError, NotImplementedError, KeyError,
)  # fmt: skip  # damaged, encrypted, packed in an unknown way, or another archive than was listed


_HEADERS: Final[Mapping[tuple[int, int], Callable[[Any], Any]]] = MappingProxyType(
    {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
)


class Input(NamedTuple):
    """One image: a file, or a member of an archive."""

    file: str
    member: str = ""  # a zip's, by its name, or an npz's, by its row

    @property
    def path(self) -> str:
        """How it is called in answers: ARCHIVE/MEMBER.  Bytes that are no text are escaped."""
        path = f"{self.file}/{self.member}" if self.member else self.file
        return path.encode("utf-8", "backslashreplace").decode()


def listed(paths: Iterable[Path]) -> Iterator[Input]:
    """The images of these, in order: a folder's, those below it too, by name.

    Hidden files and folders are passed over; a folder that cannot be listed stands for its images.
    Raises InputError for an archive that cannot be read.
    """
    for path in paths:
        if path.is_dir():
            yield from _in_folder(str(path))
        elif path.suffix.lower() == ".zip":
            yield from _in_zip(path)
        elif path.suffix.lower() == ".npz":
            yield from _in_npz(path)
        else:
            yield Input(str(path))


def fitted(spec: ImageSpec) -> Reading:
    """Images at a model's size."""

    def reading(found: bytes | Pixels) -> Pixels:
        if isinstance(found, bytes):
            return decode(found, spec, formats=FOLDER_FORMATS)
        return fit_array(found, spec)

    return reading


def at_own_size(channels: int) -> Reading:
    """Images as large as they are."""

    def reading(found: bytes | Pixels) -> Pixels:
        if isinstance(found, bytes):
            return decode_frame(found, channels, formats=FOLDER_FORMATS)
        height, width = found.shape[:2]
        return fit_array(found, ImageSpec(height=height, width=width, channels=channels))

    return reading


def read(one: Input, reading: Reading) -> Pixels | str:
    """The image as uint8 [H, W, C], or why it cannot be read."""
    try:
        if one.member:
            return reading(_archive(one.file).read(one.member))
        with open(one.file, "rb", buffering=0) as file:
            _check_size(os.fstat(file.fileno()).st_size)
            return reading(file.readall())
    except OSError as error:
        return error.strerror or str(error)
    except ServingError as error:
        return error.detail
    except _UNREADABLE as error:
        return str(error) or type(error).__name__


class _Archive(Protocol):
    def read(self, member: str) -> bytes | Pixels: ...

    def close(self) -> None: ...


class _Zip:
    def __init__(self, path: str) -> None:
        self._zip = zipfile.ZipFile(path)

    def names(self) -> set[str]:
        return {info.filename for info in self._zip.infolist() if not info.is_dir()}

    def read(self, member: str) -> bytes:
        info = self._zip.getinfo(member)
        _check_size(info.file_size)
        return self._zip.read(info)

    def close(self) -> None:
        self._zip.close()


class _Npz:
    """Images uint8 [N, h, w] or [N, h, w, c], read row by row: the array may be larger than memory.

    Rows are quick to read in their order; to go back is to unpack the archive from its beginning.
    """

    def __init__(self, path: str) -> None:
        self._zip = zipfile.ZipFile(path)
        self._file: Any = None  # typeshed's has no seek
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        members = [f"{name}.npy" for name in ARRAYS if f"{name}.npy" in self._zip.namelist()]
        if not members:
            raise ValueError(f"it has no array {' or '.join(ARRAYS)}")
        self._file = self._zip.open(members[0])
        version = np.lib.format.read_magic(self._file)
        if version not in _HEADERS:
            raise ValueError(f"an array of version {version}")
        shape, by_columns, dtype = _HEADERS[version](self._file)
        if dtype != np.uint8 or shape[3:] not in _CHANNELS or len(shape) < 3 or by_columns:
            raise ValueError(
                f"its {members[0]} must be uint8 [N, h, w] or [N, h, w, c], c 1, 3 or 4, "
                f"in C order, got {dtype} {list(shape)}"
                f"{' in Fortran order' if by_columns else ''}"
            )
        if not 0 < (pixels := math.prod(shape[1:3])) <= MAX_PIXELS:  # unpacked, a row may be huge
            raise ValueError(f"its images have {pixels:,} pixels; the limit is {MAX_PIXELS:,}")
        self.count, self._shape, self._start = shape[0], shape[1:], self._file.tell()

    def read(self, member: str) -> Pixels:
        size = math.prod(self._shape)
        self._file.seek(self._start + int(member) * size)
        row: Pixels = np.frombuffer(self._file.read(size), np.uint8).reshape(self._shape)
        return row

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._zip.close()


_held: Final = threading.local()  # the archive that this thread read from last, open


def _archive(path: str) -> _Archive:
    if getattr(_held, "path", None) != path:
        if hasattr(_held, "path"):
            del _held.path
            _held.archive.close()
        _held.archive = _Npz(path) if path.lower().endswith(".npz") else _Zip(path)
        _held.path = path
    archive: _Archive = _held.archive
    return archive


def _in_folder(folder: str) -> Iterator[Input]:
    names: list[str] = []  # and no more than the names: there may be millions
    folders: set[str] = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.add(entry.name)
                    names.append(entry.name)
                elif _is_image(entry.name) and entry.is_file():
                    names.append(entry.name)
    except OSError:
        yield Input(folder)  # reading it will say why
        return
    for name in sorted(names):
        path = os.path.join(folder, name)
        if name in folders:
            yield from _in_folder(path)
        else:
            yield Input(path)


def _in_zip(path: Path) -> Iterator[Input]:
    try:
        archive = _Zip(str(path))
        names = archive.names()
        archive.close()
    except (OSError, *_UNREADABLE) as error:
        raise InputError(f"{path} cannot be read as a zip: {error}") from error
    for name in sorted(names):
        # What macOS packs beside the images is called __MACOSX.
        hidden = any(piece.startswith((".", "__")) for piece in PurePosixPath(name).parts)
        if _is_image(name) and not hidden:
            yield Input(str(path), name)


def _in_npz(path: Path) -> Iterator[Input]:
    try:
        archive = _Npz(str(path))
        archive.close()
    except (OSError, *_UNREADABLE) as error:
        raise InputError(f"{path} cannot be read as npz: {error}") from error
    for row in range(archive.count):
        yield Input(str(path), str(row))


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in FOLDER_SUFFIXES


def _check_size(size: int) -> None:
    if size > _MAX_BYTES:
        raise TooLarge(f"a file of {size:,} bytes; the most is {_MAX_BYTES:,}")
