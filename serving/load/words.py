"""What the measuring commands share: lists of numbers on the command line, tables of figures."""

from collections.abc import Callable, Sequence
from typing import Any

import click


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """Numbers above 0 with commas between them."""

    def __init__(self, kind: Callable[[str], float]) -> None:
        self.name = "N,..."
        self._kind = kind

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[float]:
        if not isinstance(value, str):
            return list(value)
        try:
            numbers = [self._kind(part) for part in value.split(",")]
        except ValueError:
            numbers = [0]
        if min(numbers) <= 0:
            self.fail(f"{value!r} is no list of numbers above 0", param, ctx)
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
