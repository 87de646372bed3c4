"""What a config chose, in the words in which refusals and warnings ask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from models import objectives, pairings, regularisers
from models.config import Config, ModelConfig, TrainConfig
from models.networks.heads import Autoencoder, Embedding, Projections, Untouched
from models.objectives.embedding import EmbeddingObjective
from models.objectives.objective import Objective
from models.objectives.score import ScoreObjective
from models.pairings.alad import ALAD
from models.pairings.pairing import Pairing
from models.regularisers import Regularisers

# objectives whose critic gains without end unless its slope is bounded
UNBOUNDED: Final = ("wgan", "rwgan", "mcgan-mean", "mcgan-covariance", "cramer")
# objectives whose critic loss moves a state, which steps looked ahead would not
STATEFUL: Final = ("fisher", "mcgan-mean", "mcgan-covariance", "began", "magan")
# what only a critic has a use for
CRITIC_OPTIONS: Final = (
    (ModelConfig, "model", ("critic_width", "critic_norm", "critic_minibatch")),
    (TrainConfig, "train", ("critic_lr", "critic_optimiser", "critic_steps")),
)
NOT_OF_CRITICS: Final = ("latent_mmd",)  # regularisers that need no critic
# regularisers that look at a batch as a whole
OF_A_BATCH: Final = ("dragan", "feature_matching", "latent_mmd", "mismatch", "unrolled")


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What a config chose, looked up."""

    config: Config
    name: str  # of the objective
    objective: Objective
    pairing: type[Pairing[Any]]
    weights: Mapping[str, float]  # at their largest
    penalties: Regularisers

    @property
    def joint(self) -> bool:
        """Whether there is a critic of pairs."""
        return self.pairing.has.joint

    @property
    def sees_items(self) -> bool:
        """Whether a critic sees items, alone or in pairs."""
        return (self.joint or self.pairing.has.image) and not self.no_critic

    @property
    def clouds(self) -> bool:
        """Whether a critic sees a batch as a whole."""
        return self.config.model.critic_minibatch != "none"

    @property
    def goes_round(self) -> bool:
        """Whether anything learns from E(G(z))."""
        return not self.joint or self.pairing is ALAD or self.weights["latent"] > 0

    @property
    def spared(self) -> bool:
        """Whether the gradient of E(G(z)) is kept from anyone."""
        names = ("cycle_to_generator", "cycle_to_encoder")
        return any(self.weights.get(name, 1.0) != 1.0 for name in names)

    @property
    def is_score(self) -> bool:
        """Raw scores without a state."""
        return isinstance(self.objective, ScoreObjective)

    @property
    def is_embedding(self) -> bool:
        return isinstance(self.objective.head, Embedding | Projections)

    @property
    def is_energy(self) -> bool:
        return isinstance(self.objective.head, Autoencoder)

    @property
    def no_critic(self) -> bool:
        return isinstance(self.objective.head, Untouched)

    @property
    def no_slope(self) -> bool:
        """An embedding critic without a witness has no slope to hold."""
        return isinstance(self.objective, EmbeddingObjective) and self.objective.witness is None

    @property
    def smooths(self) -> bool:
        return self.weights.get("smoothing", 0) + self.weights.get("smoothing_real", 0) > 0

    @property
    def labels_meet(self) -> bool:
        """Whether smoothing leaves no distance between the critics' targets."""
        return 2 * self.weights.get("smoothing", 0) + self.weights.get("smoothing_real", 0) >= 1

    @property
    def has_targets(self) -> bool:
        return isinstance(self.objective, ScoreObjective) and self.objective.smoothed is not None

    @property
    def _norms(self) -> list[str]:
        """Of each critic."""
        model, has = self.config.model, self.pairing.has
        own = model.latent_critic_norm
        of_codes = model.critic_norm if own == "same" else own
        of_items: list[str] = [model.critic_norm] if has.joint or has.image else []
        return of_items + ([of_codes] if has.latent else [])

    @property
    def spectral(self) -> bool:
        """Whether a critic is held by spectral norm."""
        return "spectral" in self._norms

    @property
    def all_spectral(self) -> bool:
        """Whether every critic is."""
        return set(self._norms) == {"spectral"}

    @property
    def bounded(self) -> bool:
        """Whether anything holds the critic's slope."""
        return self.spectral or self.penalties.holds_slope

    @property
    def all_bounded(self) -> bool:
        """Whether something holds every critic's slope."""
        return bool(self.all_spectral or self.penalties.clip or self.penalties.gradient)

    @property
    def whole_batch(self) -> list[str]:
        """Choices whose losses are more than means over the rows of a batch."""
        named = [f"regularisers.{name}" for name in OF_A_BATCH if getattr(self.penalties, name)]
        if self.clouds:
            named.append("model.critic_minibatch")
        rowwise = self.is_score or (self.is_energy and self.name != "ebgan")
        return named if rowwise else [*named, f"model.objective = {self.name}"]

    @property
    def critic_options(self) -> list[str]:
        """Options that only a critic has a use for, where they are not at rest."""
        named = [
            f"{section}.{key}"
            for kind, section, keys in CRITIC_OPTIONS
            for key in keys
            if getattr(getattr(self.config, section), key) != _default(kind, key)
        ]
        chosen = [
            f.name
            for f in fields(Regularisers)
            if f.name not in NOT_OF_CRITICS and getattr(self.penalties, f.name)
        ]
        smoothing = ["weights.smoothing"] if self.smooths else []
        return [*named, *(f"regularisers.{name}" for name in chosen), *smoothing]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A condition, and what is said where it holds; {c} stands for the choice."""

    holds: Callable[[Choice], Any]
    sentence: str


def choice_of(config: Config) -> Choice:
    """What `config` chose.  Raises UnknownName or BadConfig."""
    return Choice(
        config=config,
        name=config.model.objective,
        objective=objectives.build(config),
        pairing=pairings.find(config.model.pairing),
        weights={name: each.largest for name, each in pairings.schedules(config).items()},
        penalties=regularisers.parse(config.regularisers),
    )


def _default(kind: type[Any], key: str) -> Any:
    return next(f.default for f in fields(kind) if f.name == key)
