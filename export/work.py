"""The arrays that several figures share, each computed once."""

from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from export.parts import Parts, labels_of
from export.subjects import Array, Subject
from export.watching import Silent
from models.datasets import Dataset
from models.metrics import classifier, pca
from serving.latents import sample

Images = npt.NDArray[np.uint8]

MAX_REFERENCES: Final = 60_000  # training images to fit to, and to look for neighbours in
MAX_REFERENCE_NUMBERS: Final = 200_000_000  # pixels of all references: bounds memory and time
EPOCHS, MAX_STEPS = 40, 1500  # of the classifier, whichever is less
IMAGES_PER_CLASS: Final = 20  # fewer, and no classifier can be trained


class Work:
    """A subject, its data, and what has been computed of them so far."""

    def __init__(self, subject: Subject, data: Parts, seed: int, watch: Silent) -> None:
        self.subject, self.parts, self.seed, self.watch = subject, data, seed, watch
        self.train, self.test = data.train, data.test
        self.notes: list[str] = []
        self._samples: Images = np.empty((0, *subject.spec.shape), np.uint8)
        watch.say(f"reconstructing {len(self.test):,} images")
        self.codes, self.rebuilt = subject.run("reconstruct", self.test.images, watch=watch)

    @property
    def items(self) -> str:
        """What is measured, in a word."""
        return "images" if self.subject.of_images else "vectors"

    def rng(self) -> np.random.Generator:
        """A fresh generator of the evaluation's seed."""
        return np.random.Generator(np.random.Philox(key=self.seed))

    def latents(self, count: int) -> npt.NDArray[np.float32]:
        """Draws of the prior, as the server draws them for this seed."""
        subject = self.subject
        return sample(
            self.seed, count, subject.latent, subject.prior, categorical=subject.categorical
        )

    @property
    def free(self) -> npt.NDArray[np.float32]:
        """The codes of the test part without categories, [N, Z or less]."""
        return self.codes[:, : self.subject.latent - self.subject.categorical]

    def samples(self, count: int) -> Images:
        """The images that the server gives for this seed."""
        have = len(self._samples)
        if count > have:
            more = self.subject.run("decode", self.latents(count)[have:], watch=self.watch)[0]
            self._samples = np.concatenate([self._samples, more])
        return self._samples[:count]

    def encode(self, images: Images) -> Array:
        """E(x), [N, Z]."""
        return self.subject.run("encode", images, watch=self.watch)[0]

    def decode(self, latents: npt.NDArray[np.float32]) -> Images:
        """G(z), as the server gives it."""
        images: Images = self.subject.run("decode", latents, watch=self.watch)[0]
        return images

    def terms(self, images: Images) -> npt.NDArray[np.float32]:
        """The score terms, [N, T]."""
        found: npt.NDArray[np.float32] = self.subject.run(
            "score", images, outputs=1, watch=self.watch
        )[0]
        return found

    @cached_property
    def test_terms(self) -> npt.NDArray[np.float32]:
        """The score terms of the test part."""
        self.watch.say(f"scoring {len(self.test):,} normal images")
        return self.terms(self.test.images)

    def references(self, train: Dataset) -> Dataset:
        """As many training images as 1-NN and PCA can hold, evenly spread."""
        room = max(2, MAX_REFERENCE_NUMBERS // int(np.prod(self.subject.spec.shape)))
        return train.limited(min(MAX_REFERENCES, room))

    @cached_property
    def linear(self) -> pca.LinearPair | None:
        """PCA with as many numbers per image; None where there is nothing to fit it to."""
        if self.train is None or len(self.train) < 2:
            return None
        known = self.references(self.train)
        self.watch.say(f"fitting PCA to {len(known):,} images")
        seen = self.subject.seen(known.images)
        return pca.fit(seen, size=self.subject.latent, seed=self.seed)

    @cached_property
    def judge(self) -> classifier.Classifier | None:
        """A classifier of the training labels; None, and a note, where they do not suffice."""
        classes, train = self.parts.classes, self.train
        if not classes or train is None:
            return None
        if len(train) < IMAGES_PER_CLASS * len(classes):
            self.notes.append("too few images per class for a classifier: samples not classified")
            return None
        self.watch.say(f"training a classifier on {len(train):,} images")
        return classifier.train(
            images=train.images,
            labels=labels_of(train),
            classes=len(classes),
            seed=self.seed,
            steps=min(MAX_STEPS, EPOCHS * len(train) // classifier.BATCH + 1),
            track=lambda steps: self.watch.track(steps, "classifier"),
        )

    def picked(self, count: int) -> npt.NDArray[np.int64]:
        """Rows of the test part to show, the same for the same seed and data."""
        return self.rng().permutation(len(self.test))[:count]
