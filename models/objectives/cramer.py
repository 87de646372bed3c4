"""Cramer GAN: the energy distance between embeddings.

Bellemare et al. 2017, arXiv:1705.10743, section 4 and algorithm 1.  Deviations: the paper's G
leaves out the term between reals, which no G moves; here E does, so it stays.  Its critic measures
the distance to the origin in place of all reals; ours, and its witness, use the whole batch.
"""

from torch import Tensor

from models.networks.heads import Embedding
from models.objectives.embedding import EmbeddingObjective, mean_off_diagonal, squared_distances


def distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|, from [N, D] and [M, D] to [N, M]; where they coincide the slope is 0."""
    return squared_distances(a, b).clamp(min=1e-12).sqrt()


def distance(*, real: Tensor, fake: Tensor) -> Tensor:
    """2 E|r - f| - E|r - r'| - E|f - f'|, unbiased; [B, D] and [B', D] to a scalar."""
    return (
        2 * distances(real, fake).mean()
        - mean_off_diagonal(distances(real, real))
        - mean_off_diagonal(distances(fake, fake))
    )


def witness(points: Tensor, *, real: Tensor, fake: Tensor) -> Tensor:
    """Mean distance of each point to the fakes minus that to the reals; [N, D] to [N]."""
    return distances(points, fake).mean(1) - distances(points, real).mean(1)


OBJECTIVE = EmbeddingObjective(distance=distance, size=Embedding(features=256), witness=witness)
