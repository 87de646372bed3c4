"""Codes drawn, joined and varied: the definitions, and laws that must hold for any seed."""

import numpy as np
import numpy.typing as npt
import pytest

from serving.errors import Unprocessable
from serving.latents import MAX_SEED, Prior, draw_seed, lerp, path, sample, slerp, vary

PRIORS: list[Prior] = ["normal", "uniform"]
MASK = 2**64 - 1


def philox(key: tuple[int, int], counter: int) -> list[int]:
    """Philox 4x64-10 (Salmon, Moraes, Dror, Shaw 2011): four words of 64 bits from a counter."""
    x = [counter & MASK, 0, 0, 0]
    k0, k1 = key
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
        x = [(b >> 64) ^ x[1] ^ k0, b & MASK, (a >> 64) ^ x[3] ^ k1, a & MASK]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return x


@pytest.mark.parametrize("seed", [0, 7, 2**53, MAX_SEED])
def test_a_uniform_code_is_philox_keyed_by_seed_and_number(seed: int) -> None:
    codes = sample(seed, 5, 16, "uniform")
    for i, code in enumerate(codes):
        words = [word for block in (1, 2) for word in philox((seed, i), block)]  # numpy begins at 1
        halves = [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)]
        wanted = [2 * (half >> 8) / 2**24 - 1 for half in halves]  # 24 bits make a float32
        assert code.tolist() == wanted


@pytest.mark.parametrize("seed", [0, 7, MAX_SEED])
def test_a_normal_code_is_numpys_for_that_key(seed: int) -> None:
    codes = sample(seed, 4, 33, "normal", start=10)
    for i, code in enumerate(codes):
        random = np.random.Generator(np.random.Philox(key=[seed, 10 + i]))
        np.testing.assert_array_equal(code, random.standard_normal(33, np.float32))


def test_these_codes_will_never_change() -> None:
    """Whoever noted a seed gets the same image from any later version (recorded 2026)."""
    wanted = np.array([[0.181705, -1.242639, -0.551553], [1.371401, -1.225160, 0.302719]])
    found = sample(42, 2, 3, "normal")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("prior", PRIORS)
def test_a_code_depends_on_seed_and_number_alone(prior: Prior) -> None:
    many = sample(3, 20, 8, prior)
    np.testing.assert_array_equal(sample(3, 4, 8, prior), many[:4])
    np.testing.assert_array_equal(sample(3, 5, 8, prior, start=15), many[15:])
    np.testing.assert_array_equal(sample(3, 20, 5, prior), many[:, :5])
    assert len(np.unique(np.concatenate([many, sample(4, 20, 8, prior)]), axis=0)) == 40
    assert sample(3, 0, 8, prior).shape == (0, 8)


def test_codes_have_the_priors_moments() -> None:
    normal, uniform = (sample(1, 2000, 50, prior) for prior in PRIORS)
    # 100,000 numbers: the standard errors of mean and deviation are below 0.0033.
    assert abs(normal.mean()) < 0.015
    assert normal.std() == pytest.approx(1, abs=0.015)
    assert (normal**4).mean() == pytest.approx(3, abs=0.1)
    assert abs(uniform.mean()) < 0.01
    assert uniform.std() == pytest.approx(3**-0.5, abs=0.01)
    assert -1 <= uniform.min() < -0.999
    assert 0.999 < uniform.max() < 1


@pytest.mark.parametrize("prior", PRIORS)
def test_truncation_scales(prior: Prior) -> None:
    whole, half = sample(5, 3, 4, prior), sample(5, 3, 4, prior, truncation=0.5)
    np.testing.assert_array_equal(half, whole * np.float32(0.5))


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 2**64])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(Unprocessable, match="seed must be a whole number"):
        sample(seed, 1, 2, "normal")
    with pytest.raises(Unprocessable, match="seed must be a whole number"):
        vary(np.zeros(2, np.float32), 1, 0.1, seed, "normal")


