"""A JSON object that was written elsewhere, read key by key with complaints that name the key."""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving.errors import BundleError

_ABSENT: Final = object()


class Fields:
    """The checked values of one JSON object; everything wrong is a BundleError."""

    def __init__(self, value: object, where: str, *, only: Collection[str] | None = None) -> None:
        """
        Args:
            value: What the JSON held.
            where: Its path in the file, for complaints; "" for the whole.
            only: The keys that it may have; None allows any.
        """
        if not isinstance(value, dict):
            raise BundleError(f"{where or 'the whole'} must be an object, got {_said(value)}")
        self._value: dict[str, Any] = value
        self._prefix = f"{where}." if where else ""
        if only is not None and (unknown := sorted(value.keys() - set(only))):
            known = ", ".join(only)
            raise BundleError(f"{self._prefix}{unknown[0]} is not known; {where} has: {known}")

    def __contains__(self, key: str) -> bool:
        """Whether the key is there with a value; null counts as absent."""
        return self._value.get(key) is not None

    def __getitem__(self, key: str) -> Any:
        """The value of a key that must be there."""
        if key not in self:
            raise BundleError(f"{self._prefix}{key} is missing")
        return self._value[key]

    def count(self, key: str) -> int:
        """A whole number of at least 1."""
        value = self[key]
        if type(value) is not int or value < 1:
            raise self._wrong(key, "a whole number of at least 1")
        return value

    def number(self, key: str) -> int | float:
        """A finite number of at least 0."""
        value = self[key]
        if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
            raise self._wrong(key, "a number of at least 0")
        return value  # type: ignore[no-any-return]  # the check above is on the exact types

    def text(self, key: str, pattern: re.Pattern[str] = re.compile(r".+")) -> str:
        """A string that matches `pattern` from end to end."""
        value = self[key]
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self._wrong(key, f"text like {pattern.pattern}")
        return value

    def choice(self, key: str, choices: Collection[str]) -> str:
        """One of `choices`."""
        value = self[key]
        if not isinstance(value, str) or value not in choices:
            raise self._wrong(key, f"one of {', '.join(choices)}")
        return value

    def list(self, key: str, default: Any = _ABSENT) -> list[Any]:
        """A list; `default` where the key is absent, if one is given."""
        value = default if default is not _ABSENT and key not in self else self[key]
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def ascending(self, key: str) -> npt.NDArray[np.float64]:
        """A list of finite numbers in ascending order, as a read-only array."""
        try:
            numbers = np.array(self.list(key), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise self._wrong(key, "a list of numbers") from error
        if numbers.ndim != 1 or not numbers.size or not np.isfinite(numbers).all():
            raise self._wrong(key, "a list of finite numbers")
        if (np.diff(numbers) < 0).any():
            raise self._wrong(key, "in ascending order")
        numbers.flags.writeable = False
        return numbers

    def positive(self, key: str, count: int) -> npt.NDArray[np.float32]:
        """A list of `count` finite numbers above 0, as an array."""
        try:
            numbers = np.array(self.list(key), dtype=np.float32)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._wrong(key, f"{count} numbers") from error
        if numbers.shape != (count,) or not np.isfinite(numbers).all() or not (numbers > 0).all():
            raise self._wrong(key, f"{count} finite numbers above 0")
        return numbers

    def mapping(self, key: str) -> Mapping[str, Any]:
        """An object."""
        value = self[key]
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return value

    def others(self, *known: str) -> dict[str, Any]:
        """The keys that are not among `known`, as they are."""
        return {key: value for key, value in self._value.items() if key not in known}

    def _wrong(self, key: str, wanted: str) -> BundleError:
        return BundleError(f"{self._prefix}{key} must be {wanted}, got {_said(self._value[key])}")


def _said(value: object) -> str:
    """The value for a sentence: short, and on one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
