"""Pairings by name: what a config's `model.pairing` may be.

A pairing says which pairs are real, which are fake and which reconstructions count.  It sees
tensors, E, G and its critics; the objective turns what critics say into losses.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from models.config import Config
from models.errors import UnknownName
from models.networks.heads import SCORES, Head
from models.pairings import aae, aegan, alad, ali, bigan, fanogan, mrgan, schedule, vaegan
from models.pairings.pairing import Pairing
from models.pairings.schedule import Schedule
from models.regularisers import Regularisers

PAIRINGS: Final[Mapping[str, type[Pairing[Any]]]] = MappingProxyType(
    {
        "bigan": bigan.BiGAN,
        "ali": ali.ALI,
        "alad": alad.ALAD,
        "aegan": aegan.AEGAN,
        "aae": aae.AAE,
        "vaegan": vaegan.VAEGAN,
        "mrgan": mrgan.MRGAN,
        "fanogan": fanogan.FAnoGAN,
    }
)


def find(name: str) -> type[Pairing[Any]]:
    """The pairing called `name`.  Raises UnknownName, which lists the known ones."""
    if name not in PAIRINGS:
        raise UnknownName("pairing", name, PAIRINGS)
    return PAIRINGS[name]


def schedules(config: Config) -> dict[str, Schedule]:
    """The weights of a config's pairing over time, its own defaults where the config has none.

    Raises UnknownName for a weight that is not there, BadConfig for one below 0.
    """
    name = config.model.pairing
    defaults = find(name).default_weights
    for key in config.weights:
        if key not in defaults:
            raise UnknownName(f"weight of pairing {name}", key, defaults)
    chosen = {**defaults, **config.weights}
    return {key: schedule.parse(key, value) for key, value in chosen.items()}


def build(config: Config, regularisers: Regularisers, head: Head = SCORES) -> Pairing[Any]:
    """The pairing a config names, with its weights and critics that end in `head`.

    Raises UnknownName or BadConfig.  What does not go together is refused in models.choices.
    """
    return find(config.model.pairing)(schedules(config), regularisers, head)
