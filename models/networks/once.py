"""A critic that is asked several times about the same things, and looks at them once."""

from typing import Any

from torch import Tensor, nn


class Once(nn.Module):
    """`critic`, whose features of the same tensors are worked out once.

    The same by identity, not by value.  For one side of one update: then the weights move.
    """

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic: Any = critic
        self._noticed: list[tuple[tuple[Tensor, ...], Tensor]] = []

    def features(self, *parts: Tensor) -> Tensor:
        """What the critic notices of its parts, [B, D]."""
        for known, features in self._noticed:
            if all(one is other for one, other in zip(known, parts, strict=True)):
                return features
        found: Tensor = self.critic.features(*parts)
        self._noticed.append((parts, found))
        return found

    def judged(self, features: Tensor) -> Any:
        """What the critic says of features."""
        return self.critic.judged(features)

    def forward(self, *parts: Tensor) -> Any:
        """What the critic says of its parts."""
        return self.critic.judged(self.features(*parts))
