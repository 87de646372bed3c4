"""Distances between samples and real images, against closed forms and other implementations."""

import numpy as np
import ot
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import entropy, wasserstein_distance

from models.metrics import density_coverage as dc
from models.metrics import precision_recall as pr
from models.metrics.frechet import enough_rows, frechet_distance
from models.metrics.inception_score import inception_score
from models.metrics.kernel_mmd import kernel_mmd, median_distance
from models.metrics.mode_score import mode_score
from models.metrics.two_sample import two_sample_accuracy
from models.metrics.wasserstein import exact_wasserstein, sliced_wasserstein

RNG = np.random.default_rng


def cloud(rows: int, seed: int, *, dim: int = 3, shift: float = 0.0) -> np.ndarray:
    return RNG(seed).normal(size=(rows, dim)) + shift


class TestClassScores:
    SURE = np.eye(4)[np.arange(40) % 4]

    def test_by_hand(self) -> None:
        assert inception_score(samples=self.SURE) == pytest.approx(4)
        assert inception_score(samples=np.full((9, 4), 0.25)) == pytest.approx(1)
        assert inception_score(samples=self.SURE[:1].repeat(9, 0)) == pytest.approx(1)  # collapse

    def test_against_scipys_entropies(self) -> None:
        samples = RNG(0).dirichlet(np.full(5, 0.3), 60)
        apart = [entropy(row, samples.mean(axis=0)) for row in samples]
        assert inception_score(samples=samples) == pytest.approx(np.exp(np.mean(apart)))
        trained = np.array([1, 2, 3, 4, 5])
        down = entropy(samples.mean(axis=0), trained / 15)
        wanted = np.exp(np.mean(apart) - down)
        assert mode_score(samples=samples, real=trained) == pytest.approx(wanted)

    def test_splits_are_averaged_and_seeded(self) -> None:
        samples = RNG(0).dirichlet(np.full(5, 0.3), 60)
        assert inception_score(samples=samples, splits=60) == pytest.approx(1)  # one row each
        some = [inception_score(samples=samples, splits=4, seed=seed) for seed in (0, 0, 1)]
        assert some[0] == some[1] != some[2]
        assert 1 < some[0] < inception_score(samples=samples)

    def test_the_mode_score_is_below_where_classes_are_missing(self) -> None:
        half = self.SURE[self.SURE[:, :2].any(axis=1)]
        assert mode_score(samples=self.SURE, real=np.ones(4)) == pytest.approx(4)
        assert inception_score(samples=half) == pytest.approx(2)
        assert mode_score(samples=half, real=np.ones(4)) == pytest.approx(1)  # 2 / exp(log 2)
        assert mode_score(samples=half, real=np.array([0, 1, 1, 1])) == 0

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="must be"):
            inception_score(samples=np.zeros((0, 3)))
        with pytest.raises(ValueError, match="sum to 1"):
            inception_score(samples=np.ones((2, 3)))
        with pytest.raises(ValueError, match="distribution must be"):
            mode_score(samples=self.SURE, real=np.ones(3))


