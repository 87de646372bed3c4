"""The classes that a conditional model is told: their names and numbers in requests, int64 inside.

A graph that takes labels has them as its second input, one for each row; UNKNOWN stands for a row
whose class nobody told, which such a model was trained for as well.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from serving.bundle import Manifest
from serving.errors import BadRequest, Unprocessable
from serving.queueing import Answer
from serving.results import Array, Runner

Labels: TypeAlias = npt.NDArray[np.int64]  # [N]
Label: TypeAlias = int | Labels | None  # one for all rows, one for each, or none told

UNKNOWN: Final = -1
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_SHOWN: Final = 20  # classes that a refusal lists


def unknown(rows: int) -> Labels:
    """The labels of so many rows of which nobody told any."""
    return np.full(rows, UNKNOWN, np.int64)


def completed(manifest: Manifest, graph: str, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """What `graph` takes: labels added where it wants some, left out where it does not."""
    if len(manifest.graphs[graph].inputs) == 1:
        return inputs[:1]
    return inputs if len(inputs) > 1 else (*inputs, unknown(len(inputs[0])))


def numbered(manifest: Manifest, values: Mapping[str, Any]) -> Label:
    """The numbers of what parameters `label`, one for all items, or `labels`, of each, say.

    Raises:
        BadRequest: both are given, or the model is not conditional.
        Unprocessable: there is no such class; names those there are.
    """
    one, each = values.get("label"), values.get("labels")
    if one is None and each is None:
        return None
    if not manifest.classes:
        raise BadRequest(f"{manifest.name}@{manifest.version} is not conditional: it has no labels")
    numbers = {name: number for number, name in enumerate(manifest.classes)}
    if one is None:
        return np.array([_number(numbers, name) for name in each or ()], np.int64)
    if each is not None:
        raise BadRequest("label and labels are both given: one is for all items, the other of each")
    return _number(numbers, one)


def check_count(label: Label, items: int) -> None:
    """Raises Unprocessable where there is not one label for each item."""
    if isinstance(label, np.ndarray) and len(label) != items:
        raise Unprocessable(f"labels must be one for each item: {items}, got {len(label)}")


def check_range(manifest: Manifest, given: Labels) -> None:
    """Raises Unprocessable for a number that is no class's and not UNKNOWN."""
    if given.min() < UNKNOWN or given.max() >= len(manifest.classes):
        raise Unprocessable(
            f"labels must be from 0 to {len(manifest.classes) - 1}, or {UNKNOWN} where not known"
        )


def part(label: Label, start: int, stop: int | None) -> Label:
    """The label of the rows from `start` to `stop`."""
    return label[start:stop] if isinstance(label, np.ndarray) else label


def repeated(label: Label, counts: Sequence[int]) -> Label:
    """The label of each of an item's rows, where item i has counts[i] of them."""
    return np.repeat(label, counts) if isinstance(label, np.ndarray) else label


def telling(runner: Runner, label: Label) -> Runner:
    """A runner that tells the graphs the label of each row."""
    return runner if label is None else _Telling(runner, label)


class _Telling:
    def __init__(self, runner: Runner, label: int | Labels) -> None:
        self._runner = runner
        self._label = label

    async def run(self, graph: str, *inputs: Array) -> Answer:
        label = self._label
        if isinstance(label, int):
            label = np.full(len(inputs[0]), label, np.int64)
        return await self._runner.run(graph, *inputs, label)


def _number(numbers: Mapping[str, int], given: str | int) -> int:
    """The number of the class of this name or, where none has it, of this number."""
    if isinstance(given, str) and given in numbers:
        return numbers[given]
    if _NUMBER.fullmatch(str(given)) and int(given) < len(numbers):
        return int(given)
    shown = ", ".join(itertools.islice(numbers, _SHOWN)) + (
        ", ..." if len(numbers) > _SHOWN else ""
    )
    raise Unprocessable(
        f"no class {str(given)[:60]!r}; there are {shown}, or their numbers from 0 to "
        f"{len(numbers) - 1}"
    )
