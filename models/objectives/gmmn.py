"""Generative moment matching: no critic, a fixed kernel compares both sorts of pairs.

Li, Swersky and Zemel 2015, arXiv:1502.02761, equations 1 to 3 and 5 (the square root).  On pairs
it is ours: the kernel is (1 + k_x)(1 + k_z), whose product tells which x goes with which z; the
sum k_x + k_z would match both marginals and leave the pairing free.  k_x and k_z are means of five
Gaussian kernels, of widths {1/4, 1/2, 1, 2, 4} times the median distance between what nobody
trains: data in x, prior draws in z.  Raw pixels are compared, so toys and digits are its limit.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from models.networks.heads import Untouched
from models.objectives.embedding import squared_distances
from models.objectives.objective import CriticTerms, JointCritic, Objective, Pair

SCALES: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
FLOOR: Final = 1e-6  # added to the squared discrepancy: its root has a slope at 0


def median_distance(points: Tensor) -> Tensor:
    """The median distance between two of [N, D], a scalar without a gradient."""
    points = points.detach()
    rows, columns = torch.triu_indices(len(points), len(points), 1, device=points.device)
    return squared_distances(points, points)[rows, columns].sqrt().median().clamp(min=1e-6)


def kernel(a: Tensor, b: Tensor, *, width: Tensor) -> Tensor:
    """Mean over scales s of exp(-|a_i - b_j|^2 / (2 (s width)^2)); [N, D], [M, D] to [N, M]."""
    exponents = squared_distances(a, b) / (-2 * width.square())
    return torch.stack([(exponents / scale**2).exp() for scale in SCALES]).mean(0)


def discrepancy(*, real: Pair, fake: Pair) -> Tensor:
    """The root of the squared discrepancy (biased, hence never negative) of joint samples.

    Args:
        real: x [B, ...] with E(x) [B, Z].
        fake: G(z) [B', ...] with z [B', Z].
    Returns:
        Scalar.
    """
    real, fake = _flat(real), _flat(fake)
    x_width, z_width = median_distance(real.x), median_distance(fake.z)

    def mean(a: Pair, b: Pair) -> Tensor:
        joint = (1 + kernel(a.x, b.x, width=x_width)) * (1 + kernel(a.z, b.z, width=z_width))
        return joint.mean()

    square = mean(real, real) + mean(fake, fake) - 2 * mean(real, fake)
    return (square.clamp(min=0) + FLOOR).sqrt()


def _flat(pair: Pair) -> Pair:
    return Pair(x=pair.x.float().flatten(1), z=pair.z.float())


@dataclass(frozen=True, kw_only=True, slots=True)
class MomentMatching(Objective):
    """G and E make the two sorts of pairs alike; nobody judges."""

    @property
    def head(self) -> Untouched:
        """No critic."""
        return Untouched()

    def critic_terms(self, critic: JointCritic, *, real: Pair, fake: Pair) -> CriticTerms:
        """Never asked: a critic without weights is not trained."""
        raise NotImplementedError("gmmn has no critic to train")

    def pair_terms(self, critic: JointCritic, *, real: Pair, fake: Pair) -> dict[str, Tensor]:
        """The discrepancy, for both."""
        return {"match": discrepancy(real=Pair(*critic(*real)), fake=Pair(*critic(*fake)))}


OBJECTIVE = MomentMatching()