class TestKernelMmd:
    def test_against_loops(self) -> None:
        x, y = cloud(9, 0), cloud(7, 1, shift=0.5)

        def kernel(a: np.ndarray, b: np.ndarray) -> float:
            return float(np.exp(-((a - b) ** 2).sum() / (2 * 1.3**2)))

        xx = np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
        yy = np.mean([kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
        xy = np.mean([kernel(a, b) for a in x for b in y])
        found = kernel_mmd(real=x, samples=y, bandwidth=1.3)
        assert found == pytest.approx(xx + yy - 2 * xy)

    def test_is_unbiased_and_has_the_gaussians_closed_form(self) -> None:
        """E k(x, y) of N(0, 1) and N(d, 1) is s / sqrt(s^2 + 2) exp(-d^2 / (2 (s^2 + 2)))."""
        s, d = 1.5, 1.0

        def expect(shift: float) -> float:
            return float(s / np.sqrt(s**2 + 2) * np.exp(-(shift**2) / (2 * (s**2 + 2))))

        for shift in (0.0, d):
            found = [
                kernel_mmd(
                    real=cloud(20, 2 * i, dim=1),
                    samples=cloud(20, 2 * i + 1, dim=1, shift=shift),
                    bandwidth=s,
                )
                for i in range(400)
            ]
            wanted = 2 * expect(0.0) - 2 * expect(shift)
            assert np.mean(found) == pytest.approx(wanted, abs=4 * float(np.std(found)) / 20)
            assert min(found) < 0 or shift

    def test_the_median_is_that_of_all_pairs(self) -> None:
        x, y = cloud(30, 0), cloud(40, 1)
        both = np.concatenate([x, y])
        apart = cdist(both, both)[np.triu_indices(70, 1)]
        assert median_distance(real=x, samples=y) == pytest.approx(np.median(apart))

    def test_parts_make_no_difference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x, y = cloud(50, 0), cloud(60, 1)
        whole = kernel_mmd(real=x, samples=y)
        monkeypatch.setattr("models.metrics.neighbours.ROWS", 7)
        assert kernel_mmd(real=x, samples=y) == pytest.approx(whole, rel=1e-12)


class TestWasserstein:
    def test_a_shift_is_its_length(self) -> None:
        x = cloud(60, 0)
        moved = x[::-1] + np.array([3.0, 0.0, 4.0])
        assert exact_wasserstein(real=x, samples=moved) == pytest.approx(5)
        assert exact_wasserstein(real=x, samples=x[::-1]) == pytest.approx(0, abs=1e-6)

    def test_is_the_best_assignment(self) -> None:
        x, y = cloud(50, 0), cloud(50, 1, shift=0.4)
        costs = cdist(x, y)
        rows, columns = linear_sum_assignment(costs)
        wanted = costs[rows, columns].mean()
        assert exact_wasserstein(real=x, samples=y) == pytest.approx(wanted)

    def test_of_sets_of_two_sizes_on_a_line(self) -> None:
        x, y = cloud(31, 0, dim=1), cloud(57, 1, dim=1, shift=1)
        wanted = wasserstein_distance(x[:, 0], y[:, 0])
        assert exact_wasserstein(real=x, samples=y) == pytest.approx(wanted)
        assert sliced_wasserstein(real=x, samples=y, directions=3) == pytest.approx(wanted)

    def test_sliced_is_pots(self) -> None:
        x, y = cloud(64, 0), cloud(64, 1, shift=0.7)
        axes = np.random.Generator(np.random.Philox(key=5)).standard_normal((50, 3))
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        wanted = ot.sliced_wasserstein_distance(x, y, projections=axes.T, p=1)
        found = sliced_wasserstein(real=x, samples=y, directions=50, seed=5)
        assert found == pytest.approx(wanted)
        assert found <= exact_wasserstein(real=x, samples=y)

    def test_a_shift_in_many_dimensions_sliced(self) -> None:
        x = cloud(100, 0, dim=200)
        moved = x + 7 / np.sqrt(200)  # a vector of length 7
        found = sliced_wasserstein(real=x, samples=moved, directions=4000)
        assert found == pytest.approx(7 * np.sqrt(2 / (np.pi * 200)), rel=0.05)


class TestFrechet:
    def test_two_gaussians(self) -> None:
        """(0, diag(1, 4)) and ((1, 2), diag(9, 1)): 5 + (1 - 3)^2 + (2 - 1)^2."""
        x = _whitened(cloud(500, 0, dim=2)) * [1, 2]
        y = _whitened(cloud(400, 1, dim=2)) * [3, 1] + [1, 2]
        assert frechet_distance(real=x, samples=y) == pytest.approx(10)

    def test_against_scipys_root(self) -> None:
        x, y = cloud(80, 0, dim=6), cloud(70, 1, dim=6) @ RNG(2).normal(size=(6, 6)) + 1
        ours, theirs = np.cov(x.T), np.cov(y.T)
        root = sqrtm(ours @ theirs).real
        shift = x.mean(axis=0) - y.mean(axis=0)
        wanted = shift @ shift + np.trace(ours + theirs - 2 * root)
        assert frechet_distance(real=x, samples=y) == pytest.approx(wanted)
        assert frechet_distance(real=y, samples=x) == pytest.approx(wanted)

    def test_fewer_rows_than_dimensions(self) -> None:
        x = cloud(10, 0, dim=40)
        assert frechet_distance(real=x, samples=x[::-1]) == pytest.approx(0, abs=1e-6)
        assert frechet_distance(real=x, samples=x + 0.5) == pytest.approx(10)  # |shift|^2
        biased = frechet_distance(real=x, samples=cloud(10, 1, dim=40))
        assert biased > 5 * frechet_distance(
            real=cloud(2000, 0, dim=40), samples=cloud(2000, 1, dim=40)
        )
        assert not enough_rows(rows=79, dimensions=40)
        assert enough_rows(rows=80, dimensions=40)


def _whitened(rows: np.ndarray) -> np.ndarray:
    """The rows moved and stretched until mean and covariance are exactly 0 and 1."""
    centred = rows - rows.mean(axis=0)
    whitened: np.ndarray = centred @ np.linalg.inv(np.linalg.cholesky(np.cov(centred.T))).T
    return whitened


class TestTwoSample:
    def test_against_loops(self) -> None:
        x, y = cloud(40, 0), cloud(40, 1, shift=0.8)
        rows = np.concatenate([x, y])
        apart = cdist(rows, rows)
        np.fill_diagonal(apart, np.inf)
        own = (apart.argmin(axis=1) < 40) == (np.arange(80) < 40)
        found = two_sample_accuracy(real=x, samples=y)
        assert found.both == own.mean()
        assert found == (own[:40].mean(), own[40:].mean())

    def test_same_far_and_copied(self) -> None:
        same = two_sample_accuracy(real=cloud(1500, 0), samples=cloud(1500, 1))
        assert same.both == pytest.approx(0.5, abs=0.04)
        x = cloud(100, 0)
        assert two_sample_accuracy(real=x, samples=x + 100) == (1, 1)
        assert two_sample_accuracy(real=x, samples=x) == (0, 0)

    def test_collapse_shows_in_one_half(self) -> None:
        x = cloud(200, 0)
        crowd = x[:1] + cloud(200, 1) * 0.01
        found = two_sample_accuracy(real=x, samples=crowd)
        assert found.samples > 0.98

    def test_sizes_must_agree(self) -> None:
        with pytest.raises(ValueError, match="as many of both"):
            two_sample_accuracy(real=cloud(5, 0), samples=cloud(4, 1))


class TestManifolds:
    def test_against_loops(self) -> None:
        x, y = cloud(50, 0, dim=2), cloud(45, 1, dim=2, shift=1.5)
        found = pr.precision_recall(real=x, samples=y, k=3)
        assert found.precision == _inside(x, y, 3).any(axis=1).mean()
        assert found.recall == _inside(y, x, 3).any(axis=1).mean()
        assert 0.3 < found.precision < 1
        balls = _inside(x, y, 5)
        found_dc = dc.density_coverage(real=x, samples=y, k=5)
        assert found_dc.density == pytest.approx(balls.sum() / (5 * 45))
        assert found_dc.coverage == balls.any(axis=0).mean()

    def test_identical_and_disjoint(self) -> None:
        x = cloud(80, 0)
        assert pr.precision_recall(real=x, samples=x) == (1, 1)
        assert pr.precision_recall(real=x, samples=x + 100) == (0, 0)
        same = dc.density_coverage(real=x, samples=x)
        assert same.coverage == 1
        assert same.density == pytest.approx(6 / 5, abs=0.5)  # a centre lies in its own ball
        assert dc.density_coverage(real=x, samples=x + 100) == (0, 0)

    def test_the_expected_coverage(self) -> None:
        found = dc.density_coverage(real=cloud(2000, 0), samples=cloud(2000, 1), k=5)
        assert found.coverage == pytest.approx(1 - 2**-5, abs=0.015)
        assert found.density == pytest.approx(1, abs=0.05)

    def test_an_outlier_spoils_precision_but_not_density(self) -> None:
        x = np.concatenate([cloud(200, 0), [[50.0, 50, 50]]])
        far = cloud(100, 1, shift=5)
        assert pr.precision_recall(real=x, samples=far).precision == 1
        assert dc.density_coverage(real=x, samples=far).density < 0.5

    def test_parts_make_no_difference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x, y = cloud(60, 0), cloud(70, 1)

        def found() -> tuple[float, ...]:
            near = pr.precision_recall(real=x, samples=y)
            return (*near, *dc.density_coverage(real=x, samples=y))

        whole = found()
        monkeypatch.setattr("models.metrics.neighbours.ROWS", 11)
        assert found() == whole

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="have no 3 neighbours"):
            pr.precision_recall(real=cloud(3, 0), samples=cloud(9, 1))
        with pytest.raises(ValueError, match="features"):
            dc.density_coverage(real=cloud(9, 0), samples=cloud(9, 1, dim=2))


def _inside(centres: np.ndarray, points: np.ndarray, k: int) -> np.ndarray:
    """[M, N]: whether point m lies in ball n."""
    reach = [sorted(np.linalg.norm(centres - c, axis=1))[k] for c in centres]  # 0 is itself
    return np.array(
        [[np.linalg.norm(p - c) <= r for c, r in zip(centres, reach, strict=True)] for p in points]
    )
