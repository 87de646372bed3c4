"""Data in memory: arrays, labels, and what could not be read."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError, UnknownName

Split = Literal["train", "test"]
Labels = NDArray[np.int64]  # [N], index into the names of classes
Groups = NDArray[np.int64]  # [N], equal for items that only differ in details
Indices = NDArray[np.int64]
Progress = Callable[[int, int], None]  # done, all


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """One item that could not be read."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which part of some data is asked for."""

    split: Split = "train"  # data without a test part has only "train"
    classes: tuple[str, ...] | None = None  # by name; None: all of them
    limit: int | None = None  # at most so many items
    group: str | None = None  # what names the group of each item; of the training part only

    def select(
        self, count: int, labels: Labels | None, classes: tuple[str, ...]
    ) -> tuple[Indices, Labels | None, tuple[str, ...]]:
        """Which of `count` items are wanted, so that no other needs to be decoded.

        Returns:
            Their indices, ascending; their labels, numbered anew; the classes those point into.
        Raises:
            DataError: classes are wanted and the data has none.
            UnknownName: a wanted class is not there.
        """
        kept = np.arange(count)
        if self.classes is not None:
            if labels is None:
                raise DataError("data.classes is set, but the data has no classes")
            for name in self.classes:
                if name not in classes:
                    raise UnknownName("class", name, classes)
            number = {classes.index(name): i for i, name in enumerate(self.classes)}
            kept = np.flatnonzero(np.isin(labels, list(number)))
            numbers = [number.get(int(label), 0) for label in labels]
            labels, classes = np.array(numbers, np.int64), self.classes
        kept = kept[_spread(len(kept), self.limit)]
        return kept, None if labels is None else labels[kept], classes


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """N items: images uint8 [N, H, W, C], or vectors float32 [N, D] in the same field."""

    images: NDArray[Any]
    labels: Labels | None = None
    classes: tuple[str, ...] = ()
    groups: Groups | None = None
    skipped: tuple[Skipped, ...] = field(default=())
    columns: tuple[str, ...] = ()  # names of a vector's D numbers, where they have some

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Indices) -> "Dataset":
        """The items at `indices`, in that order."""
        labels = None if self.labels is None else self.labels[indices]
        groups = None if self.groups is None else self.groups[indices]
        return replace(self, images=self.images[indices], labels=labels, groups=groups)

    def limited(self, limit: int | None) -> "Dataset":
        """At most `limit` items, evenly spread, so that sorted classes all stay."""
        if limit is None or limit >= len(self):
            return self
        return self.take(_spread(len(self), limit))

    def held_out(self, share: float, seed: int) -> tuple["Dataset", "Dataset"]:
        """(to train on, never to train on): a seeded random split with `share` in the second.

        No group is in both: as many whole ones are held out as come nearest to the share.
        """
        rng = np.random.Generator(np.random.Philox(key=seed))
        if self.groups is None:
            order = rng.permutation(len(self))
            cut = round(len(self) * share)
            return self.take(np.sort(order[cut:])), self.take(np.sort(order[:cut]))
        names, sizes = np.unique(self.groups, return_counts=True)
        order = rng.permutation(len(names))
        held = np.concatenate([[0], np.cumsum(sizes[order])])  # by the first n groups
        count = int(np.abs(held - len(self) * share).argmin())
        out = np.isin(self.groups, names[order[:count]])
        return self.take(np.flatnonzero(~out)), self.take(np.flatnonzero(out))

    def fingerprint(self) -> str:
        """A hash of the items and their groups, to notice data that changed between two runs."""
        digest = blake2b(repr((self.images.shape, self.images.dtype.str)).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.images).data)
        if self.groups is not None:
            digest.update(np.ascontiguousarray(self.groups).data)
        return digest.hexdigest()

    def label_fingerprint(self) -> str:
        """The same of each item's class by name, for a model that is told it."""
        digest = blake2b(repr(self.classes).encode(), digest_size=16)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()

    def hashes(self) -> NDArray[np.uint64]:
        """An 8-byte hash of each item, [N], sorted: whether an item is here, without the item.

        The chance that any of a million items is taken for one of another million is 1 in 10^7.
        """
        return np.sort(fingerprints(self.images))


def fingerprints(items: NDArray[Any]) -> NDArray[np.uint64]:
    """An 8-byte hash of each of N items, in their order."""
    rows = np.ascontiguousarray(items)
    digests = b"".join(blake2b(row.data, digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def _spread(count: int, limit: int | None) -> Indices:
    """At most `limit` of `count` indices, evenly spread."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.linspace(0, count - 1, limit).round().astype(np.int64)


def numbered(
    labels: NDArray[Any], count: int, source: str, *, what: str = "labels"
) -> tuple[Labels, tuple[str, ...]]:
    """Labels of any kind as indices [N] and the sorted names they point into.

    Raises DataError unless there is one label, perhaps in a column of its own, per item; its text
    calls them `what`.
    """
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.shape != (count,):
        raise DataError(f"{source} has {what} {list(labels.shape)} for {count} images")
    names, numbers = np.unique(flat, return_inverse=True)
    return numbers.astype(np.int64), tuple(str(name) for name in names)


def collected(
    items: Iterable[NDArray[np.uint8] | Skipped],
    *,
    total: int,
    shape: tuple[int, int, int],
    source: str,
    progress: Progress,
) -> tuple[NDArray[np.uint8], list[int], tuple[Skipped, ...]]:
    """Images of one shape, gathered from images and reasons why not.

    Returns:
        The images that could be read, their places among all items, and the skipped ones.
    Raises:
        DataError: none could be read; names the first three.
    """
    images = np.empty((total, *shape), np.uint8)
    read: list[int] = []
    skipped: list[Skipped] = []
    for done, item in enumerate(items, 1):
        if isinstance(item, Skipped):
            skipped.append(item)
        else:
            images[len(read)] = item
            read.append(done - 1)
        progress(done, total)
    if not read:
        first = "; ".join(f"{s.name}: {s.reason}" for s in skipped[:3])
        raise DataError(f"no image in {source} can be read" + (f" ({first})" if first else ""))
    return images[: len(read)], read, tuple(skipped)
