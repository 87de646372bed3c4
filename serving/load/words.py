"""What the measuring commands share: lists of numbers on the command line, tables of figures."""

from collections.abc import Callable, Sequence
from typing import Any

import click


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """Numbers above 0 and at most `most`, with commas between them."""

    name = "N,..."

    def __init__(self, kind: Callable[[str], float], most: float = 1_000_000) -> None:
        self._kind = kind
        self._most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[float]:
        """The numbers, in the order given."""
        if not isinstance(value, str):
            return list(value)
        try:
            numbers = [self._kind(part) for part in value.split(",")]
        except ValueError:
            numbers = [0]
        if not all(0 < number <= self._most for number in numbers):
            self.fail(f"{value!r} is no list of numbers from 0 to {self._most:,}", param, ctx)
        return numbers


def table(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells, the headings first, as columns: the first and last to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    last = len(widths) - 1
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place in (0, last) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
