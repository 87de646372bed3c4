"""The engine threads of one batcher: what each has in hand, and who replaces one that dies."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from serving.queueing import Part

STALLED: Final = 30.0  # seconds in one batch after which something is wrong with the engine
_LONGEST_DELAY: Final = 32  # times the first delay
log = logging.getLogger("biject.batching")


@dataclass(kw_only=True, slots=True, eq=False)
class Hand:
    """What one engine thread computes now; guarded by the batcher's lock."""

    parts: list[Part] = field(default_factory=list)
    since: float = 0.0  # time.monotonic()
    expected: float = 0.0  # seconds
    batches: int = 0  # finished


class EngineThreads:
    """`count` threads that run `work` until it returns.

    Args:
        work: Takes its thread's hand, and batch after batch; returns when there is no more to do.
        lost: Told of the hand of a thread that died, on that thread.
        count: How many threads.
        restart_delay: Seconds until a dead thread is replaced; doubled for each successor that
            dies before it has finished a batch.
    """

    def __init__(
        self,
        work: Callable[[Hand], None],
        lost: Callable[[Hand], None],
        *,
        count: int,
        restart_delay: float,
    ) -> None:
        self._work = work
        self._lost = lost
        self._count = count
        self._restart_delay = restart_delay
        self._closed = threading.Event()
        self._end = math.inf  # by time.monotonic(): nobody is replaced after that
        self._lock = threading.Lock()  # guards the next three
        self._threads: dict[threading.Thread, Hand] = {}  # those that work
        self._started: list[threading.Thread] = []  # those too that died and wait to be replaced
        self._restarts = 0
        for _ in range(count):
            self._start(restart_delay)

    @property
    def count(self) -> int:
        return self._count

    @property
    def restarts(self) -> int:
        """Threads that died and were replaced."""
        with self._lock:
            return self._restarts

    def trouble(self) -> str | None:
        """What is wrong, as half a sentence; None if all threads do their work."""
        with self._lock:
            hands = list(self._threads.values())
        if len(hands) < self._count and not self._closed.is_set():
            return "an engine thread died and is being replaced"
        now = time.monotonic()
        longest = max((now - hand.since for hand in hands if hand.parts), default=0.0)
        return f"a batch has been running for {longest:.0f} s" if longest > STALLED else None

    def busy(self, now: float) -> float:
        """Seconds of one thread that the batches in hand will still take."""
        with self._lock:
            hands = [hand for hand in self._threads.values() if hand.parts]
        return sum(max(0.0, hand.expected - (now - hand.since)) for hand in hands)

    def close(self, end: float) -> None:
        """Wait for all to return, until `end` by time.monotonic(); replace nobody after that.

        Until then those that died are replaced, and at once: somebody has to finish what waits.
        """
        self._end = end
        self._closed.set()
        while (left := end - time.monotonic()) > 0:
            with self._lock:
                alive = [thread for thread in self._started if thread.is_alive()]
            if not alive:
                return
            alive[0].join(left)

    def _start(self, delay: float, *, replaced: int = 0) -> None:
        """Raises RuntimeError where no more threads are to be had."""
        hand = Hand()
        thread = threading.Thread(target=self._live, args=(hand, delay), name="engine", daemon=True)
        with self._lock:
            thread.start()
            self._threads[thread] = hand
            self._restarts += replaced
            self._started = [one for one in self._started if one.is_alive()] + [thread]

    def _live(self, hand: Hand, delay: float) -> None:
        try:
            self._work(hand)
            return
        # The edge of an engine thread.  Whatever broke in the batcher itself, SystemExit included:
        # the requests at hand are told, and somebody else goes on with the rest.
        except BaseException:
            log.critical("an engine thread died; another takes its place", exc_info=True)
        with self._lock:
            del self._threads[threading.current_thread()]
        try:
            self._lost(hand)
        finally:
            self._replace(hand, delay)

    def _replace(self, hand: Hand, delay: float) -> None:
        """Start a successor after `delay`, and try again ever more slowly if that fails."""
        while True:
            if self._closed.is_set():
                time.sleep(max(0.0, min(delay, self._end - time.monotonic())))
            else:
                self._closed.wait(delay)
            if time.monotonic() >= self._end:
                return
            longest = _LONGEST_DELAY * self._restart_delay
            delay = self._restart_delay if hand.batches else min(2 * delay, longest)
            try:
                self._start(delay, replaced=1)
                return
            except RuntimeError:
                log.exception("no engine thread could be started")
                hand.batches = 0
