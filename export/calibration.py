"""Scores of normal images that a model never saw: what turns a score into a p-value.

The p-value of serving.scoring is right where the normal images to come and those that calibrated
are alike for the model.  Images it was trained on are not: it scores them too low, and later
normal ones are flagged too often.  So the images come from what training held out, or from
elsewhere, and then none of them may be among those trained on.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export import parts, trained_on
from export.errors import BadData
from export.runs import name_of
from export.subjects import ROWS, Subject
from export.trained_on import Hashes
from export.watching import Silent
from models.datasets import Dataset
from models.errors import DataError

Json = dict[str, Any]

QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)  # of the heat of a pixel
MAX_PIXELS: Final = 16_000_000  # that those are taken of: bounds memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Normal:
    """Normal images to calibrate with."""

    images: Dataset
    source: str  # where they are from, for the manifest
    hashes: Hashes | None  # of the images trained on, where they are known
    notes: tuple[str, ...] = ()  # what whoever asked for this should know, a sentence each


def normal_images(subject: Subject, data: str, *, force: bool = False, watch: Silent) -> Normal:
    """The images of `data` that may calibrate `subject`.

    The very data of the training (a hash tells, not its path) gives the rows that training held
    out; the config and the seed say which.  Other data gives all of its training part: its test
    part, where there is one, may hold abnormal images.
    Raises:
        BadData: too few images, none held out, or images that were trained on and no `force`.
        DataError: `data` cannot be read.
    """
    whole, reason = parts.read_part(subject, data, "train", watch)
    if whole is None:
        raise DataError(reason)
    notes = [f"{len(whole.skipped):,} files could not be read"] if whole.skipped else []
    known = parts.split_of_training(subject, whole)
    if known is not None:
        trained, held_out = known
        if not len(held_out):
            raise BadData(f"training held nothing of {data} out: give images it never saw")
        source, images = f"{name_of(data)}: {parts.HELD_OUT}", held_out
        hashes: Hashes | None = trained.hashes()
    else:
        source, images, hashes = name_of(data), whole, subject.hashes
        notes += _overlap(images, data, hashes, force=force)
    if len(images) < 2:
        raise BadData(f"{data} has {len(images)} image to calibrate with: at least 2 are needed")
    least = 1 / (len(images) + 1)
    notes.append(
        f"{len(images):,} normal images: nothing can be flagged at a rate below {least:.2g}"
    )
    return Normal(images=images, source=source, hashes=hashes, notes=tuple(notes))


def measure(subject: Subject, normal: Normal, *, watch: Silent) -> Json:
    """`score.calibration` of a manifest: the sorted scores by term, and quantiles of the heat.

    `heat` holds {"images", "quantiles": {"0.99": ...}} over all pixels of those images, evenly
    spread ones where all would not fit into memory: a scale for heat maps that does not depend
    on the image shown.
    Raises BadData where a score is not finite.
    """
    images = normal.images.images
    shown = np.zeros(len(images), bool)
    room = max(1, MAX_PIXELS // int(np.prod(subject.spec.shape[:2])))
    shown[np.linspace(0, len(images) - 1, min(room, len(images))).round().astype(np.int64)] = True
    terms: list[npt.NDArray[np.float32]] = []
    heat: list[npt.NDArray[np.float32]] = []
    for start in watch.track(range(0, len(images), ROWS), "score"):
        part = slice(start, start + ROWS)
        scored, heats = subject.answer("score", images[part])
        terms.append(scored)
        heat.append(heats[shown[part]].ravel())
    scores = np.concatenate(terms).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        raise BadData(f"the scores of {len(bad):,} of {len(scores):,} images are not finite")
    found = np.quantile(np.concatenate(heat), QUANTILES)
    return {
        "source": normal.source,
        "count": len(scores),
        "heat": {
            "images": int(shown.sum()),
            "quantiles": {f"{q:g}": float(v) for q, v in zip(QUANTILES, found, strict=True)},
        },
        "scores": {term: np.sort(scores[:, i]).tolist() for i, term in enumerate(subject.terms)},
    }


def _overlap(images: Dataset, data: str, hashes: Hashes | None, *, force: bool) -> list[str]:
    """What is to be said of images that training may have seen.  Raises BadData without `force`."""
    if hashes is None:
        return ["the model carries no hashes: whether it was trained on these cannot be said"]
    seen = trained_on.count_among(images, hashes)
    if not seen:
        return []
    said = f"{seen:,} of the {len(images):,} images of {data} were trained on"
    if not force:
        raise BadData(
            f"{said}: their scores are too low to judge others by (--force takes them nevertheless)"
        )
    return [f"{said}: normal images will be flagged more often than asked"]
