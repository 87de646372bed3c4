"""The classifier and the random encoder: what they learn, and what they must not depend on."""

import numpy as np
import pytest
import torch
from torch import nn

from models.metrics import classifier, random_encoder


def striped(rows: int, seed: int, shape: tuple[int, int, int] = (12, 16, 3)) -> tuple:  # type: ignore[type-arg]
    """Images whose class is where the bright stripe is, in noise; and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    images = rng.integers(0, 120, (rows, *shape), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4 * label : 4 * label + 2] += 100
    return images, labels


def test_the_classifier_learns_and_generalises() -> None:
    images, labels = striped(300, seed=0)
    fresh, wanted = striped(200, seed=1)
    judge = classifier.train(images=images, labels=labels, classes=3, steps=60, batch=32)
    judged = classifier.probabilities(judge, fresh)
    assert judged.shape == (200, 3)
    np.testing.assert_allclose(judged.sum(axis=1), 1, rtol=1e-5)
    assert (judged.argmax(axis=1) == wanted).mean() > 0.95


def test_the_same_seed_gives_the_same_classifier_and_touches_no_other_draw() -> None:
    images, labels = striped(100, seed=0)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    judged = [
        classifier.probabilities(
            classifier.train(images=images, labels=labels, classes=3, steps=5, seed=seed), images
        )
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(judged[0], judged[1])
    assert not np.array_equal(judged[0], judged[2])


@pytest.mark.parametrize("shape", [(16, 16, 1), (24, 40, 3), (3, 5, 1), (100, 20, 1)])
def test_the_classifier_takes_any_size(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, *shape), np.uint8)
    judge = classifier.train(images=images, labels=np.arange(8) % 2, classes=2, steps=1, batch=4)
    assert classifier.probabilities(judge, images).shape == (8, 2)


def test_progress_is_told_of_every_step() -> None:
    images, labels = striped(20, seed=0)
    seen: list[int] = []

    def track(steps: range) -> list[int]:
        seen.extend(steps)
        return list(steps)

    classifier.train(images=images, labels=labels, classes=3, steps=4, track=track)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("labels", "message"),
    [(np.zeros(3, np.int64), "labels of shape"), (np.array([0, 1, 2, 3]), r"must be in 0\.\.2")],
)
def test_labels_must_fit(labels: np.ndarray, message: str) -> None:
    images, _ = striped(4, seed=0)
    with pytest.raises(ValueError, match=message):
        classifier.train(images=images, labels=labels, classes=3)


def test_a_random_encoder_is_normalised_by_the_images_it_is_given() -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.Flatten())
    images, _ = striped(512, seed=0)
    settled = random_encoder.with_fresh_statistics(encoder, images)
    found = random_encoder.features(settled, images).reshape(512, 4, -1)
    np.testing.assert_allclose(found.mean(axis=(0, 2)), 0, atol=0.02)
    np.testing.assert_allclose(found.std(axis=(0, 2)), 1, atol=0.02)
    untouched = random_encoder.features(encoder.eval(), images).reshape(512, 4, -1)
    assert np.abs(untouched.std(axis=(0, 2)) - 1).max() > 0.1
    alone = random_encoder.features(settled, images[:1])
    np.testing.assert_allclose(alone.ravel(), found[0].ravel(), rtol=1e-4, atol=1e-5)
