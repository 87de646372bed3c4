"""Objectives by name: what a config's `model.objective` may be.

An objective of the score family sees only raw critic scores [B] and gives scalars.  Real pairs
(x, E(x)) should score high, fake pairs (G(z), z) low; so G's loss depends on fakes, E's on reals.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from models.errors import UnknownName
from models.objectives import gan
from models.objectives.score import ScoreObjective

OBJECTIVES: Final[Mapping[str, ScoreObjective]] = MappingProxyType({"gan": gan.OBJECTIVE})


def find(name: str) -> ScoreObjective:
    """The objective called `name`.  Raises UnknownName, which lists the known ones."""
    if name not in OBJECTIVES:
        raise UnknownName("objective", name, OBJECTIVES)
    return OBJECTIVES[name]
