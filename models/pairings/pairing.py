"""What every pairing offers to the training step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.networks.gaussian import Gaussian
from models.networks.heads import SCORES, Head
from models.networks.once import Once
from models.objectives.objective import Objective
from models.pairings.contest import Contest, slope_terms
from models.pairings.schedule import Schedule
from models.pairings.terms import Losses, Term, Terms, added
from models.regularisers import Regularisers
from models.regularisers.feature_matching import feature_matching
from models.regularisers.latent_mmd import latent_mmd

Played = TypeVar("Played", bound=Objective)  # the objectives a pairing can serve
View = Callable[[Tensor], Tensor]  # items [B, ...] as critics see them


def as_they_are(items: Tensor) -> Tensor:
    """Critics see what there is."""
    return items


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What one update draws from, and how its critics look at items."""

    rng: torch.Generator
    update: int = 0  # of the critics
    view: View = as_they_are


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One pass of a batch through E and G; None where a pairing does not need a part."""

    x: Tensor  # real images [B, ...]
    z: Tensor  # prior draws [B, Z]
    code: Tensor | None = None  # E(x), [B, Z]; drawn from it where E is a Gaussian
    gaussian: Gaussian | None = None  # E(x) as a distribution
    entry: Tensor | None = None  # the codes as G took them, where it took them cut off from E
    sample: Tensor | None = None  # G(z), [B, ...]
    reconstruction: Tensor | None = None  # G(E(x)), [B, ...]
    cycle: Tensor | None = None  # E(G(z)), [B, Z]

    def detached(self) -> "Pass":
        """The same values, cut off from E and G: what a critic learns from."""
        parts: dict[str, Any] = {f.name: _detached(getattr(self, f.name)) for f in fields(self)}
        return replace(self, **parts)

    def seen(self, view: View) -> "Pass":
        """The same with every item as critics see it; codes stay as they are."""
        items = {name: getattr(self, name) for name in ("x", "sample", "reconstruction")}
        looked: dict[str, Any] = {n: None if i is None else view(i) for n, i in items.items()}
        return replace(self, **looked)


_Part = TypeVar("_Part", Tensor, Gaussian)


def given(part: _Part | None) -> _Part:
    """A part of a pass that must be there."""
    if part is None:
        raise ValueError("a loss needs a part that the pass of its pairing has left out")
    return part


def _detached(part: Tensor | Gaussian | None) -> Tensor | Gaussian | None:
    if isinstance(part, Gaussian):
        return Gaussian(*(each.detach() for each in part))
    return None if part is None else part.detach()


class Critics(NamedTuple):
    """Which critics a pairing has, as far as choices depend on it."""

    joint: bool = False  # of pairs (x, z)
    image: bool = False  # of items alone
    latent: bool = False  # of codes alone


class Pairing(ABC, Generic[Played]):
    """One way to train G and E against critics that end in `head`.

    `weights` are those of one moment: `at` gives the pairing at another.
    """

    default_weights: ClassVar[Mapping[str, float]]
    has: ClassVar[Critics]
    scores_only: ClassVar[bool] = True  # whether it takes stateless objectives of scores alone
    encoder_rests: ClassVar[bool] = False  # whether E is not trained before it is polished

    def __init__(
        self, schedules: Mapping[str, Schedule], regularisers: Regularisers, head: Head = SCORES
    ) -> None:
        self.schedules = schedules
        self.regularisers = regularisers
        self.head = head
        self.weights = {name: schedule.at(0) for name, schedule in schedules.items()}

    def at(self, step: int) -> Self:
        """The pairing with its weights at update `step` of G and E, counted from 0."""
        then = copy(self)
        then.weights = {name: schedule.at(step) for name, schedule in self.schedules.items()}
        return then

    @property
    def targets(self) -> dict[str, float]:
        """How far the critics' targets are moved."""
        return {name: self.weights.get(name, 0.0) for name in ("smoothing", "smoothing_real")}

    @abstractmethod
    def build_critics(self, model: ModelConfig) -> nn.ModuleDict:
        """The critics of this pairing, with fresh weights."""

    @abstractmethod
    def forward(
        self, encoder: nn.Module, generator: nn.Module, x: Tensor, z: Tensor, rng: torch.Generator
    ) -> Pass:
        """Run E and G as far as the losses need it."""

    @abstractmethod
    def critic_side(
        self, critics: nn.ModuleDict, seen: Pass, objective: Played, turn: Turn
    ) -> tuple[Terms, list[Contest]]:
        """What the critics minimise, and where penalties may hold their slopes.

        `seen` is detached, and its items are as critics see them.
        """

    @abstractmethod
    def pair_side(
        self, critics: nn.ModuleDict, batch: Pass, seen: Pass, objective: Played
    ) -> Terms:
        """What G and E minimise; `seen` is `batch` with its items as critics see them."""

    @abstractmethod
    def features(self, critics: nn.ModuleDict, x: Tensor, z: Tensor) -> Tensor | None:
        """What the critic of items, or of pairs, notices of x with code z: [B, D].

        None where no critic sees items.
        """

    def critic_loss(
        self, critics: nn.ModuleDict, batch: Pass, objective: Played, turn: Turn
    ) -> Losses:
        """What the critics minimise in one update; `batch` is detached."""
        terms, contests = self.critic_side(critics, batch.seen(turn.view), objective, turn)
        for contest in contests:
            terms |= slope_terms(contest, self.regularisers, rng=turn.rng, update=turn.update)
        return added(terms)

    def pair_loss(
        self, critics: nn.ModuleDict, batch: Pass, objective: Played, turn: Turn
    ) -> Losses:
        """What G and E minimise; the critics' weights stay as they are."""
        seen = batch.seen(turn.view)
        if self.regularisers.feature_matching:
            critics = nn.ModuleDict({name: Once(critic) for name, critic in critics.items()})
        terms = self.pair_side(critics, batch, seen, objective)
        return added(terms | self._remedies(critics, seen))

    def _remedies(self, critics: nn.ModuleDict, seen: Pass) -> Terms:
        """Terms of G and E that any pairing may have."""
        terms: Terms = {}
        if weight := self.regularisers.latent_mmd:
            terms["latent_mmd"] = Term(latent_mmd(code=given(seen.code), z=seen.z), weight)
        if weight := self.regularisers.feature_matching:
            real = self.features(critics, seen.x, seen.z if seen.code is None else seen.code)
            fake = self.features(critics, given(seen.sample), seen.z)
            loss = feature_matching(real=given(real), fake=given(fake))
            terms["feature_matching"] = Term(loss, weight)
        return terms
