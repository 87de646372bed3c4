"""Regularisers by name: what a config's `[regularisers]` may hold.

`name = weight`, or a table where one has more settings.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from models.errors import BadConfig, UnknownName

Form = Literal["norm", "squared"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairwise:
    """Settings of the pair-wise penalty: the paper's weight is 1 for images, 0.1 for its toys."""

    weight: float
    form: Form = "norm"


@dataclass(frozen=True, kw_only=True, slots=True)
class R1:
    """Settings of R1: the paper's weight (gamma) is 10."""

    weight: float
    every: int = 1  # critic updates from one penalty to the next, which then counts `every` times

    def factor(self, update: int) -> float:
        """What the penalty is multiplied by in critic update `update`, counted from 0; 0: left out.

        The lazy regularisation of Karras et al. 2020 (StyleGAN2), arXiv:1912.04958, section 3.1.
        """
        return 0.0 if (update + 1) % self.every else self.weight * self.every


@dataclass(frozen=True, kw_only=True, slots=True)
class Gradient:
    """Settings of the gradient penalty: the paper's weight is 10."""

    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """Bounds of every weight of the critics: the paper's are -0.01 and 0.01."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Regularisers:
    """The regularisers of one run; None where one is off."""

    pairwise: Pairwise | None = None
    gradient: Gradient | None = None
    clip: Clip | None = None
    r1: R1 | None = None

    @property
    def second_derivatives(self) -> bool:
        """Whether a critic learns from its own slope."""
        return any((self.pairwise, self.gradient, self.r1))


def parse(table: Mapping[str, Any]) -> Regularisers:
    """The regularisers that a config's table names.  Raises UnknownName or BadConfig."""
    for name in table:
        if name not in PARSERS:
            raise UnknownName("regulariser", name, PARSERS)
    return Regularisers(**{name: PARSERS[name](value) for name, value in table.items()})


def _pairwise(value: Any) -> Pairwise | None:
    settings = _settings("pairwise", value, ("weight", "form"))
    weight, form = _weight("pairwise", settings, 1.0), settings.get("form", "norm")
    if form not in get_args(Form):
        raise UnknownName("form of the pairwise penalty", str(form), get_args(Form))
    return Pairwise(weight=weight, form=form) if weight else None


def _gradient(value: Any) -> Gradient | None:
    weight = _weight("gradient", _settings("gradient", value, ("weight",)), 10.0)
    return Gradient(weight=weight) if weight else None


def _clip(value: Any) -> Clip | None:
    if isinstance(value, Mapping):
        settings = _settings("clip", value, ("low", "high"))
    else:
        bound = _weight("clip", {"weight": value}, 0.0)
        settings = {"low": -bound, "high": bound}
    low, high = (_number("clip", settings.get(key)) for key in ("low", "high"))
    if low == high == 0:
        return None
    if not low < 0 < high:
        raise BadConfig(f"regularisers.clip needs low < 0 < high, got {low:g} and {high:g}")
    return Clip(low=low, high=high)


def _r1(value: Any) -> R1 | None:
    settings = _settings("r1", value, ("weight", "every"))
    weight, every = _weight("r1", settings, 10.0), settings.get("every", 1)
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise BadConfig(f"regularisers.r1.every must be a whole number from 1, got {every!r}")
    return R1(weight=weight, every=every) if weight else None


def _settings(name: str, value: Any, known: tuple[str, ...]) -> dict[str, Any]:
    settings = dict(value) if isinstance(value, Mapping) else {"weight": value}
    for key in settings:
        if key not in known:
            raise UnknownName(f"key of regularisers.{name}", key, known)
    return settings


def _weight(name: str, settings: Mapping[str, Any], default: float) -> float:
    weight = settings.get("weight", default)
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not 0 <= weight < math.inf:
        raise BadConfig(f"regularisers.{name} needs a weight of 0 or more, got {weight!r}")
    return float(weight)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadConfig(f"regularisers.{name} takes a number or {{ low, high }}, got {value!r}")
    return float(value)


PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {"pairwise": _pairwise, "gradient": _gradient, "r1": _r1, "clip": _clip}
)
