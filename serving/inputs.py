"""The images that the offline verbs read: files, folders, zips, npz and idx, as a stream.

What is listed is not opened, and what is read is not kept: there may be millions.
"""

import gzip
import lzma
import math
import os
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
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
_GZIP: Final = b"\x1f\x8b"
_UNSIGNED_BYTE: Final = 8  # idx's number for it
_MAX_BYTES: Final = 2**29  # of a file: more than an uncompressed image of the most pixels has
_CHANNELS: Final = ((), (1,), (3,), (4,))  # of an array's images
_UNREADABLE: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError,
    RuntimeError, NotImplementedError, KeyError, struct.error,
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
    member: str = ""  # a zip's, by its name, or that of an npz or idx, by its row

    @property
    def path(self) -> str:
        """How it is called in answers: ARCHIVE/MEMBER.  Bytes that are no text are escaped."""
        path = f"{self.file}/{self.member}" if self.member else self.file
        return path.encode("utf-8", "backslashreplace").decode()


def listed(paths: Iterable[Path]) -> Iterator[Input]:
    """The images of these, in order: a folder's, those below it too, by name.

    Hidden files and folders are passed over, and idx files of labels that lie in a folder; a folder
    that cannot be listed stands for its images.
    Raises InputError for an archive that cannot be read.
    """
    for path in paths:
        if path.is_dir():
            yield from _in_folder(str(path))
        elif _is_archive(path.name) and path.exists() and not path.is_file():
            raise InputError(f"{path} is no regular file")  # to open a pipe may wait for ever
        elif path.suffix.lower() == ".zip":
            yield from _in_zip(path)
        elif path.suffix.lower() == ".npz":
            yield from _in_rows(path, _Npz)
        elif _is_idx(path.name):
            yield from _in_rows(path, _Idx)
        else:
            yield Input(str(path))


def _is_archive(name: str) -> bool:
    return Path(name).suffix.lower() in (".zip", ".npz") or _is_idx(name)


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
        with open(one.file, "rb", buffering=0, opener=_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):  # a pipe, or a device: it may have no end
                return "no regular file"
            _check_size(status.st_size)
            return reading(file.readall())
    except OSError as error:
        return error.strerror or str(error)
    except ServingError as error:
        return error.detail
    except _UNREADABLE as error:
        return str(next(iter(error.args), "")) or type(error).__name__


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


class _Rows:
    """Images uint8 [N, h, w] or [N, h, w, c] that lie in a file one after the other.

    They are read row by row: the array may be larger than memory.  Rows are quick to read in their
    order; to go back in a packed file is to unpack it from its beginning.
    """

    def __init__(self, file: Any, shape: Sequence[int]) -> None:
        if not 0 < (pixels := math.prod(shape[1:3])) <= MAX_PIXELS:  # unpacked, a row may be huge
            raise ValueError(f"its images have {pixels:,} pixels; the limit is {MAX_PIXELS:,}")
        self._file = file
        self.count, self._shape, self._start = shape[0], tuple(shape[1:]), file.tell()

    def read(self, member: str) -> Pixels:
        size = math.prod(self._shape)
        self._file.seek(self._start + int(member) * size)
        row: Pixels = np.frombuffer(self._file.read(size), np.uint8).reshape(self._shape)
        return row

    def close(self) -> None:
        self._file.close()


class _Npz(_Rows):
    """The first array of an npz that is called as images are."""

    def __init__(self, path: str) -> None:
        with ExitStack() as opened:
            self._zip = opened.enter_context(zipfile.ZipFile(path))
            members = [f"{name}.npy" for name in ARRAYS if f"{name}.npy" in self._zip.namelist()]
            if not members:
                raise ValueError(f"it has no array {' or '.join(ARRAYS)}")
            file: Any = opened.enter_context(self._zip.open(members[0]))
            version = np.lib.format.read_magic(file)
            if version not in _HEADERS:
                raise ValueError(f"an array of version {version}")
            shape, by_columns, dtype = _HEADERS[version](file)
            if dtype != np.uint8 or shape[3:] not in _CHANNELS or len(shape) < 3 or by_columns:
                raise ValueError(
                    f"its {members[0]} must be uint8 [N, h, w] or [N, h, w, c], c 1, 3 or 4, "
                    f"in C order, got {dtype} {list(shape)}"
                    f"{' in Fortran order' if by_columns else ''}"
                )
            super().__init__(file, shape)
            opened.pop_all()

    def close(self) -> None:
        super().close()
        self._zip.close()


