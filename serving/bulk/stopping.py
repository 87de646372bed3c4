"""Ctrl-C, or a polite kill: once to stop when the part in work is done, twice to stop at once.

The first is asked for, the second is a KeyboardInterrupt, whichever signal it was.
"""

import signal
from types import FrameType, TracebackType
from typing import Any, Final, Self

import click

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether the user asked to stop; a context in which signals are taken for that."""

    def __init__(self) -> None:
        self.signal = 0  # the one that came
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {one: signal.signal(one, self._hear) for one in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def __call__(self) -> bool:
        return self.signal != 0

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        for one in self._before:
            signal.signal(one, signal.default_int_handler)
        click.echo("\nfinishing the part in work; once more stops at once", err=True)
