"""Ctrl-C, or a polite kill: once to stop when the part in work is done, twice to stop at once."""

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
        self._restore()

    def __call__(self) -> bool:
        return self.signal != 0

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()
        click.echo("\nfinishing the part in work; once more stops at once", err=True)

    def _restore(self) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)
        self._before = {}
