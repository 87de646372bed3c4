"""Work that somebody waits for: it ends when its deadline passes or whoever asked has left."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Final

from starlette.types import Receive

from serving.errors import DeadlineExceeded

CLIENT_GONE: Final = 499  # the status of nginx for it; only logs and figures ever see it


class ClientGone(Exception):
    """Whoever asked has left: nothing is to be answered."""


@contextlib.asynccontextmanager
async def attended(receive: Receive | None, deadline: float) -> AsyncIterator[None]:
    """Cancel what is awaited inside once there is no point in it.

    Args:
        receive: Tells of the disconnect, after the body has been read; None: nobody tells.
        deadline: By time.monotonic().
    Raises:
        DeadlineExceeded: the deadline passed.
        ClientGone: the client disconnected.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("attended() outside of a task")
    gone = False

    async def watch(receive: Receive) -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch(receive)) if receive is not None else None
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield
        if gone:  # the work was faster than the cancellation, which must not strike later
            await asyncio.sleep(0)
    except TimeoutError as error:
        raise DeadlineExceeded("the work was not done before the deadline") from error
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        if watcher is not None:
            watcher.cancel()
