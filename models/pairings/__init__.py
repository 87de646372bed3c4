"""Pairings by name: what a config's `model.pairing` may be.

A pairing says which pairs are real, which are fake and which reconstructions count.  It sees
tensors, E, G and its critics; the objective turns scores into losses.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from models.config import Config
from models.errors import BadConfig, UnknownName
from models.pairings import aegan, bigan
from models.pairings.pairing import Pairing
from models.regularisers import Regularisers

PAIRINGS: Final[Mapping[str, type[Pairing]]] = MappingProxyType(
    {"bigan": bigan.BiGAN, "aegan": aegan.AEGAN}
)


def build(config: Config, regularisers: Regularisers) -> Pairing:
    """The pairing a config names, with its weights.

    Raises UnknownName for a name or a weight that is not there, BadConfig for settings that do
    not go together.
    """
    name = config.model.pairing
    if name not in PAIRINGS:
        raise UnknownName("pairing", name, PAIRINGS)
    kind = PAIRINGS[name]
    for key, value in config.weights.items():
        if key not in kind.default_weights:
            raise UnknownName(f"weight of pairing {name}", key, kind.default_weights)
        if value < 0:
            raise BadConfig(f"weights.{key} must not be negative, got {value}")
    if regularisers.pairwise and not kind.has_joint_critic:
        raise BadConfig(f"the pairwise penalty needs a joint critic, which {name} has not")
    if config.model.latent_critic_norm != "same" and kind.has_joint_critic:
        raise BadConfig(f"{name} has no critic of codes alone for model.latent_critic_norm")
    return kind({**kind.default_weights, **config.weights}, regularisers)
