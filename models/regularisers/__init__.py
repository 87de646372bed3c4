"""Regularisers by name: what a config's `[regularisers]` may hold.

`name = weight`, or a table `{ weight = ..., ... }` where one has more settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from models.errors import BadConfig, UnknownName

Form = Literal["norm", "squared"]
NAMES: Final = ("pairwise",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairwise:
    """Settings of the pair-wise penalty: the paper's weight is 1 for images, 0.1 for its toys."""

    weight: float
    form: Form = "norm"


@dataclass(frozen=True, kw_only=True, slots=True)
class Regularisers:
    """The regularisers of one run; None where one is off."""

    pairwise: Pairwise | None = None


def parse(table: Mapping[str, Any]) -> Regularisers:
    """The regularisers that a config's table names.  Raises UnknownName or BadConfig."""
    for name in table:
        if name not in NAMES:
            raise UnknownName("regulariser", name, NAMES)
    return Regularisers(pairwise=_pairwise(table["pairwise"]) if "pairwise" in table else None)


def _pairwise(value: Any) -> Pairwise | None:
    settings = dict(value) if isinstance(value, Mapping) else {"weight": value}
    for key in settings:
        if key not in ("weight", "form"):
            raise UnknownName("key of regularisers.pairwise", key, ("weight", "form"))
    weight, form = settings.get("weight", 1.0), settings.get("form", "norm")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
        raise BadConfig(f"regularisers.pairwise needs a weight of 0 or more, got {weight!r}")
    if form not in get_args(Form):
        raise UnknownName("form of the pairwise penalty", str(form), get_args(Form))
    return Pairwise(weight=float(weight), form=form) if weight else None
