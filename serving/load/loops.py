"""Two ways to offer load: as fast as answers come back, or at a pace of its own."""

import asyncio
import itertools
from collections.abc import Sequence
from time import perf_counter as now  # an event loop's own clock may count in milliseconds
from typing import Final

from serving.load.figures import Figures, Outcome, figures_of
from serving.load.schedule import due_times
from serving.load.wire import Answer, Connection, Failed, Target

_PAUSE: Final = 0.01  # seconds after a failure, or a server that is down would be hammered
_SHOWN: Final = 300  # bytes of the first refusal that are kept


class _Asker:
    """Sends requests in turn and writes down what became of them."""

    def __init__(self, requests: Sequence[bytes], timeout: float) -> None:
        self._requests = itertools.cycle(requests)
        self._timeout = timeout
        self.outcomes: list[Outcome] = []
        self.refusal = ""

    async def ask(self, connection: Connection, due: float | None = None) -> bool:
        """Send the next request; whether an answer came."""
        sent = now()
        due = sent if due is None else due
        try:
            answer = await connection.ask(next(self._requests), timeout=self._timeout)
        except Failed as failed:
            self.outcomes.append(Outcome(due, sent, now(), None, failed.kind))
            self.refusal = self.refusal or str(failed)
            return False
        self.outcomes.append(Outcome(due, sent, now(), answer.status, None, answer.retry_after))
        if answer.body and not self.refusal:
            self.refusal = _shown(answer)
        return True


async def closed_loop(
    target: Target,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    warm_up: float = 1.0,
    timeout: float = 30.0,
    images: int = 1,
) -> Figures:
    """Figures of `connections` callers, each of which asks again as soon as it has its answer.

    Args:
        target: The server.
        requests: Sent in turn.
        connections: How many there are.
        seconds: Length of the window.
        warm_up: Seconds of the same load before it.
        timeout: Seconds after which a request counts as failed.
        images: In each request.
    """
    asker = _Asker(requests, timeout)
    begin = now() + warm_up
    end = begin + seconds

    async def call() -> None:
        connection = Connection(target)
        while now() < end:
            if not await asker.ask(connection):
                await asyncio.sleep(_PAUSE)
        connection.close()

    await asyncio.gather(*(call() for _ in range(connections)))
    return figures_of(asker.outcomes, begin=begin, end=end, images=images, refusal=asker.refusal)


async def open_loop(
    target: Target,
    requests: Sequence[bytes],
    *,
    rate: float,
    seconds: float,
    warm_up: float = 1.0,
    timeout: float = 30.0,
    in_flight: int = 1_024,
    seed: int | None = 0,
    images: int = 1,
) -> Figures:
    """Figures of requests sent when their time has come, whether earlier ones are answered or not.

    Latency counts from when a request was due: a server that is slow for a second is charged with
    every request of that second.

    Args:
        rate: Requests a second.
        in_flight: Most that may wait for an answer; those due beyond are counted, not sent.
        seed: Of the Poisson schedule; None: gaps of equal length.
        The others are as in `closed_loop`.
    """
    asker = _Asker(requests, timeout)
    loop = asyncio.get_running_loop()
    start = now() + 0.01
    begin, end = start + warm_up, start + warm_up + seconds
    idle: list[Connection] = []  # the last used first: the others may go stale
    flying: set[asyncio.Task[None]] = set()
    unsent = 0

    async def send(due: float) -> None:
        connection = idle.pop() if idle else Connection(target)
        await asker.ask(connection, due)
        idle.append(connection)

    for time in due_times(rate, warm_up + seconds, seed=seed):
        due = start + time
        await asyncio.sleep(max(0.0, due - now()))  # 0 too: answers must be read meanwhile
        if len(flying) >= in_flight:
            unsent += begin <= due
            continue
        task = loop.create_task(send(due))
        flying.add(task)
        task.add_done_callback(flying.discard)
    if flying:
        await asyncio.wait(flying)
    for connection in idle:
        connection.close()
    return figures_of(
        asker.outcomes, begin=begin, end=end, unsent=unsent, images=images, refusal=asker.refusal
    )


def _shown(answer: Answer) -> str:
    text = answer.body[:_SHOWN].decode("utf-8", "replace").strip()
    return f"{answer.status}: {text}"
