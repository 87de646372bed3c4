"""What is let through with a warning, and the sentence that warns."""

from typing import Final

from models.choices.choice import Row
from models.networks.heads import Projections

GMMN_BATCH: Final = 256  # below it the discrepancy of two equal densities hides all others

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
        holds=lambda c: (
            c.config.model.pairing == "alad"
            and not (c.all_spectral and c.config.model.encoder_norm == "spectral")
        ),
        sentence="alad's authors hold E and all critics: model.critic_norm = spectral and "
        "model.encoder_norm = spectral",
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
