"""Weights that change as a run goes on.

The curriculum that Lazarou 2020, arXiv:2004.05472, names as future work: lean on the
reconstructions at first, on the critics later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import BadConfig, UnknownName

KEYS = ("from", "to", "steps", "after")


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A weight that goes from `start` to `end` in a straight line, and stays there."""

    start: float
    end: float
    steps: int = 1  # updates of G and E from one to the other
    after: int = 0  # updates of G and E before it begins

    def at(self, step: int) -> float:
        """The weight in update `step` of G and E, counted from 0."""
        share = min(max((step - self.after) / self.steps, 0.0), 1.0)
        return self.start + share * (self.end - self.start)

    @property
    def largest(self) -> float:
        """The most it ever is."""
        return max(self.start, self.end)


def parse(name: str, value: float | Mapping[str, Any]) -> Schedule:
    """The schedule of weight `name`: a number, or { from, to, steps, after }.

    Raises UnknownName or BadConfig.
    """
    if not isinstance(value, Mapping):
        value = {"from": value, "to": value, "steps": 1}
    for key in value:
        if key not in KEYS:
            raise UnknownName(f"key of weights.{name}", key, KEYS)
    missing = [key for key in KEYS[:3] if key not in value]
    if missing:
        raise BadConfig(f"weights.{name} = {{ from, to, steps }} lacks {', '.join(missing)}")
    steps, after = value["steps"], value.get("after", 0)
    if steps < 1 or after < 0 or steps != int(steps) or after != int(after):
        raise BadConfig(
            f"weights.{name} takes whole numbers: steps from 1, after from 0, "
            f"got {steps:g} and {after:g}"
        )
    start, end = float(value["from"]), float(value["to"])
    if min(start, end) < 0:
        raise BadConfig(f"weights.{name} must not be negative, got {min(start, end)}")
    return Schedule(start=start, end=end, steps=int(steps), after=int(after))
