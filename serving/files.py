"""What the offline verbs write: figures and pictures, in the format that the file's name says.

A file is written under a temporary name and renamed, so it is whole or absent.
"""

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from serving import rendering
from serving.images import Pixels

Array = npt.NDArray[Any]
FIGURES: Final = (".npy", ".npz", ".json", ".csv", ".parquet")
PICTURES: Final = (".png", ".webp", ".gif", ".zip", ".npy", ".npz")


class WrongOutput(ValueError):
    """Nothing can be written there, said in one sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Results with one row per image."""

    name: str  # of the main array
    main: Array  # [N] or [N, K]: what .npy holds
    columns: Mapping[str, Sequence[Any] | Array]  # N each: what a table holds
    document: Mapping[str, Any]  # what JSON holds

    def to_json(self) -> bytes:
        return orjson.dumps(self.document, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"


def check_figures(out: Path) -> None:
    """Raises WrongOutput unless figures can be written to `out`."""
    _check_suffix(out, FIGURES)
    if out.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise WrongOutput(
            "for .parquet install pyarrow: in the clone, "
            "pip install --constraint constraints.txt '.[bulk]'"
        )


def check_pictures(out: Path) -> None:
    """Raises WrongOutput unless pictures can be written to `out`."""
    if out.suffix:
        _check_suffix(out, PICTURES)
    elif out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise WrongOutput(f"{out} is there already, and is not an empty folder")


def write_figures(out: Path, figures: Figures) -> None:
    """Write them in the format of `out`'s name."""
    writers: dict[str, Callable[[Path], Any]] = {
        ".npy": lambda path: path.write_bytes(rendering.npy(figures.main)),
        ".npz": lambda path: _write_npz(path, figures),
        ".json": lambda path: path.write_bytes(figures.to_json()),
        ".csv": lambda path: path.write_text(_csv(figures.columns), encoding="utf-8"),
        ".parquet": lambda path: _write_parquet(path, figures.columns),
    }
    with _whole(out) as path:
        writers[out.suffix.lower()](path)


def write_pictures(
    out: Path, images: Pixels, *, moving: bool = False, fps: float = 12, names: Sequence[str] = ()
) -> None:
    """Write images [N, H, W, C]: .png is a grid, .webp and .gif move if they are `moving`.

    A name without a suffix is a folder, with a PNG per image, called `names` or 0000.png ...
    """
    suffix = out.suffix.lower()
    with _whole(out) as path:
        if not suffix:
            path.mkdir()
            for i, image in enumerate(images):
                (path / (names[i] if names else f"{i:04}.png")).write_bytes(rendering.png(image))
        elif suffix == ".npz":
            _save_npz(path, {"images": images})
        else:
            path.write_bytes(_picture(suffix, images, moving, fps))


def _picture(suffix: str, images: Pixels, moving: bool, fps: float) -> bytes:
    if suffix == ".npy":
        return rendering.npy(images)
    if suffix == ".zip":
        return rendering.zip_of_png(images)
    if suffix == ".png" or not moving:
        still = images[0] if len(images) == 1 else rendering.grid(images)
        if suffix == ".png":
            return rendering.png(still)
        images = still[np.newaxis]
    animation = rendering.webp_animation if suffix == ".webp" else rendering.gif_animation
    return animation(images, fps)


def _write_npz(path: Path, figures: Figures) -> None:
    names = figures.columns.get("file")
    arrays = {} if names is None else {"files": np.asarray(names)}
    _save_npz(path, {**arrays, figures.name: figures.main})


def _save_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    with path.open("wb") as file:  # given a path, numpy would append a suffix of its own
        np.savez(file, allow_pickle=False, **arrays)


def _csv(columns: Mapping[str, Sequence[Any] | Array]) -> str:
    lines = [",".join(map(_cell, columns))]
    lines += [",".join(map(_cell, row)) for row in zip(*columns.values(), strict=True)]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text


def _write_parquet(path: Path, columns: Mapping[str, Sequence[Any] | Array]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), path)


def _check_suffix(out: Path, known: Sequence[str]) -> None:
    if out.suffix.lower() not in known:
        raise WrongOutput(f"cannot write {out.name}: its name must end in one of {' '.join(known)}")
    if out.is_dir():
        raise WrongOutput(f"{out} is a folder")


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A temporary name beside `out`; what was written there becomes `out`, or is removed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if temporary.is_dir() and out.is_dir():
            out.rmdir()  # an empty one, as checked
        temporary.replace(out)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
