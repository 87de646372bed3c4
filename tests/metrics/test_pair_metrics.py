"""What is measured of E and G themselves: codes, cycles, similarity, morphs, detection."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torchmetrics.functional.image import structural_similarity_index_measure

from models.metrics.average_precision import average_precision
from models.metrics.kernel_mmd import kernel_mmd
from models.metrics.latent_cycle import latent_cycle
from models.metrics.latent_match import ks_statistics, mmd_to_prior
from models.metrics.smoothness import largest_to_mean_step
from models.metrics.ssim import ssim, window

RNG = np.random.default_rng


class TestLatentMatch:
    @pytest.mark.parametrize("prior", ["normal", "uniform"])
    def test_is_scipys_statistic(self, prior: str) -> None:
        codes = RNG(0).normal(size=(300, 4)) * [1, 0.5, 2, 1] + [0, 0, 0, 1]
        named = ("norm", ()) if prior == "normal" else ("uniform", (-1, 2))
        wanted = [kstest(codes[:, i], named[0], args=named[1]).statistic for i in range(4)]
        assert ks_statistics(codes, prior=prior) == pytest.approx(wanted)

    def test_of_the_prior_itself(self) -> None:
        codes = RNG(0).normal(size=(2000, 200))
        found = ks_statistics(codes, prior="normal").mean()
        assert found * np.sqrt(2000) == pytest.approx(np.sqrt(np.pi / 2) * np.log(2), rel=0.03)

    def test_codes_that_are_all_alike(self) -> None:
        assert ks_statistics(np.zeros((50, 1)), prior="normal").tolist() == [0.5]
        assert ks_statistics(np.full((50, 1), 9.0), prior="uniform").tolist() == [1]

    def test_the_discrepancy_sees_what_single_dimensions_cannot(self) -> None:
        draws = RNG(0).normal(size=(600, 2))
        same = RNG(1).normal(size=(600, 2))
        copied = same[:, [0, 0]]  # each dimension normal, both together a line
        near = mmd_to_prior(codes=same, prior_draws=draws)
        assert near == pytest.approx(0, abs=0.003)
        assert mmd_to_prior(codes=copied, prior_draws=draws) > 0.01
        wide = np.sqrt(2 * draws.var(axis=0).sum())
        assert near == kernel_mmd(real=draws, samples=same, bandwidth=wide)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="codes must be"):
            ks_statistics(np.zeros((0, 2)), prior="normal")
        with pytest.raises(ValueError, match="choose from"):
            ks_statistics(np.zeros((2, 2)), prior="cauchy")


class TestLatentCycle:
    def test_by_hand(self) -> None:
        z = np.array([[0, 1], [2, 3]], np.float32)
        assert latent_cycle(latents=z, found=z) == 0
        assert latent_cycle(latents=z, found=z + np.array([[1, 0], [0, 3]])) == 2.5

    def test_what_the_docstring_says_of_useless_encoders(self) -> None:
        z, other = RNG(0).normal(size=(2, 4000, 8))
        assert latent_cycle(latents=z, found=0 * z) == pytest.approx(1, abs=0.03)
        assert latent_cycle(latents=z, found=other) == pytest.approx(2, abs=0.06)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="latents"):
            latent_cycle(latents=np.zeros((2, 3)), found=np.zeros((2, 4)))


class TestSsim:
    @pytest.mark.parametrize("shape", [(32, 32, 1), (20, 33, 3), (11, 11, 1)])
    def test_is_torchmetrics(self, shape: tuple[int, int, int]) -> None:
        """Its map inside; at the edges it reflects the image, which Wang et al. do not."""
        x = RNG(0).integers(0, 256, (6, *shape), np.uint8)
        r = (x * 0.7 + RNG(1).integers(0, 70, x.shape)).astype(np.uint8)
        ours, theirs = (torch.from_numpy(a).permute(0, 3, 1, 2).double() / 255 for a in (x, r))
        answer = structural_similarity_index_measure(
            theirs, ours, gaussian_kernel=True, sigma=1.5, data_range=1.0, return_full_image=True
        )
        wanted = answer[1][:, :, 5:-5, 5:-5].flatten(1).mean(1)
        np.testing.assert_allclose(ssim(images=x, reconstructions=r), wanted, atol=1e-9)

    def test_by_hand(self) -> None:
        """Flat images have no structure: only the means count."""
        x, r = np.full((2, 16, 16, 1), 51, np.uint8), np.full((2, 16, 16, 1), 102, np.uint8)
        wanted = (2 * 0.2 * 0.4 + 1e-4) / (0.2**2 + 0.4**2 + 1e-4)
        assert ssim(images=x, reconstructions=r) == pytest.approx([wanted, wanted])
        noise = RNG(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
        assert ssim(images=noise, reconstructions=noise) == pytest.approx([1, 1, 1])
        other = RNG(1).integers(0, 256, noise.shape, np.uint8)
        assert np.abs(ssim(images=noise, reconstructions=other)).max() < 0.2

    def test_small_images_and_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert [len(window(side)) for side in (1, 2, 7, 8, 11, 12, 64)] == [1, 1, 7, 7, 11, 11, 11]
        x = RNG(0).integers(0, 256, (9, 8, 12, 3), np.uint8)
        whole = ssim(images=x, reconstructions=x[::-1])
        assert np.isfinite(whole).all()
        monkeypatch.setattr("models.metrics.ssim.ROWS", 2)
        assert np.array_equal(ssim(images=x, reconstructions=x[::-1]), whole)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="reconstructions"):
            ssim(
                images=np.zeros((2, 9, 9, 1), np.uint8),
                reconstructions=np.zeros((1, 9, 9, 1), np.uint8),
            )


class TestSmoothness:
    def test_by_hand(self) -> None:
        even = np.arange(5.0).reshape(1, 5, 1)
        jump = np.array([0, 0, 0, 8, 8.0]).reshape(1, 5, 1)
        assert largest_to_mean_step(even) == 1
        assert largest_to_mean_step(jump) == 4  # F - 1
        assert largest_to_mean_step(np.concatenate([even, jump])) == 2.5
        assert largest_to_mean_step(np.concatenate([even, 0 * jump])) == 1

    def test_contrast_changes_nothing(self) -> None:
        paths = RNG(0).normal(size=(3, 6, 4, 4, 1))
        assert largest_to_mean_step(paths * 9) == pytest.approx(largest_to_mean_step(paths))

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="F > 1"):
            largest_to_mean_step(np.zeros((2, 1, 3)))
        with pytest.raises(ValueError, match="no path moves"):
            largest_to_mean_step(np.zeros((2, 3, 3)))


class TestAveragePrecision:
    def test_by_hand(self) -> None:
        """From the top: abnormal, normal, abnormal: (1/1 + 2/3) / 2."""
        found = average_precision(normal=np.array([2.0]), abnormal=np.array([1.0, 3.0]))
        assert found == pytest.approx(5 / 6)
        assert average_precision(normal=np.zeros(3), abnormal=np.ones(2)) == 1

    def test_against_a_loop(self) -> None:
        normal, abnormal = RNG(0).normal(size=50), RNG(1).normal(size=20) + 0.5
        listed = sorted([(s, 0) for s in normal] + [(s, 1) for s in abnormal], reverse=True)
        truth = np.array([kind for _, kind in listed])
        at = np.cumsum(truth) / np.arange(1, 71)
        found = average_precision(normal=normal, abnormal=abnormal)
        assert found == pytest.approx((at * truth).sum() / 20)

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="0 normal"):
            average_precision(normal=np.ones(0), abnormal=np.ones(3))
        with pytest.raises(ValueError, match="NaN"):
            average_precision(normal=np.ones(3), abnormal=np.array([np.nan]))
