"""Scores of normal images that a model never saw: what turns a score into a p-value.

The codes of some of them become terms of their own (export.latent_terms); the others are scored.

The p-value of serving.scoring is right where the normal images to come and those that calibrated
are alike for the model.  Images it was trained on are not: it scores them too low, and later
normal ones are flagged too often.  So the images come from what training held out, or from
elsewhere, and then none of them may be among those trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export import bundle_writer, frames, latent_terms, parity, parts, trained_on
from export.errors import BadData
from export.frames import NormalFrames
from export.latent_terms import Codes
from export.runs import name_of
from export.subjects import ROWS, Subject, open_subject
from export.trained_on import Hashes
from export.watching import Silent
from models.datasets import Dataset
from models.errors import DataError
from serving import bundle
from serving.bundle import sha256_of
from serving.tiles import Tiling

Json = dict[str, Any]
Images = npt.NDArray[np.uint8]

QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)  # of the heat of a pixel
MAX_PIXELS: Final = 16_000_000  # that those are taken of: bounds memory
ENOUGH: Final = 4_000  # tiles of frames that say how far terms spread


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
    return Normal(images=images, source=source, hashes=hashes, notes=tuple(notes))


def normal_frames(
    subject: Subject, data: str, tiling: Tiling, *, force: bool = False, watch: Silent
) -> NormalFrames:
    """The frames of `data` that may calibrate `subject` where frames are cut so.

    Those whose parts were trained on may not, where training took parts.  Raises as
    `normal_images` does.
    """
    found, seen = frames.normal_frames(subject, data, tiling, watch=watch)
    notes = [*found.notes]
    if seen is not None:
        notes += _overlap(seen, data, found.hashes, force=force)
    return replace(found, notes=tuple(notes))


def calibrate(
    folder: Path,
    described: Json,
    *,
    normal: Normal | NormalFrames,
    by: str | None = None,
    watch: Silent,
) -> None:
    """Calibrate the bundle in `folder`, not yet in its place: its files and `described` change.

    Where there are images enough, the score graph gets the terms of export.latent_terms.  `by`
    names the term that becomes the default.
    Raises:
        BadData: a score is not finite, or there is no term `by`.
        ParityFailure: the terms appended answer otherwise than numpy.
    """
    watch.say("scoring normal images")
    rows: Sequence[int] = []
    if isinstance(normal, NormalFrames):
        rows, kept = _shared(normal.rows, len(normal.rows) // 3)
        judges = normal.tiles(rows, ENOUGH)
        near = normal.tiles(kept, latent_terms.MOST_CODES) if kept else judges[:0]
        near = near if len(near) >= latent_terms.FEWEST_CODES else near[:0]
    else:
        images = normal.images.images
        shared = _shared(range(len(images)), kept_codes(len(images)))
        judges, near = (images[part] for part in shared)
    if not len(near) or not add_latent_terms(folder, described, near, judges, watch=watch):
        if isinstance(normal, NormalFrames):
            rows = normal.rows
        else:
            judges = normal.images.images
    if isinstance(normal, NormalFrames):
        watch.say(_least_rate("frames", len(normal.rows), len(rows)))
    else:
        watch.say(_least_rate("images", len(normal.images), len(judges)))
    subject = open_subject(folder)
    if by is not None and by not in subject.terms:
        raise BadData(f"there is no term {by!r}: --by takes {', '.join(subject.terms)}")
    described["score"] = {**described["score"], "default": by or subject.default_term}
    if isinstance(normal, NormalFrames):
        found = measure_frames(subject, normal, rows, watch=watch)
    else:
        found = measure(subject, judges, watch=watch)
    described["score"] = {**described["score"], "calibration": {"source": normal.source, **found}}


def _least_rate(what: str, count: int, judges: int) -> str:
    """What `count` of these can say, the others of which lend their codes."""
    lent = f"{count - judges:,} lend their codes to mahalanobis and knn, {judges:,} judge, so "
    return (
        f"{count:,} normal {what}: {lent if judges < count else ''}{1 / (judges + 1):.2g} is the "
        "least rate at which anything can be flagged"
    )


def kept_codes(count: int) -> int:
    """Of how many of so many normal images the codes are kept: a third, none of a few."""
    kept = min(latent_terms.MOST_CODES, count // 3)
    return kept if kept >= latent_terms.FEWEST_CODES else 0


def _shared(rows: Sequence[int], kept: int) -> tuple[list[int], list[int]]:
    """(to be scored, whose codes are kept): no image is judged by a neighbour that is itself."""
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(rows))
    return [rows[i] for i in np.sort(order[kept:])], [rows[i] for i in np.sort(order[:kept])]


def add_latent_terms(
    folder: Path, described: Json, near: Images, judges: Images, *, watch: Silent
) -> bool:
    """Append the terms of the codes of `near`; False where the model allows none, said so."""
    opened, subject = bundle.read(folder), open_subject(folder)
    kept = subject.run("encode", near, watch=watch)[0]
    codes = latent_terms.fit(kept)
    name = latent_terms.find_latents(opened, near[:ROWS], kept[:ROWS])
    if codes is None or name is None:
        why = "all its codes are the same" if codes is None else "its score graph computes no code"
        watch.say(f"no terms of codes: {why}")
        return False
    of_images = latent_terms.of_images(opened)
    scores, latents = (
        subject.run(graph, judges, outputs=1, watch=watch)[0] for graph in ("score", "encode")
    )
    columns = np.concatenate([scores[:, : len(of_images)], codes.terms(latents)], axis=1)
    weights = _weights(columns, (*of_images, *latent_terms.TERMS))
    terms = latent_terms.append(opened, name, codes, weights)
    wanted = np.concatenate([columns, columns @ weights[:, None]], axis=1)
    described["graphs"]["score"]["sha256"] = sha256_of(opened.graph_file("score"))
    described["graphs"]["score"]["outputs"][0]["shape"][1] = len(terms)
    described["score"] = {
        **described["score"],
        "terms": list(terms),
        "combined": {terms[i]: float(weights[i]) for i in np.flatnonzero(weights)},
    }
    bundle_writer.write_manifest(folder, described)
    answered = open_subject(folder).answer("score", judges[:ROWS])[0]
    parity.require([parity.of_terms(wanted[:ROWS].astype(np.float32), answered)])
    _renew_golden(folder, codes, weights)
    return True


def _renew_golden(folder: Path, codes: Codes, weights: npt.NDArray[np.float64]) -> None:
    """The answers that the bundle carries to be tested with, where it does, get the new terms."""
    file = folder / bundle_writer.GOLDEN
    if not file.exists():
        return
    with np.load(file) as opened:
        golden = dict(opened)
    of_images = golden["score.terms"][:, : len(weights) - len(latent_terms.TERMS)]
    columns = np.concatenate([of_images, codes.terms(golden["encode.latents"])], axis=1)
    terms = np.concatenate([columns, columns @ weights[:, None]], axis=1)
    np.savez_compressed(file, **golden | {"score.terms": terms.astype(np.float32)})


def _weights(columns: npt.NDArray[np.float64], terms: Sequence[str]) -> npt.NDArray[np.float64]:
    """[T] of `combined`: one over the spread of each of its two terms, 0 for the others."""
    residual = "l2s" if "l2s" in terms else "l2"
    taken = np.array([term in (residual, "knn") for term in terms])
    spread = columns.std(axis=0)
    return np.where(taken & (spread > 0), 1.0 / np.maximum(spread, 1e-30), 0.0)


def measure(subject: Subject, images: Images, *, watch: Silent) -> Json:
    """Sorted scores of images by term, and quantiles of their heat, for a manifest.

    `heat` holds {"images", "quantiles": {"0.99": ...}} over all pixels of those images, evenly
    spread ones where all would not fit into memory: a scale for heat maps that does not depend
    on the image shown.
    Raises BadData where a score is not finite.
    """
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
    return _written(subject, scores, np.concatenate(heat), int(shown.sum()))


def measure_frames(
    subject: Subject, normal: NormalFrames, rows: Sequence[int], *, watch: Silent
) -> Json:
    """The same of whole frames: each as abnormal as its worst tile; and how they were cut."""
    scores, heat = frames.measure(subject, normal, rows, watch=watch)
    return {"tiles": normal.tiling.said()} | _written(subject, scores, heat, len(rows))


def _written(
    subject: Subject,
    scores: npt.NDArray[np.float64],
    heat: npt.NDArray[np.float32],
    shown: int,
) -> Json:
    """Scores [N, T] and the heat of pixels of `shown` images, for a manifest."""
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        raise BadData(f"the scores of {len(bad):,} of {len(scores):,} images are not finite")
    found = np.quantile(heat, QUANTILES)
    return {
        "count": len(scores),
        "heat": {
            "images": shown,
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
