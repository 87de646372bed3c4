"""What every pairing offers to the training step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.networks.heads import SCORES, Head
from models.objectives.objective import Objective
from models.regularisers import Regularisers

Played = TypeVar("Played", bound=Objective)  # the objectives a pairing can serve
Losses = dict[str, Tensor]  # scalars by name; "total" is what the optimiser sees


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One pass of a batch through E and G; None where a pairing does not need a part."""

    x: Tensor  # real images [B, ...]
    z: Tensor  # prior draws [B, Z]
    code: Tensor  # E(x), [B, Z]
    sample: Tensor  # G(z), [B, ...]
    reconstruction: Tensor | None = None  # G(E(x)), [B, ...]
    cycle: Tensor | None = None  # E(G(z)), [B, Z]

    def detached(self) -> "Pass":
        """The same values, cut off from E and G: what a critic learns from."""
        return Pass(
            x=self.x,
            z=self.z,
            code=self.code.detach(),
            sample=self.sample.detach(),
            reconstruction=None if self.reconstruction is None else self.reconstruction.detach(),
            cycle=None if self.cycle is None else self.cycle.detach(),
        )


class Pairing(ABC, Generic[Played]):
    """One way to train G and E against critics that end in `head`."""

    default_weights: ClassVar[Mapping[str, float]]
    has_joint_critic: ClassVar[bool]

    def __init__(
        self, weights: Mapping[str, float], regularisers: Regularisers, head: Head = SCORES
    ) -> None:
        self.weights = weights
        self.regularisers = regularisers
        self.head = head

    @abstractmethod
    def build_critics(self, model: ModelConfig) -> nn.ModuleDict:
        """The critics of this pairing, with fresh weights."""

    @abstractmethod
    def forward(self, encoder: nn.Module, generator: nn.Module, x: Tensor, z: Tensor) -> Pass:
        """Run E and G as far as the losses need it."""

    @abstractmethod
    def critic_loss(
        self,
        critics: nn.ModuleDict,
        batch: Pass,
        objective: Played,
        rng: torch.Generator,
        *,
        update: int = 0,
    ) -> Losses:
        """What the critics minimise in their update number `update`; `batch` is detached."""

    @abstractmethod
    def pair_loss(self, critics: nn.ModuleDict, batch: Pass, objective: Played) -> Losses:
        """What G and E minimise; the critics' weights stay as they are."""
