"""The four graphs in torch: pixels in, pixels out, and score terms by their definitions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import Tensor, nn

from export import graphs, probes
from export.graphs import DecodeGraph, EncodeGraph, Pair, ReconstructGraph, ScoreGraph
from models.datasets.pixels import to_float, to_uint8
from models.datasets.scaling import Scaling
from models.metrics.residuals import residual_terms
from models.metrics.ssim import ssim
from models.networks.joint import JointCritic
from models.pairings.judge import Judge
from small_pairs import image_pair, vector_pair


def noise(rows: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, *shape), np.uint8)


class Constant(nn.Module):
    """G that gives one value everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, z: Tensor) -> Tensor:
        return torch.full((len(z), 1, 2, 2), self.value)


@pytest.mark.parametrize(
    ("value", "grey"),
    [
        pytest.param(-1.0, 0, id="black"),
        pytest.param(1.0, 255, id="white"),
        pytest.param(-3.0, 0, id="clipped below"),
        pytest.param(3.0, 255, id="clipped above"),
        pytest.param(0.0, 128, id="127.5 rounds to the even 128"),
        pytest.param(-0.4, 76, id="76.5 rounds to the even 76"),
    ],
)
def test_grey_levels_by_hand(value: float, grey: int) -> None:
    pair = Pair(
        encoder=nn.Identity(), generator=Constant(value), shape=(2, 2, 1), latent=3, prior="normal"
    )
    images = DecodeGraph(pair)(torch.zeros(1, 3))
    assert images.dtype == torch.uint8
    assert images.tolist() == [[[[grey], [grey]], [[grey], [grey]]]]


@pytest.mark.parametrize("shape", [(16, 16, 1), (24, 40, 3)])
@torch.no_grad()
def test_networks_see_and_give_pixels_as_in_training(shape: tuple[int, int, int]) -> None:
    pair = image_pair(shape)
    x, z = torch.from_numpy(noise(4, shape)), torch.randn(4, pair.latent)
    assert torch.equal(EncodeGraph(pair)(x), pair.encoder(to_float(x)))
    assert torch.equal(DecodeGraph(pair)(z), to_uint8(pair.generator(z)))
    codes, rebuilt = ReconstructGraph(pair)(x)
    assert torch.equal(codes, pair.encoder(to_float(x)))
    assert torch.equal(rebuilt, to_uint8(pair.generator(codes)))


def mean_3x3(d: np.ndarray) -> np.ndarray:
    """The mean of each pixel's neighbours that exist, [H, W]."""
    ones = np.ones((3, 3))
    mean: np.ndarray = convolve2d(d, ones, mode="same")
    mean /= convolve2d(np.ones_like(d), ones, mode="same")
    return mean


def means_7x7(maps: np.ndarray) -> np.ndarray:
    """The mean of each 7x7 window of [H, W, C], or of what an image less high or wide has."""
    sides = min(7, maps.shape[0]), min(7, maps.shape[1])
    windows = np.lib.stride_tricks.sliding_window_view(maps, sides, axis=(0, 1))
    means: np.ndarray = windows.mean(axis=(3, 4))
    return means


