"""MMD GAN: the maximum mean discrepancy of a kernel on learned embeddings.

Binkowski, Sutherland, Arbel and Gretton 2018, arXiv:1801.01401: of their variants the one called
rq, a sum of rational quadratic kernels without a linear term, with the unbiased estimate of the
squared discrepancy and the penalty on the slope of the witness (`regularisers.gradient`).
"""

from typing import Final

import torch
from torch import Tensor

from models.networks.heads import Embedding
from models.objectives.embedding import EmbeddingObjective, mean_off_diagonal, squared_distances

ALPHAS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """Sum over alpha of (1 + |a_i - b_j|^2 / (2 alpha))^-alpha; [N, D], [M, D] to [N, M]."""
    squares = squared_distances(a, b)
    return torch.stack([(1 + squares / (2 * alpha)) ** -alpha for alpha in ALPHAS]).sum(0)


def distance(*, real: Tensor, fake: Tensor) -> Tensor:
    """The squared discrepancy, unbiased: it may fall below 0.  [B, D] and [B', D] to a scalar."""
    return (
        mean_off_diagonal(kernel(real, real))
        + mean_off_diagonal(kernel(fake, fake))
        - 2 * kernel(real, fake).mean()
    )


def witness(points: Tensor, *, real: Tensor, fake: Tensor) -> Tensor:
    """Mean likeness of each point to the reals minus that to the fakes; [N, D] to [N]."""
    return kernel(points, real).mean(1) - kernel(points, fake).mean(1)


OBJECTIVE = EmbeddingObjective(distance=distance, size=Embedding(features=16), witness=witness)
