"""Regularisers by name: what a config's `[regularisers]` may hold.

`name = weight`, or a table where one has more settings.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from models.errors import BadConfig, UnknownName
from models.regularisers.view import Change, InstanceNoise

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
class Dragan:
    """Settings of DRAGAN: the paper's weight is 10, its code's noise 0.5."""

    weight: float
    noise: float = 0.5  # of the deviation of x


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """Bounds of every weight of the critics: the paper's are -0.01 and 0.01."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Unrolled:
    """Settings of unrolled critics: the paper's toys take 5 to 10 steps."""

    steps: int
    lr: float = 0.1  # of the plain gradient descent that is looked ahead


@dataclass(frozen=True, kw_only=True, slots=True)
class Regularisers:
    """The regularisers of one run; None where one is off."""

    pairwise: Pairwise | None = None
    gradient: Gradient | None = None
    clip: Clip | None = None
    r1: R1 | None = None
    dragan: Dragan | None = None
    feature_matching: float | None = None  # weight
    latent_mmd: float | None = None  # weight
    mismatch: float | None = None  # weight
    instance_noise: InstanceNoise | None = None
    augment: tuple[Change, ...] | None = None
    unrolled: Unrolled | None = None

    @property
    def second_derivatives(self) -> bool:
        """Whether a critic learns from its own slope."""
        return any((self.pairwise, self.gradient, self.r1, self.dragan))

    @property
    def holds_slope(self) -> bool:
        """Whether anything keeps a critic's slope in bounds."""
        return self.second_derivatives or self.clip is not None


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


def _dragan(value: Any) -> Dragan | None:
    settings = _settings("dragan", value, ("weight", "noise"))
    weight, noise = _weight("dragan", settings, 10.0), settings.get("noise", 0.5)
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 < noise < math.inf:
        raise BadConfig(f"regularisers.dragan.noise must be above 0, got {noise!r}")
    return Dragan(weight=weight, noise=float(noise)) if weight else None


def _instance_noise(value: Any) -> InstanceNoise | None:
    if not isinstance(value, Mapping):
        value = {"sigma": value}
    settings = _settings("instance_noise", value, ("sigma", "steps"))
    sigma = _weight("instance_noise", {"weight": settings.get("sigma")}, 0.0)
    steps = _whole("instance_noise.steps", settings.get("steps", 0), 0)
    return InstanceNoise(sigma=sigma, steps=steps) if sigma else None


def _augment(value: Any) -> tuple[Change, ...] | None:
    if not isinstance(value, list | tuple):
        raise BadConfig(f"regularisers.augment must be a list of changes, got {value!r}")
    for name in value:
        if name not in get_args(Change):
            raise UnknownName("change of regularisers.augment", str(name), get_args(Change))
    return tuple(value) or None


def _unrolled(value: Any) -> Unrolled | None:
    if not isinstance(value, Mapping):
        value = {"steps": value}
    settings = _settings("unrolled", value, ("steps", "lr"))
    steps = _whole("unrolled.steps", settings.get("steps"), 0)
    lr = _number("unrolled", settings.get("lr", 0.1))
    if lr <= 0:
        raise BadConfig(f"regularisers.unrolled.lr must be above 0, got {lr:g}")
    return Unrolled(steps=steps, lr=lr) if steps else None


def _plain(name: str, default: float) -> Callable[[Any], float | None]:
    """The parser of a regulariser that has a weight and nothing else."""

    def parsed(value: Any) -> float | None:
        return _weight(name, _settings(name, value, ("weight",)), default) or None

    return parsed


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
    weight, every = _weight("r1", settings, 10.0), _whole("r1.every", settings.get("every", 1), 1)
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


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadConfig(f"regularisers.{name} must be a whole number from {least}, got {value!r}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadConfig(f"regularisers.{name} takes finite numbers, got {value!r}")
    return float(value)


PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "pairwise": _pairwise,
        "gradient": _gradient,
        "r1": _r1,
        "dragan": _dragan,
        "clip": _clip,
        "feature_matching": _plain("feature_matching", 1.0),
        "latent_mmd": _plain("latent_mmd", 10.0),
        "mismatch": _plain("mismatch", 1.0),
        "instance_noise": _instance_noise,
        "augment": _augment,
        "unrolled": _unrolled,
    }
)