@pytest.mark.parametrize("shape", [(16, 16, 1), (24, 40, 3), (2, 8, 3)])
@torch.no_grad()
def test_score_terms_follow_their_definitions(shape: tuple[int, int, int]) -> None:
    pair = image_pair(shape)
    x = noise(4, shape)
    _, r = (t.numpy() for t in ReconstructGraph(pair)(torch.from_numpy(x)))
    d = (x.astype(np.float64) - r) / 255
    codes = [EncodeGraph(pair)(torch.from_numpy(each)).double().numpy() for each in (x, r)]
    smooth = np.array(
        [[mean_3x3(image[..., c]) for c in range(shape[2])] for image in d]
    )  # [N, C, H, W]
    expected = np.stack(
        [
            np.abs(d).mean(axis=(1, 2, 3)),
            (d**2).mean(axis=(1, 2, 3)),
            (smooth**2).mean(axis=(1, 2, 3)),
            [means_7x7(image**2).mean(axis=2).max() for image in d],
            [(means_7x7(image) ** 2).mean(axis=2).max() for image in d],
            ((codes[0] - codes[1]) ** 2).mean(axis=1),
            1 - ssim(images=x, reconstructions=r),
            (codes[0] ** 2).mean(axis=1) / 2,
        ],
        axis=1,
    )
    terms, heat = (t.numpy() for t in ScoreGraph(pair)(torch.from_numpy(x)))
    found = residual_terms(d)  # what baselines are scored by
    for i, name in enumerate(graphs.score_terms(pair)[1:5], start=1):
        np.testing.assert_allclose(found[name], expected[:, i], rtol=1e-9, err_msg=name)
    names = ("l1", "l2", "l2s", "peak", "blob", "cycle", "ssim", "prior")
    assert graphs.score_terms(pair) == names
    np.testing.assert_allclose(terms, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(heat, np.abs(d).mean(axis=3), rtol=1e-5, atol=1e-7)
    # each term says something of its own, or this test could not tell them apart
    assert len(np.unique(expected.round(6))) == expected.size


@torch.no_grad()
def test_score_terms_of_vectors() -> None:
    pair = vector_pair()
    x = torch.randn(5, 3)
    r = pair.generator(pair.encoder(x))
    terms, heat = ScoreGraph(pair)(x)
    expected = torch.stack(
        [
            (x - r).abs().mean(1),
            ((x - r) ** 2).mean(1),
            ((pair.encoder(x) - pair.encoder(r)) ** 2).mean(1),
            (pair.encoder(x) ** 2).mean(1) / 2,
        ],
        dim=1,
    )
    assert graphs.score_terms(pair) == ("l1", "l2", "cycle", "prior")
    torch.testing.assert_close(terms, expected)
    torch.testing.assert_close(heat, (x - r).abs())


@torch.no_grad()
def test_networks_see_scaled_vectors_and_terms_are_on_that_scale() -> None:
    shift, scale = np.array([5, -2, 0], np.float32), np.array([100, 0.5, 1], np.float32)
    pair = replace(vector_pair(), scaling=Scaling(shift=shift, scale=scale))
    seen = torch.randn(5, 3)
    x = seen * torch.from_numpy(scale) + torch.from_numpy(shift)
    codes = pair.encoder(seen)
    torch.testing.assert_close(EncodeGraph(pair)(x), codes)
    r = pair.generator(codes) * torch.from_numpy(scale) + torch.from_numpy(shift)
    torch.testing.assert_close(DecodeGraph(pair)(codes), r)
    torch.testing.assert_close(ReconstructGraph(pair)(x)[1], r)
    d = seen - pair.generator(codes)
    terms, heat = ScoreGraph(pair)(x)
    torch.testing.assert_close(terms[:, :2], torch.stack([d.abs().mean(1), (d**2).mean(1)], dim=1))
    torch.testing.assert_close(heat, d.abs())


@torch.no_grad()
def test_a_critic_s_terms_come_last() -> None:
    torch.manual_seed(0)
    critic = JointCritic(nn.Linear(3, 4), 4, latent=2, width=4, joint=4)
    scaling = Scaling(shift=np.full(3, 7, np.float32), scale=np.full(3, 2, np.float32))
    pair = replace(vector_pair(), judge=Judge(critic, "pairs"), scaling=scaling)
    assert graphs.score_terms(pair)[-2:] == ("feature", "critic")
    seen = torch.randn(5, 3)
    terms = ScoreGraph(pair)(2 * seen + 7)[0]
    codes = pair.encoder(seen)
    noticed, missed = (critic.features(v, codes) for v in (seen, pair.generator(codes)))
    wanted = [(noticed - missed).abs().mean(1), -critic(seen, codes)]
    torch.testing.assert_close(terms[:, -2:], torch.stack(wanted, dim=1), rtol=1e-4, atol=1e-5)


def test_probes_are_samples_and_noise_and_always_the_same() -> None:
    pair = image_pair()
    images = probes.items(pair, 6, seed=3)
    assert np.array_equal(images, probes.items(pair, 6, seed=3))
    assert not np.array_equal(images, probes.items(pair, 6, seed=4))
    with torch.no_grad():
        samples = DecodeGraph(pair)(torch.from_numpy(probes.latents(pair, 6, seed=3))).numpy()
    assert np.array_equal(images[::2], samples[::2])
    assert np.unique(images[1::2]).size > 200
