"""The figures of a run or a bundle on labelled images, each beside a baseline.

A figure that stands alone says nothing: reconstruction and neighbours are measured for E and G,
and with the same code for PCA with as many numbers per image, for raw pixels, and for an encoder
of the same architecture with random weights.
"""

import time
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from export import parts
from export.parts import Parts, labels_of
from export.report import FRAMES, Report
from export.runs import name_of
from export.subjects import Subject
from export.watching import Silent
from models.datasets import Dataset
from models.metrics import classifier, coverage, pca, random_encoder
from models.metrics.auroc import auroc
from models.metrics.latent_moments import PRIOR_MOMENTS, latent_moments
from models.metrics.one_nn import one_nn_accuracy
from models.metrics.reconstruction import mean_absolute_error, own_to_other_ratio
from serving.latents import path, sample

Images = npt.NDArray[np.uint8]
Json = dict[str, Any]

SAMPLES: Final = 2000  # of G, classified
MAX_QUERIES: Final = 10_000  # of 1-NN
MAX_REFERENCES: Final = 60_000
MAX_REFERENCE_NUMBERS: Final = 200_000_000  # pixels of all references: bounds memory and time
STATISTICS: Final = 2000  # images that set a random encoder's BatchNorm
EPOCHS, MAX_STEPS = 40, 1500  # of the classifier, whichever is less
IMAGES_PER_CLASS: Final = 20  # fewer, and no classifier can be trained
WALL: Final = 144  # samples shown
PAIRS: Final = 48  # images shown beside their reconstructions
MORPHS: Final = 8  # from one image to another


def evaluate(
    subject: Subject,
    *,
    data: str,
    against: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    watch: Silent | None = None,
) -> Report:
    """Measure `subject` on the data at `data`.

    Args:
        data: What the subject was trained for, with labels and a test part where there are some.
        against: What it was not trained for: score terms are to tell it from `data`.
        limit: At most so many images of each part.
        seed: Of samples, the classifier and all other draws.
        watch: Told of each stage.
    Raises:
        DataError: `data` or `against` cannot be read.
    """
    watch = watch or Silent()
    began = time.monotonic()
    work = _Work(subject, parts.read(subject, data, limit=limit, watch=watch), seed, watch)
    figures: Json = {
        "subject": {"kind": subject.kind, "title": subject.title, "device": subject.device},
        "data": {
            "name": name_of(data),
            "test": len(work.test),
            "train": len(work.train) if work.train is not None else 0,
            "classes": list(work.parts.classes),
        },
        "seed": seed,
        "codes": work.codes_figures(),
        "reconstruction": work.reconstruction(),
    }
    classes = work.parts.classes
    if classes and work.train is not None and work.linear is not None:
        figures["one_nn"] = work.neighbours(work.train, work.linear)
        if len(classes) > 1 and len(work.train) >= IMAGES_PER_CLASS * len(classes):
            figures["samples"] = work.samples_by_class(work.train)
        else:
            work.notes.append("too few images per class for a classifier: samples not classified")
    if against is not None:
        abnormal = parts.read_abnormal(subject, against, limit=limit, watch=watch)
        figures["anomaly"] = {"against": name_of(against)} | work.anomaly(abnormal)
    known = [note.replace(data, name_of(data)) for note in work.parts.notes]
    figures["notes"] = [*known, *work.notes]
    figures["seconds"] = round(time.monotonic() - began, 1)
    return Report(figures=figures, wall=work.wall(), pairs=work.shown_pairs(), morphs=work.morphs())


