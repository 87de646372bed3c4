"""What a critic of pairs ends in: a network builds it, an objective reads what it gives."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from torch import Tensor

from models.errors import BadConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """One raw score per pair, [B]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedding:
    """A point per pair, [B, features]."""

    features: int

    def __post_init__(self) -> None:
        if self.features < 1:
            raise BadConfig(f"objective.features must be at least 1, got {self.features}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Projections:
    """An embedding seen through two orthonormal maps, side by side: [B, 2 * rank]."""

    features: int = 64  # of the embedding itself
    rank: int = 16  # columns of each map

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= self.features:
            raise BadConfig(
                f"objective.rank must be in 1..{self.features} (objective.features), "
                f"got {self.rank}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Autoencoder:
    """The pair once more, out of a bottleneck no wider than a code: `Rebuilt`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Untouched:
    """The pair as it came: there is no critic."""


Head = Scores | Embedding | Projections | Autoencoder | Untouched
SCORES: Final = Scores()


class Rebuilt(NamedTuple):
    """What an autoencoder makes of a pair (x, z)."""

    x: Tensor  # [B, ...]
    z: Tensor  # [B, Z]
    code: Tensor  # the bottleneck, [B, K]
