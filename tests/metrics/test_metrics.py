"""Each metric against a value worked out by hand, a slow formula, or another library."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from models.metrics import coverage, pca
from models.metrics.auroc import auroc
from models.metrics.latent_moments import PRIOR_MOMENTS, latent_moments
from models.metrics.one_nn import one_nn_accuracy
from models.metrics.reconstruction import (
    mean_absolute_error,
    mean_distance,
    own_to_other_ratio,
)

RNG = np.random.default_rng


def images(rows: int, seed: int = 0) -> np.ndarray:
    return RNG(seed).integers(0, 256, (rows, 4, 5, 3), np.uint8)


class TestReconstruction:
    def test_by_hand(self) -> None:
        x = np.zeros((2, 1, 2, 1), np.uint8)
        r = x.copy()
        r[0, 0, 0, 0] = 255  # one of four pixels is wrong, by all there is
        r[1, 0, :, 0] = (51, 68)  # 0.2 and 0.2667: their norm is a third
        assert mean_absolute_error(images=x, reconstructions=r) == pytest.approx(
            (1 + 0.2 + 68 / 255) / 4
        )
        assert mean_distance(images=x, reconstructions=r) == pytest.approx((1 + 1 / 3) / 2)

    def test_more_images_than_are_taken_at_once(self) -> None:
        x, r = images(2500), images(2500, seed=1)
        d = (x.astype(float) - r) / 255
        assert mean_absolute_error(images=x, reconstructions=r) == pytest.approx(np.abs(d).mean())
        norms = np.sqrt((d**2).sum(axis=(1, 2, 3)))
        assert mean_distance(images=x, reconstructions=r) == pytest.approx(norms.mean())

    def test_the_ratio_of_two_images_is_known(self) -> None:
        x = np.zeros((2, 1, 1, 1), np.uint8)
        x[1] = 200
        r = x + np.uint8(10)  # own 10; other: |0 - 210| and |200 - 10|, mean 200
        assert own_to_other_ratio(images=x, reconstructions=r, rng=RNG(0)) == pytest.approx(0.05)

    def test_no_image_meets_its_own_reconstruction_as_the_other(self) -> None:
        # a perfect pair of images all alike but for one level: "other" would be 0 for itself
        x = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
        for seed in range(20):
            ratio = own_to_other_ratio(images=x, reconstructions=x, rng=RNG(seed))
            assert ratio == 0
        far = x.copy()
        far[0] = 255  # only image 0 is off, and only by its own reconstruction
        apart = np.abs(x.astype(float) - x.reshape(1, -1)).mean()
        assert own_to_other_ratio(images=x, reconstructions=far, rng=RNG(0)) == pytest.approx(
            2.55 / apart, rel=0.2
        )

    def test_reconstructions_that_say_nothing_have_ratio_one(self) -> None:
        x = images(500)
        r = np.full_like(x, 128)
        assert own_to_other_ratio(images=x, reconstructions=r, rng=RNG(0)) == pytest.approx(1)

    def test_what_cannot_be_compared(self) -> None:
        with pytest.raises(ValueError, match="reconstructions"):
            mean_absolute_error(images=images(3), reconstructions=images(2))
        with pytest.raises(ValueError, match="at least two"):
            own_to_other_ratio(images=images(1), reconstructions=images(1), rng=RNG(0))


class TestOneNN:
    def test_against_all_pairs(self) -> None:
        rng = RNG(0)
        reference, queries = rng.normal(size=(80, 6)), rng.normal(size=(50, 6))
        labels = rng.integers(0, 3, 80)
        wanted = rng.integers(0, 3, 50)
        nearest = [min(range(80), key=lambda i: float(((reference[i] - q) ** 2).sum()))
                   for q in queries]  # fmt: skip
        accuracy = one_nn_accuracy(
            reference=reference, reference_labels=labels, queries=queries, query_labels=wanted
        )
        assert 0.1 < accuracy < 0.6
        assert accuracy == np.mean(labels[nearest] == wanted)

    def test_a_set_with_itself_is_right(self) -> None:
        rows, labels = images(60), RNG(1).integers(0, 10, 60)
        assert (
            one_nn_accuracy(
                reference=rows, reference_labels=labels, queries=rows, query_labels=labels
            )
            == 1
        )

    def test_labels_must_fit(self) -> None:
        rows, labels = images(3), np.zeros(3, np.int64)
        with pytest.raises(ValueError, match="3 rows with labels"):
            one_nn_accuracy(
                reference=rows, reference_labels=labels[:2], queries=rows, query_labels=labels
            )


class TestAuroc:
    @pytest.mark.parametrize(
        ("normal", "abnormal", "area"),
        [
            ([0, 1], [2, 3], 1.0),
            ([2, 3], [0, 1], 0.0),
            ([1, 1], [1, 1], 0.5),
            ([0, 2], [1, 3], 0.75),  # 3 of the 4 pairs are in order
            ([0, 1], [1], 0.75),  # one pair in order, one tie
        ],
    )
    def test_by_hand(self, normal: list[int], abnormal: list[int], area: float) -> None:
        assert auroc(normal=np.array(normal), abnormal=np.array(abnormal)) == area

    def test_is_mann_and_whitneys_u(self) -> None:
        normal, abnormal = RNG(0).normal(size=70), RNG(1).normal(size=90) + 0.5
        u = mannwhitneyu(abnormal, normal).statistic
        assert auroc(normal=normal, abnormal=abnormal) == pytest.approx(u / 70 / 90)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="0 abnormal"):
            auroc(normal=np.ones(3), abnormal=np.ones(0))
        with pytest.raises(ValueError, match="NaN"):
            auroc(normal=np.ones(3), abnormal=np.array([np.nan]))


class TestLatentMoments:
    def test_by_hand(self) -> None:
        moments = latent_moments(np.array([[0, 1, -4], [2, 1, 4]], np.float32))
        assert moments.mean.tolist() == [1, 1, 0]
        assert moments.std.tolist() == [1, 0, 4]
        assert moments.mean_range == (0, 1)
        assert moments.std_range == (0, 4)

    def test_large_means_lose_no_digits(self) -> None:
        codes = np.float32(4096) + RNG(0).normal(size=(5000, 2)).astype(np.float32)
        assert latent_moments(codes).std == pytest.approx(codes.astype(float).std(axis=0))

    def test_of_the_priors(self) -> None:
        drawn = {"normal": RNG(0).normal(size=200_000), "uniform": RNG(0).uniform(-1, 1, 200_000)}
        for prior, (mean, std) in PRIOR_MOMENTS.items():
            assert drawn[prior].mean() == pytest.approx(mean, abs=0.01)
            assert drawn[prior].std() == pytest.approx(std, abs=0.01)

    @pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 3, 4)])
    def test_refusals(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="codes must be"):
            latent_moments(np.zeros(shape))


class TestCoverage:
    JUDGED = np.array([[0.6, 0.3, 0.1], [0.2, 0.8, 0.0], [0.5, 0.4, 0.1], [0.9, 0.1, 0.0]])

    def test_shares_by_hand(self) -> None:
        assert coverage.class_shares(self.JUDGED).tolist() == [0.75, 0.25, 0]

    def test_confidence_by_hand(self) -> None:
        real = np.array([[0.9, 0.1], [0.5, 0.5]])
        assert coverage.confidence_ratio(samples=self.JUDGED, real=real) == pytest.approx(1.0)
        assert coverage.confidence_ratio(samples=real, real=real) == 1
        assert coverage.confidence_ratio(samples=self.JUDGED[:1], real=real) == pytest.approx(
            0.6 / 0.7
        )

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="probabilities must be"):
            coverage.class_shares(np.zeros((0, 3)))


class TestPca:
    def test_reconstructs_as_the_singular_vectors_do(self) -> None:
        x = images(200)
        flat = x.reshape(200, -1) / 255
        centred = flat - flat.mean(axis=0)
        _, _, v = np.linalg.svd(centred, full_matrices=False)
        expected = centred @ v[:7].T @ v[:7] + flat.mean(axis=0)
        linear = pca.fit(x, size=7)
        rebuilt = linear.decode(linear.encode(x))
        assert linear.size == 7
        assert rebuilt.shape == x.shape
        expected = (expected * 255).clip(0, 255).reshape(x.shape)
        np.testing.assert_allclose(rebuilt, expected, rtol=0, atol=0.51)

    def test_all_components_give_the_images_back(self) -> None:
        x = images(200)
        linear = pca.fit(x, size=1000)
        assert linear.size == 60  # 4 x 5 x 3 numbers, no more
        assert np.array_equal(linear.decode(linear.encode(x)), x)

    def test_large_images_are_fitted_by_the_randomised_method(self) -> None:
        codes = RNG(0).normal(size=(30, 2))
        planes = RNG(1).normal(size=(2, 70 * 70))
        flat = codes @ planes
        x = np.rint(127 + 120 * flat / np.abs(flat).max()).astype(np.uint8).reshape(30, 70, 70, 1)
        linear = pca.fit(x, size=2)
        difference = linear.decode(linear.encode(x)).astype(int) - x
        assert np.abs(difference).max() <= 2

    def test_one_image_has_no_components(self) -> None:
        with pytest.raises(ValueError, match="at least two images, got 1"):
            pca.fit(images(1), size=2)
