"""The end of a worker: what it has accepted is finished, and whoever comes meanwhile is told.

A server that is asked to stop closes its port, but its supervisor holds the port open for as long
as a worker lives, and whoever connects then would wait for nobody.  So the signal is held back
from the server until nothing is being answered any more; until then new requests are refused.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Final

GRACE: Final = 20  # seconds from the signal to the end of the process
SERVER_GRACE: Final = 3  # of these for the server, to close what connections are left
ENDING: Final = 0.5  # and for what is left to do when nothing is being computed any more
FINISHING: Final = GRACE - SERVER_GRACE - 1  # and for requests to be finished before

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
Drain = Callable[[], Coroutine[Any, Any, None]]


def on_signal(drain: Drain) -> None:
    """Have `drain` run on this event loop before a SIGTERM or SIGINT goes to whoever has it now.

    A second SIGINT, of somebody at the keyboard, goes there at once.  Does nothing on threads that
    get no signals, or where nobody waits for them.
    """
    if threading.current_thread() is threading.main_thread():
        held = _Held(drain, asyncio.get_running_loop())
        for number in _SIGNALS:
            held.hold(number)


class _Held:
    """Signals that are held back until `drain` has run on `loop`."""

    def __init__(self, drain: Drain, loop: asyncio.AbstractEventLoop) -> None:
        self._drain = drain
        self._loop = loop
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._draining: asyncio.Task[None] | None = None
        self._asked = False

    def hold(self, number: signal.Signals) -> None:
        handler = signal.getsignal(number)
        if callable(handler):
            self._handlers[number] = handler
            signal.signal(number, self._caught)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            self._loop.call_soon_threadsafe(self._begin, number)
        elif number == signal.SIGINT:
            self._handlers[number](number, frame)

    def _begin(self, number: int) -> None:
        self._draining = self._loop.create_task(self._finish(number))

    async def _finish(self, number: int) -> None:
        await self._drain()
        self._handlers[number](number, None)
