"""The data of an evaluation: what to fit baselines on, and what to measure on."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export.subjects import Subject
from export.watching import Silent
from models.config import DataConfig
from models.datasets import Cut, Dataset, load, load_vectors
from models.datasets.dataset import Split
from models.errors import DataError, NoGroups, UnknownName
from models.training.loop import cut_of
from serving.bundle import VectorSpec

WANT_CLASSES: Final = "1-NN and the classes of samples are left out"
HELD_OUT: Final = "what training held out"  # how a calibration's source calls it


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Images with their labels numbered alike in both parts."""

    path: str
    train: Dataset | None  # None where no image is known to have been kept from training
    test: Dataset  # to measure on
    held_out: bool = False  # whether `test` is what training held out
    notes: tuple[str, ...] = ()  # what the data could not give, a sentence each

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, where both parts have labels, and that to learn from several; else
        none.
        """
        if self.train is None or self.train.labels is None or self.test.labels is None:
            return ()
        return self.test.classes if len(np.unique(self.train.labels)) > 1 else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class OneClass:
    """Some classes as the normal ones: what to fit baselines on, and two sides to tell apart."""

    classes: tuple[str, ...]  # the normal ones
    train: Dataset | None  # normal images only
    normal: Dataset
    abnormal: Dataset
    notes: tuple[str, ...] = ()


def read(
    subject: Subject, path: str, *, limit: int | None = None, crops: int = 0, watch: Silent
) -> Parts:
    """The parts of the data at `path`, at most `limit` images of each, brought to size.

    To measure on: the test part of the data; where there is none and this is the very data of
    the training, what was held out from that; else all of it, which a note says.
    Raises DataError: nothing there, or nothing that can be read.
    """
    whole, no_train = read_part(subject, path, "train", watch, crops=crops)
    test, no_test = read_part(subject, path, "test", watch, crops=crops)
    notes: list[str] = []
    measures_held_out = False
    train, known = whole, split_of_training(subject, whole)
    if known is not None:
        train, held_out = known
        if test is None and len(held_out) > 0:
            test, measures_held_out = held_out, True
            notes.append(f"{no_test}: measured on what training held out")
    if train is None:
        if test is None:
            raise DataError(no_train)
        notes.append(f"{no_train}: what needs two parts is left out")
        return Parts(path=path, train=None, test=test.limited(limit), notes=tuple(notes))
    if test is None:
        seen = "measured on all its images, which training may have seen"
        notes.append(f"{no_test}: {seen}; what needs two parts is left out")
        return Parts(path=path, train=None, test=train.limited(limit), notes=tuple(notes))
    train, test = _numbered_alike(train.limited(limit), test.limited(limit))
    if train.labels is None or test.labels is None:
        notes.append(f"{path} has no labels: {WANT_CLASSES}")
    elif len(np.unique(train.labels)) == 1:
        notes.append(f"all that can be learned from is of one class: {WANT_CLASSES}")
    return Parts(path=path, train=train, test=test, held_out=measures_held_out, notes=tuple(notes))


def read_abnormal(
    subject: Subject, path: str, *, limit: int | None = None, watch: Silent
) -> Dataset:
    """Images that the model was not made for: the test part of `path`, else all there is."""
    for split in ("test", "train"):
        data, reason = read_part(subject, path, split, watch, own_classes=False)
        if data is not None:
            return data.limited(limit)
    raise DataError(reason)


def read_one_class(
    subject: Subject,
    path: str,
    normal: tuple[str, ...],
    *,
    limit: int | None = None,
    watch: Silent,
) -> OneClass:
    """The data at `path` as the one-class protocol sees it: `normal` classes, and all others.

    To measure on: the test part; where there is none, the images of other classes, and of the
    normal ones those that training held out, or, where it is not known what it was, all of them.
    Raises:
        DataError: nothing to read, no labels, or nothing left of one of the two sides.
        UnknownName: a class that the data does not have.
    """
    whole, no_train = read_part(subject, path, "train", watch, own_classes=False)
    test, no_test = read_part(subject, path, "test", watch, own_classes=False)
    measured = test if test is not None else whole
    if measured is None:
        raise DataError(no_train)
    _check_classes(normal, measured, whole)
    mine, other = (_of_classes(measured, normal, among=among) for among in (True, False))
    train = whole
    used = whole
    if subject.config is not None and subject.config.data.classes is not None:
        used, _ = read_part(subject, path, "train", watch)  # the classes that training took
    known = split_of_training(subject, used)
    notes: list[str] = []
    if known is not None:
        train = known[0]
        if others := sorted(set(train.classes) - set(normal)):
            notes.append(f"the model was trained on other classes too: {', '.join(others)}")
    if test is None and known is not None:
        mine = _of_classes(known[1], normal, among=True)
        notes.append(f"{no_test}: normal images are those that training held out")
    elif test is None:
        train = None
        notes.append(f"{no_test}: training may have seen the normal images, and no baseline is fit")
    if not len(mine) or not len(other):
        raise DataError(f"{path} leaves {len(mine)} normal and {len(other)} other images")
    if train is not None and train.labels is not None:
        train = _of_classes(train, normal, among=True).limited(limit)
    else:  # nobody says which of its images are normal
        train = None
    return OneClass(
        classes=normal,
        train=train,
        normal=mine.limited(limit),
        abnormal=other.limited(limit),
        notes=tuple(notes),
    )


def labels_of(data: Dataset) -> npt.NDArray[np.int64]:
    """The labels [N].  Raises DataError where the data has none."""
    if data.labels is None:
        raise DataError("the data has no labels")
    return data.labels


def read_part(
    subject: Subject,
    path: str,
    split: Split,
    watch: Silent,
    *,
    own_classes: bool = True,
    own_groups: bool = True,
    crops: int = 0,
) -> tuple[Dataset | None, str]:
    """One part of the data and "", or None and why there is none.

    Images are whole, or of each the parts that training took; at least `crops` of them.
    """
    own = subject.config.data if subject.config else None
    classes = own.classes if own and own_classes else None
    if isinstance(subject.spec, VectorSpec):
        return _read_vectors(subject.spec, path, split, own, classes)
    group = own.group if own and own_groups else None
    crops = own.crops if own and own.crops else crops
    progress = watch.reading(f"reading {path}, {split}")
    # other data than the model's: all its classes count, and it need have no groups
    other: dict[str, Any] = {"own_classes": own_classes, "own_groups": own_groups, "crops": crops}
    try:
        data = load(
            path,
            subject.spec,
            split=split,
            classes=classes,
            group=group,
            crops=crops,
            progress=progress,
        )
        return data, ""
    except UnknownName as error:
        if error.kind != "class":
            raise
        return read_part(subject, path, split, watch, **other | {"own_classes": False})
    except NoGroups:
        return read_part(subject, path, split, watch, **other | {"own_groups": False})
    except DataError as error:
        return None, str(error)


def _read_vectors(
    spec: VectorSpec,
    path: str,
    split: Split,
    own: DataConfig | None,
    classes: tuple[str, ...] | None,
) -> tuple[Dataset | None, str]:
    """As `read_part`: a table in the columns of the model."""
    cut = Cut() if own is None else cut_of(own)
    try:
        data = load_vectors(path, split=split, classes=classes, cut=cut, columns=spec.columns)
        if (width := data.images.shape[1]) != spec.size:
            raise DataError(f"{path} has vectors of {width}, the model takes {spec.size}")
        return data, ""
    except UnknownName as error:
        if error.kind != "class":
            raise
        return _read_vectors(spec, path, split, own, None)
    except DataError as error:
        return None, str(error)


def split_of_training(subject: Subject, whole: Dataset | None) -> tuple[Dataset, Dataset] | None:
    """(trained on, held out), if `whole` is the data of the training: a hash tells, not a path."""
    if whole is None or subject.config is None or subject.fingerprint is None:
        return None
    config = subject.config
    used = whole.limited(config.data.limit)
    if used.fingerprint() != subject.fingerprint:
        return None
    return used.held_out(config.data.holdout, config.train.seed)


def _check_classes(names: tuple[str, ...], measured: Dataset, whole: Dataset | None) -> None:
    """Raise DataError without labels, UnknownName for a class that no part of the data has."""
    labels_of(measured)
    known = dict.fromkeys((*(whole.classes if whole is not None else ()), *measured.classes))
    for name in names:
        if name not in known:
            raise UnknownName("class", name, known)


def _of_classes(data: Dataset, names: tuple[str, ...], *, among: bool) -> Dataset:
    """The items whose class is `among` these, or is not.  Raises DataError without labels."""
    wanted = [i for i, name in enumerate(data.classes) if (name in names) is among]
    return data.take(np.flatnonzero(np.isin(labels_of(data), wanted)))


def _numbered_alike(train: Dataset, test: Dataset) -> tuple[Dataset, Dataset]:
    """Both parts with labels that index the same classes, those of either."""
    if train.labels is None or test.labels is None:
        return train, test
    classes = tuple(dict.fromkeys((*train.classes, *test.classes)))
    number = {name: i for i, name in enumerate(classes)}

    def renumbered(part: Dataset) -> Dataset:
        own = np.array([number[name] for name in part.classes], np.int64)
        return replace(part, labels=own[part.labels], classes=classes)

    return renumbered(train), renumbered(test)
