"""Which choices go together: what a config's names imply, what is refused, what is warned of.

One table each, read before the first step.  A row of REFUSALS or WARNINGS is a condition and the
sentence that is said where it holds.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from models.choices.choice import STATEFUL, UNBOUNDED, Choice, Row, choice_of
from models.choices.doubts import WARNINGS
from models.choices.refusals import REFUSALS
from models.config import Config
from models.errors import BadConfig

__all__ = [
    "IMPLIED",
    "IMPLIED_BY_PAIRING",
    "REFUSALS",
    "STATEFUL",
    "UNBOUNDED",
    "WARNINGS",
    "check_shared",
    "resolve",
    "warnings",
]

# regularisers that an objective's definition holds; a config's own figure goes before them
IMPLIED: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "wgan-gp": {"gradient": 10.0},
        "mmd-gan": {"gradient": 10.0},
        "cramer": {"gradient": 10.0},
    }
)
# the same of a pairing
IMPLIED_BY_PAIRING: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {"mrgan": {"latent_mmd": 10.0}}
)


def resolve(config: Config) -> Config:
    """The config with what its objective's name implies.

    Raises UnknownName or BadConfig where its choices do not go together.
    """
    implied = {
        **IMPLIED_BY_PAIRING.get(config.model.pairing, {}),
        **IMPLIED.get(config.model.objective, {}),
    }
    config = replace(config, regularisers={**implied, **config.regularisers})
    choice = choice_of(config)
    for row in REFUSALS:
        if row.holds(choice):
            raise BadConfig(_said(row, choice))
    return config


def check_shared(config: Config) -> None:
    """Raise BadConfig where several workers cannot share the batches of a resolved config."""
    whole = choice_of(config).whole_batch
    if whole:
        raise BadConfig(
            f"workers see their own rows of a batch, and {', '.join(whole)} compares all of it: "
            "train this in one process"
        )


def warnings(config: Config) -> list[str]:
    """What a resolved config should be warned of, a sentence each."""
    choice = choice_of(config)
    return [_said(row, choice) for row in WARNINGS if row.holds(choice)]


def _said(row: Row, choice: Choice) -> str:
    return row.sentence.format(c=choice)
