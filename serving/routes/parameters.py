"""The parameters of each verb: one table that says what is known, of which type and range.

It parses a request, makes the flags of the command line, and is what /openapi.json shows.
"""

import functools
import json
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
MAX_WAYPOINTS: Final = 16  # of a morph
MAX_REFINE: Final = 16  # each step is two more runs
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter.  From a query string or a form it is text, from JSON a value of its type."""

    name: str
    about: str  # a sentence
    kind: type  # int, float, str or bool
    default: Any = None
    low: float | None = None  # smallest value allowed
    high: float | None = None
    above: float | None = None  # every value must be larger than this
    below: float | None = None  # and smaller than this
    choices: tuple[str | bool, ...] = ()

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
            raise Unprocessable(f"{self.name} {self._choices()}, got {_shown(given)}")
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

    def schema(self) -> dict[str, Any]:
        """The JSON schema of its values."""
        limits = {
            "default": self.default,
            "minimum": self.low,
            "maximum": self.high,
            "exclusiveMinimum": self.above,
            "exclusiveMaximum": self.below,
        }
        found = {"type": _TYPES[self.kind]}
        found |= {key: limit for key, limit in limits.items() if limit is not None}
        return found | ({"enum": list(self.choices)} if self.choices else {})

    def _choices(self) -> str:
        if len(self.choices) == 1:
            return f"can only be {json.dumps(self.choices[0])} here"
        return f"must be one of {', '.join(map(str, self.choices))}"

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
    if isinstance(given, float) and given.is_integer():
        return int(given)  # JSON knows one kind of number: 3.0 is 3
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def _number(given: object, text: bool) -> float | None:
    if text:
        value = float(str(given)) if _NUMBER.fullmatch(str(given)) else math.nan
    elif isinstance(given, int | float) and not isinstance(given, bool):
        value = float(given)
    else:
        return None
    return value if math.isfinite(value) else None


def _truth(given: object, text: bool) -> bool | None:
    if text:
        return {"true": True, "false": False}.get(str(given))
    return given if isinstance(given, bool) else None


def _word(given: object, text: bool) -> str | None:
    return given if isinstance(given, str) else None


_KINDS: Final[Mapping[type, Callable[[object, bool], Any]]] = MappingProxyType(
    {int: _integer, float: _number, str: _word, bool: _truth}
)
_WORDS: Final = MappingProxyType(
    {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}
)
_TYPES: Final = MappingProxyType({int: "integer", float: "number", str: "string", bool: "boolean"})


def _shown(given: object) -> str:
    shown = repr(given)
    return shown if len(shown) <= 60 else shown[:57] + "..."


_SEED: Final = Parameter(
    name="seed",
    about="Draws the same again; without it one is drawn, and told in the answer.",
    kind=int,
    low=0,
    high=MAX_SEED,
)


@functools.cache
def known(
    verb: str, *, max_images: int | None = None, max_frames: int | None = None
) -> tuple[Parameter, ...]:
    """What `verb` knows, within the server's limits where there is one."""
    return {
        "encode": (
            Parameter(
                name="encoding_format",
                about="base64: one string per item, of Z little-endian float32.",
                kind=str,
                default="float",
                choices=("float", "base64"),
            ),
        ),
        "decode": (),
        "reconstruct": (
            Parameter(
                name="refine",
                about="Steps z + E(x) - E(G(z)) that look for a smaller l1.",
                kind=int,
                default=0,
                low=0,
                high=MAX_REFINE,
            ),
        ),
        "score": (
            Parameter(
                name="by",
                about="The term that is the score; the bundle says which, unless told.",
                kind=str,
            ),
            Parameter(
                name="fpr",
                about="The share of normal images that may be flagged.",
                kind=float,
                default=FPR,
                above=0,
                below=1,
            ),
            Parameter(
                name="heatmap",
                about="Where each image is abnormal: grey, or over the image.",
                kind=str,
                default="none",
                choices=("none", "map", "overlay"),
            ),
        ),
        "interpolate": (
            Parameter(
                name="frames",
                about="Of each leg, both ends included.",
                kind=int,
                default=FRAMES,
                low=2,
                high=max_frames,
            ),
            Parameter(
                name="path",
                about="Along an arc, or straight.",
                kind=str,
                default="slerp",
                choices=get_args(Path),
            ),
            Parameter(
                name="exact",
                about="Whether the morph meets the very images given, not what G makes of them.",
                kind=bool,
                default=False,
            ),
            Parameter(
                name="fps",
                about="Frames a second, of WebP and GIF.",
                kind=float,
                default=FPS,
                low=MIN_FPS,
                high=MAX_FPS,
            ),
        ),
        "sample": (
            Parameter(name="n", about="How many.", kind=int, default=1, low=1, high=max_images),
            _SEED,
            Parameter(
                name="truncation",
                about="Codes are multiplied by it: below 1 tamer, and more alike.",
                kind=float,
                default=1.0,
                above=0,
                high=1,
            ),
        ),
        "vary": (
            Parameter(
                name="n", about="How many.", kind=int, default=VARIATIONS, low=1, high=max_images
            ),
            Parameter(
                name="strength",
                about="How far from the one given; 0 is as it is.",
                kind=float,
                default=STRENGTH,
                low=0,
                high=10,
            ),
            _SEED,
        ),
    }[verb]


@functools.cache
def defaults(
    verb: str, *, max_images: int | None = None, max_frames: int | None = None
) -> Mapping[str, Any]:
    """What a request without parameters means; most have none."""
    return MappingProxyType(parse(known(verb, max_images=max_images, max_frames=max_frames), ()))