@pytest.mark.parametrize("truncation", [0, -1, 1.01, float("nan")])
def test_a_truncation_out_of_range_is_refused(truncation: float) -> None:
    with pytest.raises(Unprocessable, match="truncation must be above 0"):
        sample(1, 1, 2, "normal", truncation=truncation)


def test_negative_numbers_of_codes_are_refused() -> None:
    for counts in ({"n": -1}, {"n": 1, "start": -1}):
        with pytest.raises(Unprocessable, match="at least 0"):
            sample(1, size=2, prior="normal", **counts)


def test_drawn_seeds_differ_and_survive_javascript() -> None:
    seeds = {draw_seed() for _ in range(100)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**53 and int(float(seed)) == seed for seed in seeds)
    assert max(seeds) > 2**48


# --- Paths -----------------------------------------------------------------------------------


def code(*numbers: float) -> npt.NDArray[np.float32]:
    return np.array(numbers, np.float32)


def test_slerp_turns_evenly_and_grows_evenly() -> None:
    a, b = code(2, 0), code(0, 4)
    found = slerp(a, b, [0, 1 / 3, 0.5, 1])
    thirty, half = np.deg2rad(30), 3 * 0.5**0.5
    wanted = [[2, 0], [np.cos(thirty) * 8 / 3, np.sin(thirty) * 8 / 3], [half, half], [0, 4]]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_slerp_stays_on_the_shell_that_lerp_leaves() -> None:
    a, b = sample(1, 2, 64, "normal")
    norms = np.linalg.norm(slerp(a, b, np.linspace(0, 1, 9)), axis=1)
    ends = np.linalg.norm(a), np.linalg.norm(b)
    np.testing.assert_allclose(norms, np.linspace(*ends, 9), rtol=1e-5)
    assert np.linalg.norm(lerp(a, b, [0.5])) < 0.85 * min(ends)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(code(1, 2), code(2, 4), id="parallel"),
        pytest.param(code(1, 2), code(1, 2), id="equal"),
        pytest.param(code(1, 2), code(1.00001, 2), id="nearly parallel"),
        pytest.param(code(1, 2), code(-2, -4), id="opposite"),
        pytest.param(code(0, 0), code(1, 2), id="from zero"),
        pytest.param(code(0, 0), code(0, 0), id="zero"),
    ],
)
def test_where_there_is_no_arc_the_way_is_straight(
    a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]
) -> None:
    found = slerp(a, b, [0, 0.25, 1])
    np.testing.assert_allclose(found, [a, 0.75 * a + 0.25 * b, b], atol=1e-5)


@pytest.mark.parametrize("frames", [2, 3, 16])
@pytest.mark.parametrize("ends", [2, 3, 5])
def test_a_path_meets_every_waypoint_once(frames: int, ends: int) -> None:
    waypoints = sample(1, ends, 6, "normal")
    found = path(waypoints, frames)
    assert found.dtype == np.float32
    assert found.shape == ((ends - 1) * (frames - 1) + 1, 6)
    np.testing.assert_array_equal(found[:: frames - 1], waypoints)  # bit for bit


def test_a_path_runs_as_named() -> None:
    waypoints = sample(1, 3, 6, "normal")
    middles = path(waypoints, 3)[1::2]
    wanted = [slerp(a, b, [0.5])[0] for a, b in ((waypoints[0], waypoints[1]), waypoints[1:])]
    np.testing.assert_array_equal(middles, wanted)
    straight = (waypoints[:-1] + waypoints[1:]) / 2
    np.testing.assert_allclose(path(waypoints, 3, "lerp")[1::2], straight, atol=1e-6)
    np.testing.assert_allclose(path(waypoints, 3, "slerp", "uniform")[1::2], straight, atol=1e-6)
    assert np.abs(middles - straight).max() > 0.1


