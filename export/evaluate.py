"""The figures of a run or a bundle on images, each beside a baseline.

A figure that stands alone says nothing: reconstruction and neighbours are measured for E and G,
and with the same code for PCA with as many numbers per image, for raw pixels, and for an encoder
of the same architecture with random weights; samples are compared with real images, and so are
other real images.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export import (
    detection,
    features,
    frame_figures,
    illustrations,
    latent_figures,
    parts,
    trained_on,
)
from export.detection import Scored
from export.errors import BadData
from export.frames import open_frames
from export.likeness import likeness
from export.parts import OneClass, labels_of
from export.report import Report
from export.runs import name_of
from export.subjects import Subject
from export.watching import Silent
from export.work import MAX_REFERENCE_NUMBERS, Work
from models.datasets import Dataset
from models.datasets.frames import Frames
from models.metrics import classifier, coverage, pca, random_encoder
from models.metrics.inception_score import inception_score
from models.metrics.mode_score import mode_score
from models.metrics.one_nn import one_nn_accuracy
from models.metrics.reconstruction import mean_absolute_error, own_to_other_ratio
from models.metrics.ssim import ssim
from serving.images import ImageSpec
from serving.tiles import Tiling

Images = npt.NDArray[np.uint8]
Json = dict[str, Any]

SAMPLES: Final = 2000  # of G, classified
MAX_QUERIES: Final = 10_000  # of 1-NN
MAX_TRAINED: Final = 10_000  # images trained on, reconstructed


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What is to be measured."""

    data: str  # what the subject was trained for, with labels and a test part where there are some
    against: str | None = None  # what it was not trained for: scores are to tell it from `data`
    normal: tuple[str, ...] = ()  # classes of `data` that are normal, the others being abnormal
    features: Path | None = None  # an ONNX network whose features compare samples too
    limit: int | None = None  # at most so many images of each part
    seed: int = 0  # of samples, the classifier and all other draws
    tiling: Tiling | None = None  # frames are cut so, and told apart as wholes


def evaluate(subject: Subject, asked: Asked, *, watch: Silent | None = None) -> Report:
    """Measure `subject`; `watch` is told of each stage.

    Raises:
        DataError: `data` or `against` cannot be read.
        UnknownName: a `normal` class is none of the data's.
        BadData: the network of `features` does not take these images.
    """
    watch = watch or Silent()
    began = time.monotonic()
    # everything that may be refused comes first: the rest takes minutes
    given = None
    if asked.features is not None:
        if not isinstance(subject.spec, ImageSpec):
            raise BadData(f"{subject.title} takes vectors, and --features compares images")
        given = features.from_file(asked.features, subject.spec.shape)
    sides = _one_class(subject, asked, watch)
    found_frames = _frames(subject, asked)
    abnormal = None
    if asked.against is not None:
        abnormal = parts.read_abnormal(subject, asked.against, limit=asked.limit, watch=watch)
    crops = frame_figures.CROPS if asked.tiling is not None else 0  # shrunk frames say nothing
    data = parts.read(subject, asked.data, limit=asked.limit, crops=crops, watch=watch)
    work = Work(subject, data, asked.seed, watch)
    if asked.limit is not None:
        work.notes.append(
            f"--limit {asked.limit}: neighbours and baselines know no more images than that, and "
            "figures are not those of all"
        )
    figures = _of_the_pair(work, asked)
    if subject.of_images and (alike := likeness(work, given=given)) is not None:
        figures["likeness"] = alike
    scored: dict[str, Scored] = {}
    if asked.against is not None and abnormal is not None:
        scored["anomaly"] = detection.against(work, abnormal, name_of(asked.against))
        figures["anomaly"] = {"against": name_of(asked.against)}
    if sides is not None:
        scored["one_class"] = detection.one_class(work, sides)
        figures["one_class"] = {"classes": list(sides.classes)}
        work.notes += sides.notes
    for key, found in scored.items():
        figures[key] |= detection.figures(found, terms=subject.terms, default=subject.default_term)
    if found_frames is not None and asked.tiling is not None:
        figures["frames"] = frame_figures.measure(
            work, found_frames[0], asked.tiling, found_frames[1], limit=asked.limit
        )
    if (shares := detection.flagged(work)) is not None:
        figures["calibration"] = shares
    drawn = illustrations.draw(work, list(scored.values()))
    known = [note.replace(asked.data, name_of(asked.data)) for note in (*data.notes, *work.notes)]
    figures["notes"] = list(dict.fromkeys(known))
    figures["seconds"] = round(time.monotonic() - began, 1)
    return Report(figures=figures, drawn=drawn)


def _one_class(subject: Subject, asked: Asked, watch: Silent) -> OneClass | None:
    if not asked.normal or asked.tiling is not None:
        return None
    return parts.read_one_class(subject, asked.data, asked.normal, limit=asked.limit, watch=watch)


def _frames(subject: Subject, asked: Asked) -> tuple[Frames, tuple[str, ...]] | None:
    """The frames to tell apart, and which classes of them are normal."""
    if asked.tiling is None:
        return None
    found = open_frames(subject, asked.data, "test")
    return found, frame_figures.normal_class(found, asked.normal)


