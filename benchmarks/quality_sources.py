"""Where the rows of the quality benchmark come from: data cut into train, validation and test.

Each source gives cases.  Of a case's normal items a fifth, with abnormal items that are no part of
the test, are for choosing; nothing is fitted to them but that choice.  The test is read once.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.datasets import Cut, Dataset, load, load_vectors
from models.datasets.dataset import fingerprints
from models.datasets.table import divided
from serving.images import ImageSpec

Array = npt.NDArray[Any]
Json = Mapping[str, Any]

VALIDATION: Final = 0.2  # of the normal items that might be trained on
MOST: Final = 10_000  # of each side of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Sides:
    """Items to tell apart."""

    items: Array  # [N, ...], as a bundle takes them
    abnormal: npt.NDArray[np.bool_]  # [N]
    count: npt.NDArray[np.int64]  # [N]: how often each occurs
    fresh: npt.NDArray[np.bool_]  # [N]: that it occurs in no part that anything is fitted to


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One problem: normal items to learn from, and two sets to tell apart."""

    set: str
    part: str  # which split, or which class is normal
    train: Array  # normal items alone
    valid: Sides
    test: Sides
    config: Json  # of the trained methods: a training config, and what each of `pairings` adds
    columns: tuple[str, ...] = ()
    components: tuple[int, ...] = (32,)  # of PCA: of several, validation chooses
    runs: Path | None = None  # where what is trained stays; None: nowhere


Source = Callable[[Path], Iterator[Case]]


def kdd(data: Path) -> Iterator[Case]:
    """KDDCup99 10 %: attacks are what is normal, half of all rows are the test."""
    yield _table(
        "KDDCup99", data / "tabular/kddcup.data_10_percent.gz", normal="attack", split=0, config=KDD
    )


def arrhythmia(data: Path) -> Iterator[Case]:
    """Arrhythmia: the eight smallest classes are abnormal; ten divisions in halves."""
    for split in range(10):
        yield _table(
            "Arrhythmia", data / "tabular/arrhythmia.data", normal="normal", split=split,
            config=ARRHYTHMIA,
        )  # fmt: skip


def mnist(data: Path) -> Iterator[Case]:
    """MNIST: each digit in turn is normal."""
    return _one_class("MNIST", data / "mnist")


def fashion(data: Path) -> Iterator[Case]:
    """Fashion-MNIST: each class in turn is normal."""
    return _one_class("Fashion-MNIST", data / "fashion-mnist")


SOURCES: Final[Mapping[str, Source]] = MappingProxyType(
    {"kdd": kdd, "arrhythmia": arrhythmia, "mnist": mnist, "fashion": fashion}
)


def _table(name: str, path: Path, *, normal: str, split: int, config: Json) -> Case:
    """Columns and scaling are those of the normal rows of the half that is not the test."""
    table = load_vectors(str(path))
    is_known = ~_is_abnormal(table, normal)
    parts = divided(len(table), Cut(test=0.5, seed=split))
    own = table.images[parts[0][is_known[parts[0]]]]
    # values that none of the normal rows has would have no column
    seen = [i for i, name in enumerate(table.columns) if "=" not in name or own[:, i].any()]
    table = replace(
        table, images=table.images[:, seen], columns=tuple(table.columns[i] for i in seen)
    )
    both, test = (table.take(rows) for rows in parts)
    known = both.take(np.flatnonzero(~_is_abnormal(both, normal)))
    items, rows, count = _distinct(test, normal)
    return _cut(
        name,
        f"split {split}",
        known,
        _abnormal(both, normal),
        Sides(
            items=items,
            abnormal=_is_abnormal(test, normal)[rows],
            count=count,
            fresh=~np.isin(fingerprints(items), fingerprints(both.images)),
        ),
        seed=split,
        config=config,
        columns=known.columns,
    )