@pytest.mark.parametrize(
    ("ends", "frames", "kind", "complaint"),
    [
        (1, 4, "slerp", "at least 2 ends, got 1"),
        (0, 4, "slerp", "at least 2 ends, got 0"),
        (2, 1, "slerp", "frames must be at least 2"),
        (2, 4, "spline", "path must be one of slerp, lerp, got 'spline'"),
    ],
)
def test_a_path_that_cannot_be_is_refused(
    ends: int, frames: int, kind: str, complaint: str
) -> None:
    with pytest.raises(Unprocessable, match=complaint):
        path(np.zeros((ends, 3), np.float32), frames, kind)  # type: ignore[arg-type]


# --- Variations ------------------------------------------------------------------------------


def test_variations_of_a_normal_code_keep_its_norm() -> None:
    z = sample(1, 1, 16, "normal")[0]
    found = vary(z, 4, 0.5, 9, "normal")
    noisy = z + 0.5 * sample(9, 4, 16, "normal")
    wanted = noisy / np.linalg.norm(noisy, axis=1, keepdims=True) * np.linalg.norm(z)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_variations_of_a_uniform_code_stay_in_the_cube() -> None:
    z = sample(1, 1, 16, "uniform")[0]
    wanted = np.clip(z + 2 * sample(9, 4, 16, "uniform"), -1, 1)
    found = vary(z, 4, 2, 9, "uniform")
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.abs(found).max() == 1


@pytest.mark.parametrize("prior", PRIORS)
def test_no_strength_no_variation(prior: Prior) -> None:
    z = sample(1, 1, 16, prior)[0]
    np.testing.assert_allclose(vary(z, 2, 0, 9, prior), [z, z], rtol=1e-6)


@pytest.mark.parametrize("prior", PRIORS)
def test_a_variation_depends_on_seed_and_number_alone(prior: Prior) -> None:
    z = sample(1, 1, 8, prior)[0]
    np.testing.assert_array_equal(vary(z, 9, 0.3, 5, prior)[:4], vary(z, 4, 0.3, 5, prior))


def test_variations_of_zero_and_of_great_strength_are_finite() -> None:
    assert np.isfinite(vary(np.zeros(4, np.float32), 3, 0, 1, "normal")).all()
    assert np.isfinite(vary(code(1, 2, 3), 3, 1e6, 1, "normal")).all()


@pytest.mark.parametrize("strength", [-0.1, 1e7, float("inf"), float("nan")])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(Unprocessable, match="strength must be from 0"):
        vary(code(1, 2), 1, strength, 1, "normal")


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_a_mixed_code_ends_in_one_category(prior: Prior) -> None:
    codes = sample(7, 4000, 6, prior, categorical=4)
    random = np.random.Generator(np.random.Philox(key=[7, 3]))
    free = random.standard_normal(2, np.float32) if prior == "normal" else (
        2 * random.random(2, np.float32) - 1
    )  # fmt: skip
    wanted = np.concatenate([free, np.eye(4, dtype=np.float32)[random.integers(4)]])
    np.testing.assert_array_equal(codes[3], wanted)
    assert np.abs(codes[:, 2:].mean(axis=0) - 0.25).max() < 0.03
    tame = sample(7, 4000, 6, prior, categorical=4, truncation=0.5)
    np.testing.assert_array_equal(tame, codes * np.array([0.5, 0.5, 1, 1, 1, 1], np.float32))


def test_a_path_turns_round_what_is_free_and_mixes_categories() -> None:
    ends = np.array([[1, 0, 1, 0], [0, 1, 0, 1]], np.float32)
    codes = path(ends, 3, categorical=2)
    np.testing.assert_allclose(codes[1], [0.5**0.5, 0.5**0.5, 0.5, 0.5], atol=1e-6)
    np.testing.assert_array_equal(codes[[0, -1]], ends)


def test_variations_keep_the_category_and_the_norm_of_the_rest() -> None:
    z = np.array([3, 4, 0.25, 0.75], np.float32)
    codes = vary(z, 5, 1.0, 1, "normal", categorical=2)
    np.testing.assert_array_equal(codes[:, 2:], np.tile(z[2:], (5, 1)))
    np.testing.assert_allclose(np.linalg.norm(codes[:, :2], axis=1), 5, rtol=1e-6)
    assert len(np.unique(codes[:, 0])) == 5