def _of_the_pair(work: Work, asked: Asked) -> Json:
    """What is measured of E and G on the data alone."""
    subject, data = work.subject, work.parts
    figures: Json = {
        "subject": {"kind": subject.kind, "title": subject.title, "device": subject.device},
        "data": {
            "name": name_of(asked.data),
            "items": work.items,
            "test": len(work.test),
            "train": len(work.train) if work.train is not None else 0,
            "classes": list(data.classes),
        },
        "seed": work.seed,
        "codes": latent_figures.codes(work),
    }
    if subject.hashes is not None:
        seen = trained_on.count_among(work.test, subject.hashes)
        if seen:
            work.notes.append(
                f"{seen:,} of the {len(work.test):,} items measured on were trained on"
            )
    if not subject.of_images:
        return figures | {"reconstruction": differences(work)}
    figures["cycle"] = latent_figures.cycle(work)
    figures["reconstruction"] = reconstruction(work)
    if data.classes and work.train is not None and work.linear is not None:
        figures["one_nn"] = neighbours(work, work.train, work.linear)
        if work.judge is not None:
            figures["samples"] = samples_by_class(work, work.judge, work.train)
    if (moved := latent_figures.morphs(work)) is not None:
        figures["morphs"] = moved
    return figures


def reconstruction(work: Work) -> Json:
    """Of the test part, by the pair and by PCA with as many numbers per image.

    Beside it, where the training part is what was trained on, of that: how much was learned by
    heart is the difference.
    """
    figures = _distances(work, work.rebuilt)
    if (trained := _trained_on(work)) is not None:
        again = work.subject.run("reconstruct", trained.images, watch=work.watch)[1]
        l1 = mean_absolute_error(images=trained.images, reconstructions=again)
        figures["trained_on"] = {"count": len(trained), "l1": l1}
    if work.linear is not None:
        rebuilt = work.linear.decode(work.linear.encode(work.test.images))
        figures["pca"] = {"size": work.linear.size} | _distances(work, rebuilt)
    return figures


def differences(work: Work) -> Json:
    """Mean |x - G(E(x))| / scale of vectors, by the pair and by PCA with as many numbers."""

    def l1(again: npt.NDArray[Any]) -> float:
        return float(np.abs(given.astype(np.float64) - again).mean())

    given = work.subject.seen(work.test.images)
    figures: Json = {"l1": l1(work.subject.seen(work.rebuilt))}
    if work.linear is not None:
        rebuilt = work.linear.decode(work.linear.encode(given))
        figures["pca"] = {"size": work.linear.size, "l1": l1(rebuilt)}
    return figures


def _trained_on(work: Work) -> Dataset | None:
    """Images that were trained on, spread over all of them; None unless each is known to be."""
    if work.train is None or work.subject.hashes is None:
        return None
    part = work.train.limited(MAX_TRAINED)
    seen = trained_on.count_among(part, work.subject.hashes)
    return part if seen == len(part) > 0 else None


def _distances(work: Work, rebuilt: Images) -> Json:
    both = {"images": work.test.images, "reconstructions": rebuilt}
    figures: Json = {"l1": mean_absolute_error(**both), "ssim": float(ssim(**both).mean())}
    if len(rebuilt) > 1:
        figures["own_to_other"] = own_to_other_ratio(**both, rng=work.rng())
    return figures


def neighbours(work: Work, train: Dataset, linear: pca.LinearPair) -> Json:
    """1-NN class accuracy: references are training images, queries test images.

    By codes and, of runs, by what the layer before them sees, which Donahue et al.'s code measures
    too; there unless it is so wide that as many references of it would not fit.
    """
    references = work.references(train)
    queries = work.test.limited(MAX_QUERIES)
    figures: Json = {"references": len(references), "queries": len(queries)}

    def measure(name: str, encode: Any) -> None:
        work.watch.say(f"1-NN: {name}")
        figures[name] = one_nn_accuracy(
            reference=encode(references.images),
            reference_labels=labels_of(references),
            queries=encode(queries.images),
            query_labels=labels_of(queries),
        )

    measure("encoder", work.encode)
    measure("pixels", lambda x: x)
    measure("pca", linear.encode)
    figures["pca_size"] = linear.size
    fresh = work.subject.fresh_encoder(work.seed)
    if fresh is None:
        work.notes.append("the architecture is not known: no random encoder to compare with")
        return figures
    known = references.limited(features.STATISTICS).images
    settled = random_encoder.with_fresh_statistics(fresh, known)
    measure("random_encoder", lambda x: random_encoder.features(settled, x))
    for space in features.hidden(work):
        if space.encode(queries.images[:1]).size * len(references) <= MAX_REFERENCE_NUMBERS:
            measure(space.key, space.encode)
    return figures


def samples_by_class(work: Work, judge: classifier.Classifier, train: Dataset) -> Json:
    """What a classifier trained on real images says of samples."""
    classes = work.parts.classes
    real = classifier.probabilities(judge, work.test.images)
    judged = classifier.probabilities(judge, work.samples(SAMPLES))
    shares = coverage.class_shares(judged)
    trained = np.bincount(labels_of(train), minlength=len(classes))
    rows = np.linspace(0, len(real) - 1, min(SAMPLES, len(real))).round().astype(np.int64)
    return {
        "count": SAMPLES,
        "classifier_accuracy": float((real.argmax(axis=1) == labels_of(work.test)).mean()),
        "shares": dict(zip(classes, shares.tolist(), strict=True)),
        "classes_covered": int((shares > 0).sum()),
        "largest_share": float(shares.max()),
        "smallest_share": float(shares.min()),
        "confidence_ratio": coverage.confidence_ratio(samples=judged, real=real),
        "inception_score": inception_score(samples=judged),
        "mode_score": mode_score(samples=judged, real=trained),
        "real": {
            "count": len(rows),
            "inception_score": inception_score(samples=real[rows]),
            "mode_score": mode_score(samples=real[rows], real=trained),
        },
    }