class _Idx(_Rows):
    """An idx file of MNIST's layout, plain or gzipped: big-endian sizes, then bytes."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as begin:
            opening: Any = gzip.open if begin.read(len(_GZIP)) == _GZIP else open
        with ExitStack() as opened:
            file: Any = opened.enter_context(opening(path, "rb"))
            zeros, kind, axes = struct.unpack(">HBB", file.read(4).ljust(4, b"\xff"))
            if zeros or kind != _UNSIGNED_BYTE or axes not in (3, 4):
                raise ValueError("it holds no bytes [N, h, w] or [N, h, w, c]")
            shape = struct.unpack(f">{axes}I", file.read(4 * axes))
            if shape[3:] not in _CHANNELS:
                raise ValueError(f"images of {shape[3]} channels; it may have 1, 3 or 4")
            super().__init__(file, shape)
            opened.pop_all()


_held: Final = threading.local()  # the archive that this thread read from last, open


def _archive(path: str) -> _Archive:
    if getattr(_held, "path", None) != path:
        if hasattr(_held, "path"):
            del _held.path
            _held.archive.close()
        kind = _Npz if path.lower().endswith(".npz") else _Idx if _is_idx(path) else _Zip
        _held.archive = kind(path)
        _held.path = path
    archive: _Archive = _held.archive
    return archive


def _in_folder(top: str) -> Iterator[Input]:
    entered: list[tuple[str, list[str], set[str]]] = [("", [top], {top})]
    while entered:  # no recursion: folders may lie deeper than Python calls
        folder, names, folders = entered[-1]
        if not names:
            entered.pop()
            continue
        name = names.pop()
        path = os.path.join(folder, name)
        if name in folders:
            try:
                entered.append((path, *_names_in(path)))
            except OSError:
                yield Input(path)  # reading it will say why
        elif _is_idx(name):
            yield from _in_rows(Path(path), _Idx)
        else:
            yield Input(path)


def _names_in(folder: str) -> tuple[list[str], set[str]]:
    """Images and folders in this, the first name last, and which of them are folders."""
    names: list[str] = []  # and no more than the names: there may be millions
    folders: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.add(entry.name)
                names.append(entry.name)
            elif (_is_image(entry.name) or _is_idx_of_images(entry.name)) and _is_file(entry):
                names.append(entry.name)
    return sorted(names, reverse=True), folders


def _is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a file, or reading it will say why that cannot be told."""
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return True


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


def _in_rows(path: Path, kind: type[_Npz] | type[_Idx]) -> Iterator[Input]:
    try:
        archive = kind(str(path))
        archive.close()
    except (OSError, *_UNREADABLE) as error:
        called = kind.__name__.removeprefix("_").lower()
        raise InputError(f"{path} cannot be read as {called}: {error}") from error
    for row in range(archive.count):
        yield Input(str(path), str(row))


def _is_idx(name: str) -> bool:
    """Whether a file is called as MNIST's are."""
    return name.lower().removesuffix(".gz").endswith(("ubyte", ".idx"))


def _is_idx_of_images(name: str) -> bool:
    return _is_idx(name) and "labels" not in name


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in FOLDER_SUFFIXES


def _at_once(path: str, flags: int) -> int:
    """Open a file, and a pipe without waiting for somebody to write into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_size(size: int) -> None:
    if size > _MAX_BYTES:
        raise TooLarge(f"a file of {size:,} bytes; the most is {_MAX_BYTES:,}")
