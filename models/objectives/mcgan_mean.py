"""McGan, means: the distance between the mean embeddings of both clouds.

Mroueh, Sercu and Goel 2017, arXiv:1702.08398, equation 3 with q = 2, where the maximum over unit
vectors v is taken in closed form.  It has no largest value unless the critic is bounded: clip its
weights, as the paper does, or use spectral norm.
"""

from torch import Tensor

from models.networks.heads import Embedding
from models.objectives.embedding import EmbeddingObjective


def distance(*, real: Tensor, fake: Tensor) -> Tensor:
    """The L2 norm of the difference of means; [B, D] and [B', D] to a scalar."""
    return (real.mean(0) - fake.mean(0)).norm()


OBJECTIVE = EmbeddingObjective(distance=distance, size=Embedding(features=64))
