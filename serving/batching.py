"""Requests of many callers in, merged batches to the engine, each caller's own rows back.

Continuous batching without a timer: an engine thread that is free takes what waits at that moment,
so a batch is whatever queued up while the engine was busy, and a lone request never waits.

    submit() -> line of waiting work -> engine thread: take, merge, run, split -> futures

The event loop and the engine threads share the line under one lock, which nobody holds while a
graph runs.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from serving.engine_threads import EngineThreads, Hand
from serving.errors import (
    Busy,
    ComputeFailed,
    DeadlineExceeded,
    ItemProblem,
    NotReady,
    ServingError,
)
from serving.queueing import Answer, Array, Line, Part, Plan, Work, halves, joined

__all__ = ["Answer", "Batcher", "Run"]

Result = tuple[Work, Answer | ServingError]
# Share of the time left that a wait may be expected to take: it may turn out twice as long.  A line
# up to the deadline gains nothing, and under overload makes every answer late.
_SURE: Final = 0.5
log = logging.getLogger("biject.batching")


class Run(Protocol):
    """What computes: blocking, called by several engine threads at once."""

    def __call__(self, graph: str, inputs: Sequence[Array], /) -> list[Array]: ...


class Batcher:
    """Merges what callers submit into batches for `run`, on `workers` engine threads.

    Args:
        run: Computes a graph for N rows; its outputs have N rows each.
        plan: What batches cost and how large they are to be; longer requests are cut.
        queue_limit: Most rows that may wait for one graph; a request over it is refused with Busy.
        workers: How many threads call `run`.
        on_batch: Told of each batch (graph, outputs, seconds), on an engine thread.
        restart_delay: Seconds until an engine thread that died is replaced; longer if its
            successors die, too.
    """

    def __init__(
        self,
        run: Run,
        *,
        plan: Plan,
        queue_limit: int,
        workers: int,
        on_batch: Callable[[str, Sequence[Array], float], None] | None = None,
        restart_delay: float = 0.25,
    ) -> None:
        if min(queue_limit, workers) < 1:
            raise ValueError("queue_limit and workers must be at least 1")
        self._run = run
        self._queue_limit = queue_limit
        self._on_batch = on_batch
        self._line = Line(plan)
        self._wake = threading.Condition()  # guards line and hands, and tells that the line grew
        self._open: set[Work] = set()  # submitted and not yet answered; touched by callers only
        self._closing = False
        self._threads = EngineThreads(
            self._work, self._lost, count=workers, restart_delay=restart_delay
        )

    @property
    def queued(self) -> int:
        """Rows that wait for an engine thread."""
        with self._wake:
            return self._line.rows

    @property
    def restarts(self) -> int:
        """How many engine threads died and were replaced."""
        return self._threads.restarts

    def trouble(self) -> str | None:
        """What keeps this from working as it should, as half a sentence; None if nothing does."""
        with self._wake:
            return self._threads.trouble()

    def check(self, graph: str, rows: int, deadline: float | None) -> None:
        """Raises Busy or NotReady, as `submit` would for so many rows now."""
        with self._wake:
            self._admit(graph, rows, deadline, time.monotonic())

    async def submit(
        self,
        graph: str,
        inputs: tuple[Array, ...],
        deadline: float | None = None,
        *,
        on_abandoned: Callable[[int], None] | None = None,
    ) -> Answer:
        """The outputs of `graph` for these rows, once their turn came.

        Args:
            graph: Its name.
            inputs: Arrays of N rows each, already checked: what meets here is computed together.
            deadline: By `time.monotonic()`; work still waiting then is dropped.
            on_abandoned: Told, when the caller is cancelled, how many rows no engine had taken.
        Raises:
            Busy: the queue is full, or too long for the deadline; at once, with Retry-After.
            DeadlineExceeded: the deadline passed while it waited.
            ComputeFailed: the engine failed on one of these very rows; names it.
            NotReady: the batcher is shutting down.
        Cancelling the caller takes its waiting rows out of the line.
        """
        work = Work(
            graph=graph,
            inputs=inputs,
            future=asyncio.get_running_loop().create_future(),
            queued_at=time.monotonic(),
            deadline=deadline,
        )
        if work.rows == 0 or any([len(array) != work.rows for array in inputs]):
            raise ValueError(f"{graph}: inputs of {[len(array) for array in inputs]} rows")
        with self._wake:
            waited = self._line.rows
            self._admit(graph, work.rows, deadline, work.queued_at)
            self._line.add(work)
            # Whoever is woken takes all of a batch, and wakes the next if there is more.
            if not waited:
                self._wake.notify()
        self._open.add(work)
        try:
            return await work.future
        except asyncio.CancelledError:
            with self._wake:
                self._line.drop(work)
            if on_abandoned is not None:
                on_abandoned(work.rows - work.taken)
            raise
        finally:
            self._open.discard(work)

    async def close(self, grace: float = 10.0) -> None:
        """Take nothing new, finish what waits within `grace` seconds, fail the rest, end."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        await asyncio.to_thread(self._threads.close, time.monotonic() + grace)
        left = list(self._open)
        with self._wake:
            for work in left:
                self._line.drop(work)
        self._send([(work, NotReady("the server is shutting down")) for work in left])

    def _admit(self, graph: str, rows: int, deadline: float | None, now: float) -> None:
        if self._closing:
            raise NotReady("the server is shutting down")
        if not self._line.rows:
            return  # an empty line takes any size: no retry would find it shorter
        wait = (self._line.ahead(graph, rows) + self._threads.busy(now)) / self._threads.count
        queued = self._line.waiting(graph)
        if queued and queued + rows > self._queue_limit:
            raise Busy(
                f"{queued} items wait already and at most {self._queue_limit} may",
                retry_after=wait,
            )
        done = wait + self._line.seconds(graph, rows) / self._threads.count
        if deadline is not None and done > _SURE * (deadline - now):
            raise Busy(
                f"the queue takes about {wait:.1f} s, which is longer than the deadline allows",
                retry_after=wait,
            )

    # On the engine threads

    def _work(self, hand: Hand) -> None:
        """Batch after batch, until the batcher closes and nothing waits."""
        while parts := self._next(hand):
            whole = self._compute(parts)
            with self._wake:
                if whole:
                    # All that passed, not the engine's share alone: others wait for it.
                    rows = sum(part.stop - part.start for part in parts)
                    self._line.learn(parts[0].work.graph, rows, time.monotonic() - hand.since)
                hand.parts = []
                hand.batches += 1

    def _next(self, hand: Hand) -> list[Part]:
        """The next batch, waiting for it; empty when closing and nothing waits."""
        with self._wake:
            while True:
                now = time.monotonic()
                parts, expired = self._line.take(now)
                hand.parts, hand.since = parts, now
                self._send([(work, _too_late(work, now)) for work in expired])
                if self._line.rows:  # of a long request, say: another thread may be free
                    self._wake.notify()
                if parts:
                    rows = sum(part.stop - part.start for part in parts)
                    hand.expected = self._line.seconds(parts[0].work.graph, rows)
                if parts or self._closing:
                    return parts
                self._wake.wait()

    def _compute(self, parts: list[Part]) -> bool:
        """Run the parts and hand out what comes back; whether all of it came at once."""
        alive = [part for part in parts if not part.work.dead]
        if not alive:
            return False
        whole, parts = len(alive) == len(parts), alive
        graph, rows = parts[0].work.graph, sum(part.stop - part.start for part in parts)
        begin = time.monotonic()
        try:
            outputs = self._run_joined(graph, rows, parts)
        # An engine may raise anything, and on this thread not even SystemExit is meant for us.
        except BaseException as error:
            if rows > 1:
                log.warning("a batch of %d rows to %s failed (%r): halved", rows, graph, error)
                for half in halves(parts):
                    self._compute(half)
            else:
                log.exception("the engine failed on a row to %s", graph)
                self._fail([(parts[0].work, _guilty(parts[0]))])
            return False
        seconds = time.monotonic() - begin
        with self._wake:
            complete = self._line.record(parts, outputs, seconds)
        # First, so that whoever reads the figures after his answer finds himself in them.
        self._tell(graph, outputs, seconds)
        self._send([(work, work.answer()) for work in complete])
        return whole

    def _tell(self, graph: str, outputs: list[Array], seconds: float) -> None:
        """Tell whoever counts batches, whose failures are not the engine's."""
        if self._on_batch is None:
            return
        try:
            self._on_batch(graph, outputs, seconds)
        # The edge of what is not ours: answers matter more than figures of them.
        except BaseException:
            log.exception("a batch to %s was computed, and could not be counted", graph)

    def _run_joined(self, graph: str, rows: int, parts: list[Part]) -> list[Array]:
        inputs = [
            joined([part.work.inputs[i][part.start : part.stop] for part in parts])
            for i in range(len(parts[0].work.inputs))
        ]
        outputs = self._run(graph, inputs)
        counts = [len(output) for output in outputs]
        if not counts or any(count != rows for count in counts):
            raise RuntimeError(f"{graph} gave outputs of {counts} rows for {rows}")
        return outputs

    def _lost(self, hand: Hand) -> None:
        """Tell those whose rows a dead thread had in hand; nobody knows how far it got.

        What it did not take is for the others, who may sleep: it was woken in their place.
        """
        works = {part.work for part in hand.parts if not part.work.dead}
        self._fail([(work, ComputeFailed("the engine broke on this request")) for work in works])
        with self._wake:
            self._wake.notify_all()

    def _fail(self, results: list[Result]) -> None:
        with self._wake:
            # What ended already, in another half of the batch say, does not end again.
            results = [(work, why) for work, why in results if not work.dead and not work.complete]
            for work, _ in results:
                self._line.drop(work)
        self._send(results)

    def _send(self, results: list[Result]) -> None:
        """Let each caller's own event loop settle its future."""
        by_loop: dict[asyncio.AbstractEventLoop, list[Result]] = {}
        for result in results:
            by_loop.setdefault(result[0].future.get_loop(), []).append(result)
        for loop, its in by_loop.items():
            try:
                loop.call_soon_threadsafe(_settle, its)
            except RuntimeError:  # the loop is closed: nobody waits any more
                log.debug("%d answers came after their event loop had ended", len(its))


def _settle(results: list[Result]) -> None:
    for work, result in results:
        if work.future.done():  # its caller left meanwhile
            continue
        if isinstance(result, ServingError):
            work.future.set_exception(result)
        else:
            work.future.set_result(result)


def _guilty(part: Part) -> ComputeFailed:
    """The failure of a request for the one row of it that the engine cannot compute."""
    detail = f"the engine failed on item {part.start} of this request"
    return ComputeFailed(detail, items=[ItemProblem(part.start, "the engine fails on it")])


def _too_late(work: Work, now: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"the deadline passed after {now - work.queued_at:.2f} s in the queue")
