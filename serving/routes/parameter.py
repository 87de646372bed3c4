"""A parameter of a request: its type and range, how a value of it is read, and its JSON schema."""

import json
import math
import operator
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from serving.errors import BadRequest, TooLarge, Unprocessable

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}")
# One way to match each digit, and no end of digits: a long text that fails is tried in all ways.
_NUMBER: Final = re.compile(
    r"[+-]?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][+-]?[0-9]{1,3})?"
)
_REPR: Final = reprlib.Repr()  # looks at little more than it shows
_REPR.maxstring = _REPR.maxother = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter.  From a query string or a form it is text, from JSON a value of its type."""

    name: str
    about: str  # a sentence
    kind: type  # int, float, str or bool; object: text or a whole number; list: of those
    default: Any = None
    low: float | None = None  # smallest value allowed
    high: float | None = None
    above: float | None = None  # every value must be larger than this
    below: float | None = None  # and smaller than this
    choices: tuple[str | bool, ...] = ()
    most: int | None = None  # values in a list

    def parse(self, given: object, *, text: bool) -> Any:
        """The value that `given` means.

        Raises:
            BadRequest: it is of another type.
            Unprocessable: of the right type, and out of range or not among the choices.
            TooLarge: a list of more values than there may be.
        """
        if self.most is not None and (count := _length(given)) > self.most:
            raise TooLarge(f"at most {self.most:,} {self.name} in one request, got {count:,}")
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
        found: dict[str, Any] = {"type": _TYPES[self.kind]}
        if self.kind is list:
            found["items"] = {"type": _TYPES[object]}
            found |= {"maxItems": self.most} if self.most is not None else {}
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


def _length(given: object) -> int:
    """How many values a list has, or would have: told before any of them is looked at."""
    if isinstance(given, str):
        return given.count(",") + 1
    return len(given) if isinstance(given, list) else 0


def as_float(number: float) -> float:
    """The number as a float; infinite where it is a whole one of more digits than floats have."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


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
        value = as_float(given)
    else:
        return None
    return value if math.isfinite(value) else None


def _truth(given: object, text: bool) -> bool | None:
    if text:
        return {"true": True, "false": False}.get(str(given))
    return given if isinstance(given, bool) else None


def _word(given: object, text: bool) -> str | None:
    return given if isinstance(given, str) else None


def _class(given: object, text: bool) -> str | int | None:
    named = isinstance(given, str) or (isinstance(given, int) and not isinstance(given, bool))
    return given if named else None  # type: ignore[return-value]  # the line above is the check


def _classes(given: object, text: bool) -> list[str | int] | None:
    if text:
        return [*str(given).split(",")]
    if not isinstance(given, list):
        return None
    found = [one for each in given if (one := _class(each, text)) is not None]
    return found if len(found) == len(given) else None


_KINDS: Final[Mapping[type, Callable[[object, bool], Any]]] = MappingProxyType(
    {int: _integer, float: _number, str: _word, bool: _truth, object: _class, list: _classes}
)
_WORDS: Final = MappingProxyType(
    {
        int: "a whole number",
        float: "a finite number",
        str: "text",
        bool: "true or false",
        object: "the name or the number of a class",
        list: "a list of names or numbers of classes",
    }
)
_TYPES: Final[Mapping[type, Any]] = MappingProxyType(
    {
        int: "integer",
        float: "number",
        str: "string",
        bool: "boolean",
        object: ["string", "integer"],
        list: "array",
    }
)


def _shown(given: object) -> str:
    shown = _REPR.repr(given)
    return shown if len(shown) <= 60 else shown[:57] + "..."
