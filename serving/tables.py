"""Tables: CSV, npy and npz files to the float32 rows [N, D] that a model of vectors takes.

A model's columns say how: `duration` is a number as it stands; where a table has no column of that
name, `flag=SF` is 1 in rows whose `flag` is SF and 0 elsewhere.  A value that the model has no
column for leaves 0 in all of its own.  Scaling is inside the graphs.
"""

import csv
import gzip
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.errors import Unprocessable

Floats = npt.NDArray[np.float32]
Column = Sequence[str] | npt.NDArray[Any]

SUFFIXES: Final = (".csv", ".csv.gz", ".npy", ".npz")
ARRAYS: Final = ("vectors", "train_vectors", "X")  # of an .npz: the first that is there
_DAMAGED: Final = (OSError, ValueError, EOFError, csv.Error, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """N rows under names: of text, as a CSV has it, or of numbers."""

    source: str  # for complaints
    count: int  # N
    columns: Mapping[str, Column] = field(default_factory=dict)  # N cells each
    rows: npt.NDArray[Any] | None = None  # [N, D] of numbers that have no names
    first: int = 0  # what the first row is called in complaints: its line in a CSV, else 0

    def rows_of(self, columns: Sequence[str], size: int) -> Floats:
        """Float32 [N, size], in the order of a model's `columns`.

        A model without names for its columns takes them all as they stand.
        Raises Unprocessable: a column is missing, another width, or a cell that is no number.
        """
        if self.rows is not None:
            return self._finite(self.rows, size)
        names = tuple(columns) or tuple(self.columns)
        if len(names) != size:
            raise Unprocessable(f"{self.source} has {len(names)} columns, the model takes {size}")
        out = np.empty((self.count, size), np.float32)
        texts: dict[str, npt.NDArray[np.str_]] = {}
        for i, name in enumerate(names):
            if name in self.columns:
                out[:, i] = self.numbers(name)
                continue
            whole, equals, value = name.partition("=")
            if not equals or whole not in self.columns:
                raise Unprocessable(f"{self.source} has no column {whole[:60]!r}")
            if whole not in texts:
                texts[whole] = np.array(self.columns[whole], np.str_)
            out[:, i] = texts[whole] == value
        return out

    def without(self, *names: str) -> "Table":
        """The same without these columns, where there are such."""
        kept = {name: cells for name, cells in self.columns.items() if name not in names}
        return replace(self, columns=kept)

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """A column [N] as numbers.  Raises Unprocessable, naming the first cell that is none."""
        cells = self.columns[name]
        if isinstance(cells, np.ndarray):
            found = cells.astype(np.float64)
        else:
            values = {text: float(text) if is_number(text) else math.nan for text in set(cells)}
            found = np.array([values[text] for text in cells], np.float64)
        with np.errstate(over="ignore"):
            bad = np.flatnonzero(~np.isfinite(found.astype(np.float32)))
        if len(bad):
            raise Unprocessable(
                f"{self._place(bad[0])}: {name} is {cells[bad[0]]!s:.60}, not a finite number"
            )
        return found

    def _finite(self, rows: npt.NDArray[Any], size: int) -> Floats:
        if rows.shape[1] != size:
            raise Unprocessable(
                f"{self.source} has {rows.shape[1]} columns, the model takes {size}"
            )
        with np.errstate(over="ignore"):
            found = rows.astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(bad):
            raise Unprocessable(f"{self._place(bad[0])}: it has numbers that are not finite")
        return found

    def _place(self, row: int) -> str:
        return f"{self.source}, {'line' if self.first else 'row'} {row + self.first}"


def is_table(path: Path) -> bool:
    """Whether a file's name is that of a table."""
    return path.name.lower().endswith(SUFFIXES)


def read(path: Path) -> Table:
    """The table in a file.  Raises Unprocessable for one that is none."""
    try:
        match path.name.lower().removesuffix(".gz").rpartition(".")[2]:
            case "npy":
                return of_array(np.load(path, allow_pickle=False), str(path))
            case "npz":
                return _from_npz(path)
            case _:
                return read_csv(path)
    except UnicodeDecodeError as error:
        raise Unprocessable(f"{path} cannot be read: it is not UTF-8") from error
    except _DAMAGED as error:
        raise Unprocessable(f"{path} cannot be read: {error}") from error


def read_csv(path: Path, header: Sequence[str] | None = None) -> Table:
    """A CSV, gzipped or not, whose first line is the header unless one is given."""
    known: dict[str, str] = {}  # a cell's text is kept once: most are said many times
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True, skipinitialspace=True)
        names = list(header) if header is not None else [name.strip() for name in next(lines, [])]
        rows = []
        for line in lines:
            if len(line) == len(names):
                rows.append([known.setdefault(cell, cell) for cell in line])
            elif line:
                raise Unprocessable(
                    f"{path}, line {lines.line_num}: {len(line)} cells under {len(names)} names"
                )
    if not rows or not names:
        raise Unprocessable(f"{path} has no rows")
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise Unprocessable(f"{path} has two columns {doubled[:60]!r}")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    return Table(source=str(path), count=len(rows), columns=columns, first=1 + (header is None))


def of_array(array: npt.NDArray[Any], source: str, names: Sequence[str] = ()) -> Table:
    """Numbers [N, D], with or without names.  Raises Unprocessable for another array."""
    if array.ndim != 2 or array.dtype.kind not in "fiub" or not len(array):
        raise Unprocessable(
            f"{source} must hold numbers [N, D], got {array.dtype} {list(array.shape)}"
        )
    if not names:
        return Table(source=source, count=len(array), rows=array)
    if len(names) != array.shape[1] or len(set(names)) < len(names):
        raise Unprocessable(f"{source} has {len(names)} names for {array.shape[1]} columns")
    columns = dict(zip(names, array.T, strict=True))
    return Table(source=source, count=len(array), columns=columns)


def is_number(text: str) -> bool:
    """Whether a cell is a number, finite or not."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_npz(path: Path) -> Table:
    with np.load(path, allow_pickle=False) as arrays:
        key = next((key for key in ARRAYS if key in arrays), None)
        if key is None:
            raise Unprocessable(
                f"{path} has no {' or '.join(ARRAYS)}; it holds {', '.join(arrays)}"
            )
        names = [str(name) for name in arrays["columns"]] if "columns" in arrays else ()
        return of_array(arrays[key], str(path), names)
