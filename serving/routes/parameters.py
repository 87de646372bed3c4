"""The parameters of each verb: one table that says what is known, of which type and range."""

import functools
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, get_args

from serving.errors import BadRequest, Unprocessable
from serving.latents import MAX_SEED, Path
from serving.rendering import FPS, MAX_FPS, MIN_FPS
from serving.scoring import FPR

# Defaults of some, for those who must name them in a signature.
FRAMES: Final = 16  # per leg
VARIATIONS: Final = 4
STRENGTH: Final = 0.3
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter.  From a query string or a form it is text, from JSON a value of its type."""

    name: str
    kind: type  # int, float or str
    default: Any = None
    low: float | None = None  # smallest value allowed
    high: float | None = None
    above: float | None = None  # every value must be larger than this
    below: float | None = None  # and smaller than this
    choices: tuple[str, ...] = ()

    def parse(self, given: object, *, text: bool) -> Any:
        """The value that `given` means.

        Raises:
            BadRequest: it is of another type.
            Unprocessable: of the right type, and out of range or not among the choices.
        """
        value = _KINDS[self.kind](given, text)
        if value is None:
            raise BadRequest(f"{self.name} must be {_WORDS[self.kind]}, got {_shown(given)}")
        if self.choices and value not in self.choices:
            raise Unprocessable(
                f"{self.name} must be one of {', '.join(self.choices)}, got {_shown(given)}"
            )
        if any(
            limit is not None and not holds(value, limit)
            for limit, holds in (
                (self.low, operator.ge),
                (self.high, operator.le),
                (self.above, operator.gt),
                (self.below, operator.lt),
            )
        ):
            raise Unprocessable(f"{self.name} must be {self._range()}, got {_shown(given)}")
        return value

    def _range(self) -> str:
        words = ("at least", self.low), ("at most", self.high), ("above", self.above)
        limits = (*words, ("below", self.below))
        return " and ".join(f"{word} {limit}" for word, limit in limits if limit is not None)


@dataclass(frozen=True, slots=True)
class Given:
    """A parameter as it came: text from a query string or a form, a value from JSON."""

    name: str
    value: object
    text: bool = True


def parse(known: Sequence[Parameter], given: Iterable[Given]) -> dict[str, Any]:
    """All known parameters by name, those not given with their default.

    Raises BadRequest for an unknown one, one given twice or of a wrong type, Unprocessable for
    one out of range.
    """
    by_name = {parameter.name: parameter for parameter in known}
    values = {parameter.name: parameter.default for parameter in known}
    seen: set[str] = set()
    for item in given:
        parameter = by_name.get(item.name)
        if parameter is None:
            names = ", ".join(by_name) or "none here"
            raise BadRequest(f"unknown parameter {_shown(item.name)}; known: {names}")
        if item.name in seen:
            raise BadRequest(f"parameter {item.name} is given twice")
        seen.add(item.name)
        values[item.name] = parameter.parse(item.value, text=item.text)
    return values


def _integer(given: object, text: bool) -> int | None:
    if text:
        return int(str(given)) if _INTEGER.fullmatch(str(given)) else None
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def _number(given: object, text: bool) -> float | None:
    if text:
        value = float(str(given)) if _NUMBER.fullmatch(str(given)) else math.nan
    elif isinstance(given, int | float) and not isinstance(given, bool):
        value = float(given)
    else:
        return None
    return value if math.isfinite(value) else None


def _word(given: object, text: bool) -> str | None:
    return given if isinstance(given, str) else None


_KINDS: Final[Mapping[type, Callable[[object, bool], Any]]] = MappingProxyType(
    {int: _integer, float: _number, str: _word}
)
_WORDS: Final = MappingProxyType({int: "a whole number", float: "a finite number", str: "text"})


def _shown(given: object) -> str:
    shown = repr(given)
    return shown if len(shown) <= 60 else shown[:57] + "..."


_SEED: Final = Parameter(name="seed", kind=int, low=0, high=MAX_SEED)


@functools.cache
def known(
    verb: str, *, max_images: int | None = None, max_frames: int | None = None
) -> tuple[Parameter, ...]:
    """What `verb` knows, within the server's limits where there is one."""
    return {
        "encode": (
            Parameter(
                name="encoding_format", kind=str, default="float", choices=("float", "base64")
            ),
        ),
        "decode": (),
        "reconstruct": (),
        "score": (
            Parameter(name="by", kind=str),
            Parameter(name="fpr", kind=float, default=FPR, above=0, below=1),
            Parameter(name="heatmap", kind=str, default="none", choices=("none", "map", "overlay")),
        ),
        "interpolate": (
            Parameter(name="frames", kind=int, default=FRAMES, low=2, high=max_frames),
            Parameter(name="path", kind=str, default="slerp", choices=get_args(Path)),
            Parameter(name="fps", kind=float, default=FPS, low=MIN_FPS, high=MAX_FPS),
        ),
        "sample": (
            Parameter(name="n", kind=int, default=1, low=1, high=max_images),
            _SEED,
            Parameter(name="truncation", kind=float, default=1.0, above=0, high=1),
        ),
        "vary": (
            Parameter(name="n", kind=int, default=VARIATIONS, low=1, high=max_images),
            Parameter(name="strength", kind=float, default=STRENGTH, low=0, high=10),
            _SEED,
        ),
    }[verb]
