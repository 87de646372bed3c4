"""Which choices go together: what a config's names imply, what is refused, what is warned of.

One table each, read before the first step.  A row of REFUSALS or WARNINGS is a condition and the
sentence that is said where it holds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Final

from models import objectives, pairings, regularisers
from models.config import Config, ModelConfig, TrainConfig
from models.errors import BadConfig
from models.networks.heads import Autoencoder, Embedding, Projections, Untouched
from models.objectives.embedding import EmbeddingObjective
from models.objectives.objective import Objective
from models.objectives.score import ScoreObjective
from models.regularisers import Regularisers

# regularisers that an objective's definition holds; a config's own figure goes before them
IMPLIED: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "wgan-gp": {"gradient": 10.0},
        "mmd-gan": {"gradient": 10.0},
        "cramer": {"gradient": 10.0},
    }
)
# objectives whose critic gains without end unless its slope is bounded
UNBOUNDED: Final = ("wgan", "rwgan", "mcgan-mean", "mcgan-covariance", "cramer")
# what only a critic has a use for
CRITIC_OPTIONS: Final = (
    (ModelConfig, "model", ("critic_width", "critic_norm")),
    (TrainConfig, "train", ("critic_lr", "critic_optimiser", "critic_steps")),
)
GMMN_BATCH: Final = 256  # below it the discrepancy of two equal densities hides all others


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What a config chose, looked up."""

    config: Config
    name: str  # of the objective
    objective: Objective
    joint: bool  # whether the pairing has a critic of pairs
    weights: Mapping[str, float]
    penalties: Regularisers

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
        return self.weights.get("smoothing", 0) > 0

    @property
    def has_targets(self) -> bool:
        return isinstance(self.objective, ScoreObjective) and self.objective.smoothed is not None

    @property
    def spectral(self) -> bool:
        return self.config.model.critic_norm == "spectral"

    @property
    def bounded(self) -> bool:
        """Whether anything holds the critic's slope."""
        return self.spectral or any(getattr(self.penalties, f.name) for f in fields(Regularisers))

    @property
    def critic_options(self) -> list[str]:
        """Options that only a critic has a use for, where they are not at rest."""
        named = [
            f"{section}.{key}"
            for kind, section, keys in CRITIC_OPTIONS
            for key in keys
            if getattr(getattr(self.config, section), key) != _default(kind, key)
        ]
        chosen = [f.name for f in fields(Regularisers) if getattr(self.penalties, f.name)]
        smoothing = ["weights.smoothing"] if self.smooths else []
        return [*named, *(f"regularisers.{name}" for name in chosen), *smoothing]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A condition, and what is said where it holds; {c} stands for the choice."""

    holds: Callable[[Choice], Any]
    sentence: str


REFUSALS: Final = (
    Row(
        holds=lambda c: not c.joint and not c.is_score,
        sentence="pairing {c.config.model.pairing} takes the objectives saturating, gan, linear, "
        "lsgan, hinge, wgan and rwgan, not {c.name}: choose one of them, or pairing bigan",
    ),
    Row(
        holds=lambda c: c.no_critic and c.critic_options,
        sentence="gmmn has no critic: leave out {c.critic_options}",
    ),
    Row(
        holds=lambda c: c.smooths and not c.has_targets,
        sentence="{c.name} has no labels to smooth: set weights.smoothing = 0, or choose the "
        "objective saturating, gan, linear or lsgan",
    ),
    Row(
        holds=lambda c: not c.joint and c.penalties.pairwise,
        sentence="the pairwise penalty needs a joint critic, which {c.config.model.pairing} has "
        "not: leave it out, or choose pairing bigan",
    ),
    Row(
        holds=lambda c: not c.joint and c.penalties.gradient,
        sentence="the gradient penalty needs a joint critic, which {c.config.model.pairing} has "
        "not: leave it out, or choose pairing bigan",
    ),
    Row(
        holds=lambda c: c.is_embedding and c.penalties.pairwise,
        sentence="the pairwise penalty needs a critic that gives scores, {c.name} has embeddings: "
        "leave it out, or choose a score objective",
    ),
    Row(
        holds=lambda c: c.is_energy and (c.penalties.pairwise or c.penalties.gradient),
        sentence="{c.name} has energies, whose slope is not to be held: leave out the pairwise "
        "and the gradient penalty",
    ),
    Row(
        holds=lambda c: c.no_slope and c.penalties.gradient,
        sentence="{c.name} has no witness whose slope the gradient penalty could hold: choose "
        "regularisers.clip or model.critic_norm = spectral",
    ),
    Row(
        holds=lambda c: c.penalties.clip and (c.penalties.second_derivatives or c.spectral),
        sentence="clipped weights bound the critic already: choose one of regularisers.clip, "
        "gradient, pairwise, r1 and model.critic_norm = spectral (wgan-gp, mmd-gan and cramer "
        "bring gradient along: 0 turns it off)",
    ),
    Row(
        holds=lambda c: c.name in UNBOUNDED and not c.bounded,
        sentence="{c.name} needs a bounded critic: choose regularisers.clip, regularisers.gradient "
        "(not for mcgan-*), regularisers.pairwise (wgan, rwgan) or model.critic_norm = spectral",
    ),
    Row(
        holds=lambda c: c.name == "wgan-gp" and not c.penalties.gradient,
        sentence="wgan-gp without its gradient penalty is wgan: choose that, with a clip",
    ),
    Row(
        holds=lambda c: c.config.train.compile and c.penalties.second_derivatives,
        sentence="train.compile has no second derivatives, as a penalty on the critic's slope "
        "needs them: choose one of the two",
    ),
    Row(
        holds=lambda c: c.joint and c.config.model.latent_critic_norm != "same",
        sentence="{c.config.model.pairing} has no critic of codes alone for "
        "model.latent_critic_norm: leave it out, or choose pairing aegan",
    ),
    Row(
        holds=lambda c: c.penalties.r1 and (c.penalties.pairwise or c.penalties.gradient),
        sentence="r1 wants no slope where the pairwise and the gradient penalty want one: choose "
        "one of the three",
    ),
    Row(
        holds=lambda c: c.penalties.r1 and (c.is_embedding or c.is_energy),
        sentence="r1 holds the slope of scores, and {c.name} has none: leave it out, or choose a "
        "score objective",
    ),
)

WARNINGS: Final = (
    Row(
        holds=lambda c: c.penalties.pairwise and c.spectral,
        sentence="spectral norm keeps the critic from the slope that the pairwise penalty asks for",
    ),
    Row(
        holds=lambda c: c.penalties.pairwise and c.name in ("lsgan", "hinge"),
        sentence="the pairwise penalty wants scores without end, {c.name} has targets for them",
    ),
    Row(
        holds=lambda c: c.is_energy and c.config.model.prior == "normal",
        sentence="{c.name} has E raise energies, and under a normal prior nothing keeps its codes "
        "from running away: model.prior = uniform does",
    ),
    Row(
        holds=lambda c: c.no_critic and c.config.train.batch < GMMN_BATCH,
        sentence=f"gmmn compares whole batches: train.batch should be {GMMN_BATCH} or more",
    ),
    Row(
        holds=lambda c: (
            isinstance(c.objective.head, Projections)
            and c.config.train.batch < c.objective.head.features
        ),
        sentence="mcgan-covariance wants as many pairs in a batch as features: train.batch should "
        "be {c.objective.head.features} or more, or objective.features smaller",
    ),
)


def resolve(config: Config) -> Config:
    """The config with what its objective's name implies.

    Raises UnknownName or BadConfig where its choices do not go together.
    """
    implied = IMPLIED.get(config.model.objective, {})
    config = replace(config, regularisers={**implied, **config.regularisers})
    choice = _choice(config)
    for row in REFUSALS:
        if row.holds(choice):
            raise BadConfig(_said(row, choice))
    return config


def warnings(config: Config) -> list[str]:
    """What a resolved config should be warned of, a sentence each."""
    choice = _choice(config)
    return [_said(row, choice) for row in WARNINGS if row.holds(choice)]


def _choice(config: Config) -> Choice:
    return Choice(
        config=config,
        name=config.model.objective,
        objective=objectives.build(config, smoothing=0.0),
        joint=pairings.find(config.model.pairing).has_joint_critic,
        weights=pairings.weights(config),
        penalties=regularisers.parse(config.regularisers),
    )


def _said(row: Row, choice: Choice) -> str:
    return row.sentence.format(c=choice)


def _default(kind: type[Any], key: str) -> Any:
    return next(f.default for f in fields(kind) if f.name == key)
