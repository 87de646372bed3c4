"""Distances between clouds against explicit loops, numpy and scipy; witnesses as derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import energy_distance
from torch import Tensor

from models import objectives
from models.objectives import cramer, gmmn, mcgan_covariance, mcgan_mean, mmd_gan
from models.objectives.embedding import EmbeddingObjective, mean_off_diagonal, squared_distances
from models.objectives.objective import Pair


def cloud(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    drawn = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn + shift


REAL, FAKE = cloud(5, 3, 1), cloud(4, 3, 2, shift=0.5)


def test_squared_distances_are_those_of_explicit_differences() -> None:
    far = torch.full((1, 3), 1e3)
    a, b = REAL.float() + far, FAKE.float() + far
    expected = ((a.double()[:, None] - b.double()[None]) ** 2).sum(-1)
    torch.testing.assert_close(squared_distances(a, b).double(), expected, rtol=1e-4, atol=1e-4)
    assert squared_distances(a, a).min() >= 0


def test_the_mean_off_the_diagonal_leaves_a_thing_against_itself_out() -> None:
    assert mean_off_diagonal(torch.tensor([[9.0, 1.0], [2.0, 9.0]])).item() == 1.5


def rational_quadratic(a: np.ndarray, b: np.ndarray) -> float:
    square = float(((a - b) ** 2).sum())
    return sum((1 + square / (2 * alpha)) ** -alpha for alpha in (0.2, 0.5, 1, 2, 5))


def unbiased(
    kernel: Callable[[np.ndarray, np.ndarray], float], real: np.ndarray, fake: np.ndarray
) -> float:
    """MMD^2 by loops, i != j within a cloud."""

    def within(points: np.ndarray) -> float:
        n = len(points)
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
        return sum(kernel(points[i], points[j]) for i, j in pairs) / len(pairs)

    across = np.mean([kernel(a, b) for a in real for b in fake])
    return float(within(real) + within(fake) - 2 * across)


def test_mmd_is_the_unbiased_estimate_by_loops() -> None:
    expected = unbiased(rational_quadratic, REAL.numpy(), FAKE.numpy())
    assert mmd_gan.distance(real=REAL, fake=FAKE).item() == pytest.approx(expected, rel=1e-9)


def test_the_energy_distance_is_that_of_loops() -> None:
    expected = -unbiased(lambda a, b: float(np.linalg.norm(a - b)), REAL.numpy(), FAKE.numpy())
    assert cramer.distance(real=REAL, fake=FAKE).item() == pytest.approx(expected, rel=1e-9)


def test_the_energy_distance_in_one_dimension_is_that_of_scipy() -> None:
    real, fake = cloud(40, 1, 3), cloud(30, 1, 4, shift=0.7)
    biased = energy_distance(real[:, 0].numpy(), fake[:, 0].numpy()) ** 2
    # scipy counts each point against itself, at distance 0: 1/n of the pairs
    for points in (real, fake):
        n = len(points)
        loops = [abs(float(a - b)) for a in points for b in points]
        biased -= sum(loops) / (n * (n - 1)) - sum(loops) / n**2
    assert cramer.distance(real=real, fake=fake).item() == pytest.approx(biased, rel=1e-9)


def test_mcgan_compares_means() -> None:
    expected = np.linalg.norm(REAL.numpy().mean(0) - FAKE.numpy().mean(0))
    assert mcgan_mean.distance(real=REAL, fake=FAKE).item() == pytest.approx(expected)


def second_moments() -> Any:
    real, fake = REAL.numpy(), FAKE.numpy()
    return real.T @ real / len(real) - fake.T @ fake / len(fake)


def projected(points: Tensor, left: np.ndarray, right: np.ndarray) -> Tensor:
    return torch.cat([points @ torch.tensor(left), points @ torch.tensor(right)], dim=1)


def test_mcgan_covariance_is_the_trace_and_at_best_the_sum_of_singular_values() -> None:
    u, values, vt = np.linalg.svd(second_moments())
    best = [projected(points, u[:, :2], vt[:2].T) for points in (REAL, FAKE)]
    loss = mcgan_covariance.distance(real=best[0], fake=best[1]).item()
    assert loss == pytest.approx(values[:2].sum())
    for seed in range(20):
        left, right = (
            np.linalg.qr(np.random.default_rng(seed + s).normal(size=(3, 2)))[0] for s in (0, 99)
        )
        other = [projected(points, left, right) for points in (REAL, FAKE)]
        trace = mcgan_covariance.distance(real=other[0], fake=other[1]).item()
        assert trace == pytest.approx(np.trace(left.T @ second_moments() @ right))
        assert trace < values[:2].sum()


@pytest.mark.parametrize("module", [mmd_gan, cramer], ids=["mmd-gan", "cramer"])
def test_a_witness_is_how_the_distance_changes_as_a_point_joins_the_reals(
    module: Any,
) -> None:
    """Half the derivative of the biased distance in the weight of a new real point, less a mean.

    With weights w over reals, MMD^2 = w'Kw - 2 w'k + const: its slope in the direction of a new
    point v is 2 (E k(v, r) - E k(v, f)), less the same averaged over w.
    """
    points, weights = cloud(3, 3, 5), torch.full((5,), 1 / 5, dtype=torch.float64)
    sign = -1 if module is cramer else 1  # a distance is a negative kernel

    def biased(place: Tensor, share: float) -> float:
        real = torch.cat([REAL, place[None]])
        w = torch.cat([(1 - share) * weights, torch.tensor([share], dtype=torch.float64)])
        kernel = mmd_gan.kernel if module is mmd_gan else cramer.distances
        within, across = w @ kernel(real, real) @ w, (w @ kernel(real, FAKE)).mean()
        return sign * float(within - 2 * across)

    step = 1e-5
    slopes = [(biased(p, step) - biased(p, -step)) / (2 * step) for p in points]
    found = module.witness(points, real=REAL, fake=FAKE).numpy()
    known = module.witness(REAL, real=REAL, fake=FAKE).mean().item()
    np.testing.assert_allclose(np.array(slopes) / 2, found - known, rtol=1e-4, atol=1e-6)


EMBEDDED = [
    pytest.param(objective, id=name)
    for name, objective in objectives.OBJECTIVES.items()
    if isinstance(objective, EmbeddingObjective)
]


def critic(x: Tensor, z: Tensor) -> Tensor:
    return torch.cat([x, z, x * z], dim=1).tanh()


@pytest.mark.parametrize("objective", EMBEDDED)
def test_the_critic_maximises_what_g_and_e_minimise(objective: EmbeddingObjective) -> None:
    real = Pair(x=cloud(6, 2, 1), z=cloud(6, 2, 2).requires_grad_())
    fake = Pair(x=cloud(6, 2, 3).requires_grad_(), z=cloud(6, 2, 4))
    terms = objective.pair_terms(critic, real=real, fake=fake)
    assert set(terms) == {"match"}
    loss = objective.critic_terms(critic, real=real, fake=fake).loss
    assert loss.item() == pytest.approx(-terms["match"].item())
    for slope in torch.autograd.grad(terms["match"], (real.z, fake.x)):
        assert slope.abs().max() > 0


@pytest.mark.parametrize("objective", EMBEDDED)
def test_equal_clouds_give_finite_slopes(objective: EmbeddingObjective) -> None:
    points = torch.ones(4, 6, requires_grad=True)
    objective.distance(real=points, fake=points.detach()).backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()


def gaussians(a: np.ndarray, b: np.ndarray, width: float) -> float:
    square = float(((a - b) ** 2).sum())
    scales = (0.25, 0.5, 1, 2, 4)
    return float(np.mean([np.exp(-square / (2 * (s * width) ** 2)) for s in scales]))


def median(points: np.ndarray) -> float:
    n = len(points)
    found = [np.linalg.norm(points[i] - points[j]) for i in range(n) for j in range(i)]
    return float(sorted(found)[(len(found) - 1) // 2])


def test_gmmn_is_the_biased_discrepancy_of_joint_samples_by_loops() -> None:
    x, code, sample, z = (cloud(5, 2, seed).float() for seed in range(4))
    widths = median(x.numpy()), median(z.numpy())

    def mean(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
        values = [
            (1 + gaussians(ax.numpy(), bx.numpy(), widths[0]))
            * (1 + gaussians(az.numpy(), bz.numpy(), widths[1]))
            for ax, az in zip(*a, strict=True)
            for bx, bz in zip(*b, strict=True)
        ]
        return float(np.mean(values))

    real, fake = (x, code), (sample, z)
    square = mean(real, real) + mean(fake, fake) - 2 * mean(real, fake)
    found = gmmn.discrepancy(real=Pair(*real), fake=Pair(*fake)).item()
    assert found == pytest.approx(np.sqrt(square + 1e-6), rel=1e-4)


def test_gmmn_tells_a_wrong_pairing_of_right_marginals() -> None:
    """Both marginals agree; only who goes with whom differs."""
    x = cloud(200, 1, 1).float()
    matched, crossed = Pair(x=x, z=x), Pair(x=x, z=-x)
    other = cloud(200, 1, 2).float()
    same = gmmn.discrepancy(real=matched, fake=Pair(x=other, z=other))
    wrong = gmmn.discrepancy(real=crossed, fake=Pair(x=other, z=other))
    assert wrong.item() > 2 * same.item()


def test_gmmn_moves_g_and_e() -> None:
    real = Pair(x=cloud(6, 2, 1), z=cloud(6, 2, 2).requires_grad_())
    fake = Pair(x=cloud(6, 2, 3).requires_grad_(), z=cloud(6, 2, 4))
    (match,) = gmmn.OBJECTIVE.pair_terms(lambda x, z: (x, z), real=real, fake=fake).values()
    for slope in torch.autograd.grad(match, (real.z, fake.x)):
        assert slope.abs().max() > 0
