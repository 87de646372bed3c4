"""Work that somebody waits for: it ends when its deadline passes or whoever asked has left."""

import asyncio
import time
from collections.abc import Awaitable, Generator
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from starlette.types import Receive

from serving.errors import DeadlineExceeded, ServingError

T = TypeVar("T")
CLIENT_GONE: Final = 499  # the status of nginx for it; only logs and figures ever see it
_UNWATCHED: Final = 0.1  # seconds: work that is done by then is not worth a watcher


class ClientGone(Exception):
    """Whoever asked has left: nothing is to be answered."""


def attended(receive: Receive | None, deadline: float) -> "_Attended":
    """Cancel what is awaited inside once there is no point in it.

    Args:
        receive: Tells of the disconnect, after the body has been read; None: nobody tells.
        deadline: By time.monotonic().
    Raises:
        DeadlineExceeded: the deadline passed.
        ClientGone: the client disconnected.
    """
    return _Attended(receive, deadline)


class _Attended:
    """One timer, for most requests: they are answered before a watcher is worth starting."""

    def __init__(self, receive: Receive | None, deadline: float) -> None:
        self._receive = receive
        self._deadline = deadline
        self._watcher: asyncio.Task[None] | None = None
        self._why: Exception | None = None  # set: the work was cancelled here

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("attended() outside of a task")
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(min(_UNWATCHED, self._left()), self._attend)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._why is None:
            return
        struck = error
        if error is None:  # the work was faster than the cancellation, which must not strike later
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError as late:
                struck = late
        others = self._task.uncancel()  # who cancelled, too
        if isinstance(struck, asyncio.CancelledError):
            raise struck if others else self._why from None

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _attend(self) -> None:
        if self._receive is not None:
            self._watcher = self._loop.create_task(self._watch(self._receive))
        self._timer = self._loop.call_later(self._left(), self._expire)

    async def _watch(self, receive: Receive) -> None:
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
            self._end(ClientGone())
        except (ClientGone, ServingError) as error:  # within a body that nobody else reads
            self._end(error)

    def _expire(self) -> None:
        self._end(DeadlineExceeded("the work was not done before the deadline"))

    def _end(self, why: Exception) -> None:
        if self._why is None:
            self._why = why
            self._task.cancel()


async def in_time(given: Awaitable[T], deadline: float) -> T:
    """What `given` gives.  Raises TimeoutError after `deadline`, by time.monotonic().

    A timer begins only where there is something to wait for: most bodies come with their headers.
    """
    steps = given.__await__()
    try:
        waits_for = next(steps)
    except StopIteration as done:
        found: T = done.value
        return found
    async with asyncio.timeout(deadline - time.monotonic()):
        return await _Resumed(waits_for, steps)


class _Resumed(Generic[T]):
    """The rest of something awaitable whose first step was taken, and what it waits for since."""

    def __init__(self, waits_for: Any, steps: Generator[Any, Any, T]) -> None:
        self._waits_for, self._steps = waits_for, steps

    def __await__(self) -> Generator[Any, Any, T]:
        try:
            while True:
                try:
                    sent = yield self._waits_for
                except BaseException as error:  # a cancellation, say, is for it to see
                    self._waits_for = self._steps.throw(error)
                else:
                    self._waits_for = self._steps.send(sent)
        except StopIteration as done:
            found: T = done.value
            return found
