"""McGan, covariances: how far the second moments of both clouds are apart.

Mroueh, Sercu and Goel 2017, arXiv:1702.08398, section 4.  With S the uncentred second moment
E[p p'] of an embedding p, the largest Tr(U' (S_real - S_fake) V) over U, V with k orthonormal
columns is the sum of the k largest singular values of S_real - S_fake.  The critic gives U'p and
V'p side by side, and its network keeps U and V orthonormal; since Tr(U' S V) = E[<U'p, V'p>], no
matrix is ever formed.  Bound the critic as for `mcgan-mean`.
"""

from torch import Tensor

from models.networks.heads import Projections
from models.objectives.embedding import EmbeddingObjective


def distance(*, real: Tensor, fake: Tensor) -> Tensor:
    """The trace, from projections [B, 2k] and [B', 2k] (left, then right) to a scalar."""
    return _moment(real) - _moment(fake)


def _moment(points: Tensor) -> Tensor:
    left, right = points.chunk(2, dim=1)
    return (left * right).sum(1).mean()


OBJECTIVE = EmbeddingObjective(distance=distance, size=Projections())
