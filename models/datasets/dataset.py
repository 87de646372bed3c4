"""Data in memory: arrays, labels, and what could not be read."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError, UnknownName

Split = Literal["train", "test"]
Progress = Callable[[int, int], None]  # done, all


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """One item that could not be read."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """N items: images uint8 [N, H, W, C], or vectors float32 [N, D] in the same field."""

    images: NDArray[Any]
    labels: NDArray[np.int64] | None = None  # [N], index into `classes`
    classes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: NDArray[np.int64]) -> "Dataset":
        """The items at `indices`, in that order."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, images=self.images[indices], labels=labels)

    def only(self, classes: Sequence[str] | None) -> "Dataset":
        """The items of these classes, labels renumbered; all of them for None."""
        if classes is None:
            return self
        if self.labels is None:
            raise DataError("data.classes is set, but the data has no classes")
        for name in classes:
            if name not in self.classes:
                raise UnknownName("class", name, self.classes)
        number = {self.classes.index(name): i for i, name in enumerate(classes)}
        kept = np.flatnonzero(np.isin(self.labels, list(number)))
        labels = np.array([number[int(label)] for label in self.labels[kept]], np.int64)
        return replace(self, images=self.images[kept], labels=labels, classes=tuple(classes))

    def limited(self, limit: int | None) -> "Dataset":
        """At most `limit` items, evenly spread, so that sorted classes all stay."""
        if limit is None or limit >= len(self):
            return self
        return self.take(np.linspace(0, len(self) - 1, limit).round().astype(np.int64))

    def held_out(self, share: float, seed: int) -> tuple["Dataset", "Dataset"]:
        """(to train on, never to train on): a seeded random split with `share` in the second."""
        order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(self))
        cut = round(len(self) * share)
        return self.take(np.sort(order[cut:])), self.take(np.sort(order[:cut]))

    def fingerprint(self) -> str:
        """A hash of the items, to notice data that changed between two runs."""
        digest = blake2b(repr((self.images.shape, self.images.dtype.str)).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()


def collected(
    items: Iterable[tuple[str, NDArray[np.uint8] | Skipped]],
    *,
    total: int,
    shape: tuple[int, int, int],
    source: str,
    progress: Progress,
) -> tuple[NDArray[np.uint8], list[str], tuple[Skipped, ...]]:
    """Images of one shape gathered from (name, image or why not).

    Returns:
        The images, the names of those that could be read, and the skipped ones.
    Raises:
        DataError: none could be read; names the first three.
    """
    images = np.empty((total, *shape), np.uint8)
    names: list[str] = []
    skipped: list[Skipped] = []
    for done, (name, item) in enumerate(items, 1):
        if isinstance(item, Skipped):
            skipped.append(item)
        else:
            images[len(names)] = item
            names.append(name)
        progress(done, total)
    if not names:
        first = "; ".join(f"{s.name}: {s.reason}" for s in skipped[:3])
        raise DataError(f"no image in {source} can be read" + (f" ({first})" if first else ""))
    return images[: len(names)], names, tuple(skipped)