class _Work:
    """The arrays that several figures share, each computed once."""

    def __init__(self, subject: Subject, data: Parts, seed: int, watch: Silent) -> None:
        self.subject, self.parts, self.seed, self.watch = subject, data, seed, watch
        self.train, self.test = data.train, data.test
        self.notes: list[str] = []
        watch.say(f"reconstructing {len(self.test):,} images")
        self.codes, self.rebuilt = subject.run("reconstruct", self.test.images, watch=watch)
        self.linear: pca.LinearPair | None = None
        if self.train is not None and len(self.train) > 1:
            known = self.references(self.train)
            watch.say(f"fitting PCA to {len(known):,} images")
            self.linear = pca.fit(known.images, size=subject.latent, seed=seed)

    def references(self, train: Dataset) -> Dataset:
        """As many training images as 1-NN and PCA can hold, evenly spread."""
        room = max(2, MAX_REFERENCE_NUMBERS // int(np.prod(self.subject.spec.shape)))
        return train.limited(min(MAX_REFERENCES, room))

    def rng(self) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=self.seed))

    def sample(self, count: int) -> Images:
        """The images that the server gives for this seed."""
        z = sample(self.seed, count, self.subject.latent, self.subject.prior)
        images: Images = self.subject.run("decode", z, watch=self.watch)[0]
        return images

    def codes_figures(self) -> Json:
        """Ranges of mean and standard deviation of E(x) over its dimensions."""
        moments = latent_moments(self.codes)
        mean, std = PRIOR_MOMENTS[self.subject.prior]
        return {
            "mean": list(moments.mean_range),
            "std": list(moments.std_range),
            "prior": {"mean": mean, "std": std},
        }

    def reconstruction(self) -> Json:
        figures = self._distances(self.rebuilt)
        if self.linear is not None:
            rebuilt = self.linear.decode(self.linear.encode(self.test.images))
            figures["pca"] = {"size": self.linear.size} | self._distances(rebuilt)
        return figures

    def _distances(self, rebuilt: Images) -> Json:
        both = {"images": self.test.images, "reconstructions": rebuilt}
        figures: Json = {"l1": mean_absolute_error(**both)}
        if len(rebuilt) > 1:
            figures["own_to_other"] = own_to_other_ratio(**both, rng=self.rng())
        return figures

    def neighbours(self, train: Dataset, linear: pca.LinearPair) -> Json:
        """1-NN class accuracy: references are training images, queries test images."""
        references = self.references(train)
        queries = self.test.limited(MAX_QUERIES)
        figures: Json = {"references": len(references), "queries": len(queries)}

        def measure(name: str, encode: Any) -> None:
            self.watch.say(f"1-NN: {name}")
            figures[name] = one_nn_accuracy(
                reference=encode(references.images),
                reference_labels=labels_of(references),
                queries=encode(queries.images),
                query_labels=labels_of(queries),
            )

        measure("encoder", lambda x: self.subject.run("encode", x, watch=self.watch)[0])
        measure("pixels", lambda x: x)
        measure("pca", linear.encode)
        figures["pca_size"] = linear.size
        fresh = self.subject.fresh_encoder(self.seed)
        if fresh is None:
            self.notes.append("the architecture is not known: no random encoder to compare with")
            return figures
        settled = random_encoder.with_fresh_statistics(fresh, references.limited(STATISTICS).images)
        measure("random_encoder", lambda x: random_encoder.features(settled, x))
        return figures

    def samples_by_class(self, train: Dataset) -> Json:
        """What a classifier trained on real images says of samples."""
        test, classes = self.test, self.parts.classes
        self.watch.say(f"training a classifier on {len(train):,} images")
        judge = classifier.train(
            images=train.images,
            labels=labels_of(train),
            classes=len(classes),
            seed=self.seed,
            steps=min(MAX_STEPS, EPOCHS * len(train) // classifier.BATCH + 1),
            track=lambda steps: self.watch.track(steps, "classifier"),
        )
        real = classifier.probabilities(judge, test.images)
        judged = classifier.probabilities(judge, self.sample(SAMPLES))
        shares = coverage.class_shares(judged)
        return {
            "count": SAMPLES,
            "classifier_accuracy": float((real.argmax(axis=1) == labels_of(test)).mean()),
            "shares": dict(zip(classes, shares.tolist(), strict=True)),
            "classes_covered": int((shares > 0).sum()),
            "largest_share": float(shares.max()),
            "smallest_share": float(shares.min()),
            "confidence_ratio": coverage.confidence_ratio(samples=judged, real=real),
        }

    def anomaly(self, abnormal: Dataset) -> Json:
        """AUROC of each score term, and of PCA's squared error, for telling the two sets apart."""
        self.watch.say(f"scoring {len(self.test):,} normal and {len(abnormal):,} other images")
        normal, other = (
            self.subject.run("score", images, outputs=1, watch=self.watch)[0]
            for images in (self.test.images, abnormal.images)
        )
        figures: Json = {
            "normal": len(normal),
            "abnormal": len(other),
            "default": self.subject.default_term,
            "auroc": {
                term: auroc(normal=normal[:, i], abnormal=other[:, i])
                for i, term in enumerate(self.subject.terms)
            },
        }
        if self.linear is not None:
            figures["pca_l2"] = auroc(
                normal=_squared_error(self.linear, self.test.images),
                abnormal=_squared_error(self.linear, abnormal.images),
            )
        return figures

    def wall(self) -> Images:
        return self.sample(WALL)

    def _picked(self, count: int) -> npt.NDArray[np.int64]:
        """Rows of the test part to show, the same for the same seed and data."""
        return self.rng().permutation(len(self.test))[:count]

    def shown_pairs(self) -> Images:
        rows = self._picked(PAIRS)
        both = np.stack([self.test.images[rows], self.rebuilt[rows]], axis=1)
        return both.reshape(-1, *self.subject.spec.shape)

    def morphs(self) -> Images:
        ends = self.codes[self._picked(2 * MORPHS)]
        ends = ends[: len(ends) // 2 * 2].reshape(-1, 2, self.subject.latent)
        if not len(ends):  # a single image
            return np.empty((0, *self.subject.spec.shape), np.uint8)
        codes = np.concatenate([path(pair, FRAMES, prior=self.subject.prior) for pair in ends])
        frames: Images = self.subject.run("decode", codes, watch=self.watch)[0]
        return frames


def _squared_error(linear: pca.LinearPair, images: Images) -> npt.NDArray[np.float64]:
    """Mean squared error of each image, as the term l2 has it."""
    errors = []
    for start in range(0, len(images), pca.ROWS):
        some = images[start : start + pca.ROWS]
        difference = some.astype(np.float32) - linear.decode(linear.encode(some))
        errors.append(np.square(difference / 255.0).reshape(len(some), -1).mean(axis=1))
    return np.concatenate(errors).astype(np.float64)
