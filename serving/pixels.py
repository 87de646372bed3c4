"""The threads that turn bytes into pixels and back, so that the event loop need not.

Python code runs on one thread at a time: to hand every small image to a thread of its own takes
longer than to decode it.  Small pieces of work that come in one turn of the loop go to a thread
together, and come back together.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")
_TOGETHER: Final = 16  # small pieces of work that one thread does before it tells of them


class _Done(NamedTuple):
    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None


class PixelThreads:
    """`count` threads; `run` and `run_small` are for the event loop, one at a time."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="pixels")
        # Whatever thread is free takes the next: one that takes long holds up none but itself.
        self._small: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()
        self._handing = False  # the loop will hand them over in its next turn

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` gives, computed on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def run_small(self, work: Callable[[], T]) -> T:
        """The same for work of less than a millisecond, as far as one can tell."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._small.append((future, work))
        if not self._handing:
            self._handing = True
            loop.call_soon(self._hand)
        return await future

    def close(self) -> None:
        """Begin nothing more; what is being computed is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        while self._small:
            self._small.popleft()[0].cancel()

    def _hand(self) -> None:
        self._handing = False
        for _ in range(math.ceil(len(self._small) / _TOGETHER)):
            self._pool.submit(self._do_small)

    def _do_small(self) -> None:
        done: list[_Done] = []
        for _ in range(_TOGETHER):
            try:
                future, work = self._small.popleft()
            except IndexError:  # another thread was quicker
                break
            if future.cancelled():
                continue
            try:
                done.append(_Done(future, work(), None))
            # Whatever it is, it is for whoever waits.
            except BaseException as error:
                done.append(_Done(future, None, error))
        if done:
            done[0].future.get_loop().call_soon_threadsafe(_settle, done)


def _settle(done: list[_Done]) -> None:
    for future, result, error in done:
        if future.done():  # its caller left meanwhile
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
