"""Objectives by name: what a config's `model.objective` may be.

Three families by what they read from a critic of pairs: scores [B], embeddings [B, D], energies
[B]; and one that needs no critic.  `Objective` is what all of them offer to a pairing.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from models.config import Config
from models.errors import UnknownName
from models.objectives import (
    began,
    cramer,
    ebgan,
    fisher,
    gan,
    gmmn,
    hinge,
    linear,
    lsgan,
    magan,
    mcgan_covariance,
    mcgan_mean,
    mmd_gan,
    rwgan,
    saturating,
    wgan,
)
from models.objectives.objective import Objective

OBJECTIVES: Final[Mapping[str, Objective]] = MappingProxyType(
    {
        "saturating": saturating.OBJECTIVE,
        "gan": gan.OBJECTIVE,
        "linear": linear.OBJECTIVE,
        "lsgan": lsgan.OBJECTIVE,
        "hinge": hinge.OBJECTIVE,
        "wgan": wgan.OBJECTIVE,
        "wgan-gp": wgan.OBJECTIVE,  # models.choices gives it its penalty
        "rwgan": rwgan.OBJECTIVE,
        "fisher": fisher.OBJECTIVE,
        "mcgan-mean": mcgan_mean.OBJECTIVE,
        "mcgan-covariance": mcgan_covariance.OBJECTIVE,
        "mmd-gan": mmd_gan.OBJECTIVE,
        "cramer": cramer.OBJECTIVE,
        "gmmn": gmmn.OBJECTIVE,
        "ebgan": ebgan.OBJECTIVE,
        "began": began.OBJECTIVE,
        "magan": magan.OBJECTIVE,
    }
)


def find(name: str) -> Objective:
    """The objective called `name`.  Raises UnknownName, which lists the known ones."""
    if name not in OBJECTIVES:
        raise UnknownName("objective", name, OBJECTIVES)
    return OBJECTIVES[name]


def build(config: Config) -> Objective:
    """The objective a config names, with its settings.  Raises UnknownName or BadConfig."""
    return find(config.model.objective).with_settings(config.objective)
