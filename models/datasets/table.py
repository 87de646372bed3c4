"""Tables: a CSV with a header, an .npz of vectors, and two sets that anomaly detection knows.

Text becomes a column for each of its values, 1 where it is said (`flag=SF`); which values there
are, like everything else that is learned, is learned of the rows that are trained on.  A table
without a test part of its own is divided by a seed.
"""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.archive import LABELS
from models.datasets.dataset import Dataset, Indices, Labels, Split, Wanted, numbered
from models.errors import DataError
from serving import tables
from serving.errors import Unprocessable
from serving.tables import Table

MOST_VALUES: Final = 256  # of a column of text: with more it names rows, or is free text
MISSING: Final = frozenset(("", "?", "na", "n/a", "nan", "null", "none"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """How a table becomes vectors and their classes: what a config says of it."""

    label: str = ""  # the column that names each row's class
    drop: tuple[str, ...] = ()  # columns left out
    test: float = 0.0  # share that is the test part of a table that has none
    seed: int = 0  # of that division


WHOLE: Final = Cut()


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A published file without a header of its own."""

    header: str  # the file beside it that names the columns, one a line
    label: str
    groups: Mapping[str, str]  # its labels to classes
    others: str  # the class of all other labels
    drop: tuple[str, ...] = ()


_KDD: Final = Known(
    header="kddcup_columns.txt", label="label", groups={"normal.": "normal"}, others="attack"
)
KNOWN: Final[Mapping[str, Known]] = MappingProxyType(
    {
        # UCI KDD Cup 1999, 10 %: the many attacks are what is normal, as in DAGMM and ALAD
        "kddcup.data_10_percent.gz": _KDD,
        "kddcup.data.gz": _KDD,
        # UCI Arrhythmia: the eight smallest classes against all others, as in DAGMM and ALAD;
        # without the five columns that have gaps
        "arrhythmia.data": Known(
            header="arrhythmia_columns.txt",
            label="class",
            groups={str(label): "anomalous" for label in (3, 4, 5, 7, 8, 9, 14, 15)},
            others="normal",
            drop=("T", "P", "QRST", "J", "heartrate"),
        ),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """Some rows of a table, and their labels."""

    table: Table
    labels: NDArray[Any] | None
    rows: Indices  # those of this part


def is_table(path: Path) -> bool:
    """Whether `path` is named like a table of vectors."""
    return path.name in KNOWN or tables.is_table(path)


def load(path: str, wanted: Wanted, cut: Cut, columns: Sequence[str] | None = None) -> Dataset:
    """Vectors float32 [N, D], with their classes where the table names them.

    Args:
        columns: Those of a model that is there already; None: found in the wanted rows.
    Raises:
        DataError: it cannot be read, has no such part or column, or a cell is no number.
        UnknownName: no such class.
    """
    try:
        part = _part(Path(path), wanted.split, cut, trained=columns is None)
        count = part.table.count
        labels: Labels | None = None
        classes: tuple[str, ...] = ()
        if part.labels is not None:
            labels, classes = numbered(part.labels, count, path)
        own = None if labels is None else labels[part.rows]
        kept, own, classes = wanted.select(len(part.rows), own, classes)
        rows = part.rows[kept]
        if columns is None:
            columns = tuple(_found(part.table, rows))
        unnamed = part.table.rows
        width = len(columns) or len(part.table.columns) if unnamed is None else unnamed.shape[1]
        vectors = part.table.rows_of(columns, width)[rows]
    except Unprocessable as error:
        raise DataError(error.detail) from error
    return Dataset(images=vectors, labels=own, classes=classes, columns=tuple(columns))


def _part(path: Path, split: Split, cut: Cut, *, trained: bool) -> _Part:
    """One part of the table at `path`."""
    if path.suffix == ".npz":
        table, labels, whole = _from_npz(path, split)
    elif path.name in KNOWN:
        table, labels = _known(path, KNOWN[path.name])
        whole = False
    else:
        table, whole = tables.read(path), False
        labels = None
        if cut.label in table.columns:
            labels = np.array(table.columns[cut.label], np.str_)
        elif cut.label and trained:
            raise DataError(f"{path} has no column {cut.label!r} (data.label)")
    table = table.without(*cut.drop, cut.label)
    if whole:
        return _Part(table=table, labels=labels, rows=np.arange(table.count))
    if split == "test" and not cut.test:
        raise DataError(f"{path} has no test part")
    train, test = divided(table.count, cut)
    return _Part(table=table, labels=labels, rows=test if split == "test" else train)


def divided(count: int, cut: Cut) -> tuple[Indices, Indices]:
    """The rows of a table's training part, and those of its test part."""
    order = np.random.Generator(np.random.Philox(key=cut.seed)).permutation(count)
    at = round(count * cut.test)
    return np.sort(order[at:]), np.sort(order[:at])


def _known(path: Path, known: Known) -> tuple[Table, NDArray[Any]]:
    beside = path.with_name(known.header)
    try:
        names = beside.read_text(encoding="utf-8").split()
        table = tables.read_csv(path, names)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    said = table.columns[known.label]
    labels = np.array([known.groups.get(str(each), known.others) for each in said])
    return table.without(known.label, *known.drop), labels


def _from_npz(path: Path, split: Split) -> tuple[Table, NDArray[Any] | None, bool]:
    """The part's table and labels, and whether the file has a test part at all."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = [str(name) for name in arrays["columns"]] if "columns" in arrays else ()
            whole = "test_vectors" in arrays
            test = split == "test" and whole
            keys = ("test_vectors",) if test else tables.ARRAYS
            key = next((key for key in keys if key in arrays), None)
            if key is None:
                raise DataError(f"{path} has no {' or '.join(keys)}; it holds {', '.join(arrays)}")
            label = next(
                (key for key in LABELS["test" if test else "train"] if key in arrays), None
            )
            table = tables.of_array(arrays[key], str(path), names)
            return table, None if label is None else arrays[label], whole
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path} cannot be read as npz: {error}") from error


def _found(table: Table, rows: Indices) -> list[str]:
    """The columns that a model of these rows has."""
    found: list[str] = []
    for name, cells in table.columns.items():
        if isinstance(cells, np.ndarray):
            found.append(name)
            continue
        values = sorted({cells[row] for row in rows})
        if gap := next((text for text in values if text.lower() in MISSING), None):
            raise DataError(
                f"{table.source}: {name} is {gap!r} in some rows: data.drop leaves it out"
            )
        if all(tables.is_number(text) for text in values):
            found.append(name)
        elif len(values) > MOST_VALUES:
            raise DataError(
                f"{table.source}: {name} has {len(values):,} different texts, more than "
                f"{MOST_VALUES}: data.drop leaves it out"
            )
        else:
            found += [f"{name}={text}" for text in values]
    return found