def _one_class(name: str, path: Path) -> Iterator[Case]:
    spec = ImageSpec(height=32, width=32, channels=1, fit="pad", background=0)
    train, test = load(str(path), spec), load(str(path), spec, split="test")
    for normal in train.classes:
        known = train.take(np.flatnonzero(~_is_abnormal(train, normal)))
        count = np.ones(len(test), np.int64)
        sides = Sides(
            items=test.images,
            abnormal=_is_abnormal(test, normal),
            count=count,
            fresh=count > 0,
        )
        others = _abnormal(train, normal)[::50]
        yield _cut(
            name, f"class {normal}", known, others, sides, seed=0, config=IMAGES,
            components=COMPONENTS,
        )  # fmt: skip


def _cut(
    name: str,
    part: str,
    known: Dataset,
    abnormal: Array,
    test: Sides,
    *,
    seed: int,
    config: Json,
    columns: tuple[str, ...] = (),
    components: tuple[int, ...] = (),
) -> Case:
    """The case with its validation part: a fifth of the `known` normal items, and `abnormal`."""
    train, valid = known.held_out(VALIDATION, seed)
    valid, others = valid.limited(MOST), Dataset(images=abnormal).limited(MOST)
    items = np.concatenate([valid.images, others.images])
    count = np.ones(len(items), np.int64)
    return Case(
        set=name,
        part=part,
        train=train.images,
        valid=Sides(
            items=items, abnormal=np.arange(len(items)) >= len(valid), count=count, fresh=count > 0
        ),
        test=test,
        config=config,
        columns=columns,
        components=components or (config["model"]["latent"],),
    )


def _is_abnormal(data: Dataset, normal: str) -> npt.NDArray[np.bool_]:
    assert data.labels is not None
    found: npt.NDArray[np.bool_] = data.labels != data.classes.index(normal)
    return found


def _abnormal(data: Dataset, normal: str) -> Array:
    return data.images[_is_abnormal(data, normal)]


def _distinct(data: Dataset, normal: str) -> tuple[Array, Array, Array]:
    """Each row once for each side it is on; where it stands, and how often."""
    keys = fingerprints(data.images) ^ _is_abnormal(data, normal).astype(np.uint64)
    _, rows, count = np.unique(keys, return_index=True, return_counts=True)
    return data.images[rows], rows, count


_MLP: Final = {"network": "mlp", "critic_norm": "spectral"}
# The authors of alad hold E by spectral norm.
PAIRINGS: Final = {
    "bigan": {"weights": {"image": 10.0}},
    "alad": {"model": {"encoder_norm": "spectral"}},
}
KDD: Final = {
    "data": {"scaling": "range", "holdout": 0.05},
    "model": {**_MLP, "vector": 112, "latent": 32, "width": 128},
    "pairings": PAIRINGS,
    "train": {"steps": 2000, "batch": 256, "lr": 5e-4, "critic_lr": 5e-4, "ema": 0.99},
}
ARRHYTHMIA: Final = {
    "data": {"scaling": "standard", "holdout": 0.1},
    "model": {**_MLP, "vector": 274, "latent": 16, "width": 128},
    "pairings": PAIRINGS,
    "train": {"steps": 300, "batch": 32, "lr": 5e-4, "critic_lr": 5e-4, "ema": 0.99},
}
COMPONENTS: Final = (16, 32)  # of images; validation chooses
IMAGES: Final = {
    "data": {"fit": "pad", "background": 0, "holdout": 0.1},
    "model": {
        "network": "dense", "image": [32, 32, 1], "latent": 16, "width": 256, "critic_width": 32,
    },
    "pairings": {
        "aae": {"weights": {"image": 0.0, "image_squared": 50.0, "critic_latent": 0.1}},
    },
    "train": {"steps": 1000, "batch": 64, "lr": 1e-3, "lr_decay": 0.5, "betas": [0.9, 0.999],
              "ema": 0.99},
}  # fmt: skip
