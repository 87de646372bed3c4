"""Where bookkeeping and threads could part: dying, closing, cancelling at the wrong moment."""

import asyncio
import gc
import logging
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from plans import Fixed
from serving.batching import Answer, Batcher
from serving.engine_threads import EngineThreads, Hand
from serving.errors import Busy, ComputeFailed, ServingError
from serving.queueing import Line, Work

Array = np.ndarray[Any, Any]


class Doubler:
    """Doubles what it gets once its gate is open, and notes it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[float]] = []

    def run(self, graph: str, inputs: Sequence[Array]) -> list[Array]:
        self.entered.release()
        assert self.gate.wait(10)
        self.batches.append(inputs[0][:, 0].tolist())
        return [inputs[0] * 2]

    async def busy(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, True, 10)


def rows(*values: float) -> tuple[Array]:
    return (np.array(values, np.float32)[:, np.newaxis],)


def values(answer: Answer) -> list[float]:
    result: list[float] = answer.outputs[0][:, 0].tolist()
    return result


@asynccontextmanager
async def batching(engine: Doubler, **options: Any) -> AsyncIterator[Batcher]:
    given: dict[str, Any] = {"plan": Fixed(4), "queue_limit": 1000, "workers": 1, **options}
    batcher = Batcher(engine.run, **{"restart_delay": 0.01, **given})
    try:
        yield batcher
    finally:
        engine.gate.set()
        await batcher.close(grace=5)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 20))


async def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.002)


def breaks_once(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> threading.Event:
    """Let a method raise the next time it is called; the event says that it did."""
    method, did = getattr(owner, name), threading.Event()

    def broken(*args: Any) -> Any:
        if did.is_set():
            return method(*args)
        did.set()
        raise SystemError("a bug")

    monkeypatch.setattr(owner, name, broken)
    return did


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The deaths of these threads are meant."""
    caplog.set_level(logging.CRITICAL + 1, "biject.batching")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def work(
    loop: asyncio.AbstractEventLoop, count: int, graph: str = "g", deadline: float | None = None
) -> Work:
    future = loop.create_future()
    array = np.zeros((count, 1), np.float32)
    return Work(graph=graph, inputs=(array,), future=future, queued_at=0.0, deadline=deadline)


@pytest.mark.parametrize("dropped", [True, False])
def test_what_was_dropped_or_expired_gives_nobody_its_turn(
    loop: asyncio.AbstractEventLoop, dropped: bool
) -> None:
    line = Line(Fixed(1))
    gone = work(loop, 1, "a", None if dropped else 0.5)
    first = work(loop, 1, "b")
    second = work(loop, 1, "a")
    for one in (gone, first, second):
        line.add(one)
    if dropped:
        line.drop(gone)
    assert [line.take(1.0)[0][0].work for _ in range(2)] == [first, second]


def test_a_request_taken_at_time_zero_waited_no_longer_than_that(
    loop: asyncio.AbstractEventLoop,
) -> None:
    line = Line(Fixed(1))
    one = work(loop, 2)
    line.add(one)
    for now in (0.0, 5.0):
        parts, _ = line.take(now)
        line.record(parts, [np.zeros((1, 1))], 1.0)
    assert one.answer().queue_ms == 0


def test_the_arrays_of_those_who_left_are_let_go_while_the_engine_is_busy() -> None:
    async def scenario() -> None:
        engine = Doubler()
        engine.gate.clear()
        async with batching(engine) as batcher:
            stay = [asyncio.create_task(batcher.submit("g", rows(i))) for i in range(2)]
            await engine.busy()
            held: list[weakref.ref[Array]] = []
            for _ in range(20):
                given = rows(*[9.0] * 100)
                held.append(weakref.ref(given[0]))
                task = asyncio.create_task(batcher.submit("g", given))
                del given
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                del task
            gc.collect()
            assert sum(one() is not None for one in held) == 0
            engine.gate.set()
            assert [values(await task) for task in stay] == [[0], [2]]

    run(scenario)


def test_one_batch_that_stood_still_does_not_turn_away_what_comes_after() -> None:
    """A machine that was suspended for a minute is not thousands of times slower from then on."""

    async def scenario() -> None:
        engine = Doubler()
        async with batching(engine, plan=Fixed(4, seconds=1e-3)) as batcher:
            batcher._line.learn("g", 1, 60.0)
            engine.gate.clear()
            first = asyncio.create_task(batcher.submit("g", rows(2)))
            await engine.busy()
            waits = [asyncio.create_task(batcher.submit("g", rows(i))) for i in range(20)]
            await until(lambda: batcher.queued == 20)
            batcher.check("g", 1, time.monotonic() + 1.0)  # 6 batches of a millisecond
            engine.gate.set()
            await asyncio.gather(first, *waits)

    run(scenario)


def test_an_engine_that_became_slow_for_good_is_believed_soon() -> None:
    async def scenario() -> None:
        engine = Doubler()
        async with batching(engine, plan=Fixed(1, seconds=1e-4)) as batcher:
            run_batch = engine.run

            def slow(graph: str, inputs: Sequence[Array]) -> list[Array]:
                time.sleep(0.01)  # 100 times what was planned
                return run_batch(graph, inputs)

            batcher._run = slow
            for i in range(30):
                await batcher.submit("g", rows(i))
            engine.gate.clear()
            tasks = [asyncio.create_task(batcher.submit("g", rows(i))) for i in range(21)]
            await until(lambda: batcher.queued == 20)
            with pytest.raises(Busy):
                batcher.check("g", 1, time.monotonic() + 0.05)
            engine.gate.set()
            await asyncio.gather(*tasks)

    run(scenario)


def test_when_a_thread_dies_a_sleeping_one_takes_what_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        async with batching(Doubler(), workers=2, restart_delay=60) as batcher:
            await until(lambda: len(batcher._wake._waiters) == 2)  # type: ignore[attr-defined]
            died = breaks_once(monkeypatch, batcher._line, "take")
            answer = await asyncio.wait_for(batcher.submit("g", rows(1)), 5)
            assert (died.is_set(), values(answer)) == (True, [2])

    run(scenario)


@pytest.mark.parametrize("name", ["seconds", "record"])
def test_whoever_a_dying_thread_had_taken_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async def scenario() -> None:
        async with batching(Doubler()) as batcher:
            breaks_once(monkeypatch, batcher._line, name)
            with pytest.raises(ComputeFailed, match="the engine broke"):
                await asyncio.wait_for(batcher.submit("g", rows(1)), 5)
            assert values(await batcher.submit("g", rows(2))) == [4]

    run(scenario)


def test_closing_while_a_thread_is_replaced_finishes_what_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        async with batching(Doubler(), restart_delay=60) as batcher:
            breaks_once(monkeypatch, batcher._line, "record")
            with pytest.raises(ComputeFailed):
                await batcher.submit("g", rows(1))
            waits = [asyncio.create_task(batcher.submit("g", rows(i))) for i in range(9)]
            await until(lambda: batcher.queued == 9)
            begin = time.monotonic()
            await batcher.close(grace=10)
            assert time.monotonic() - begin < 5
            assert [values(await task) for task in waits] == [[2 * i] for i in range(9)]

    run(scenario)


def test_closing_ends_in_time_though_every_thread_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with batching(Doubler(), restart_delay=0.02) as batcher:

            def broken(now: float) -> Any:
                raise SystemError("a bug")

            monkeypatch.setattr(batcher._line, "take", broken)
            task = asyncio.create_task(batcher.submit("g", rows(1)))
            await until(lambda: batcher.trouble() is not None)
            begin = time.monotonic()
            await batcher.close(grace=0.3)
            assert time.monotonic() - begin < 3
            with pytest.raises(ServingError):
                await task
            restarts = batcher.restarts
            await asyncio.sleep(0.1)
            assert batcher.restarts == restarts  # nobody is replaced any more

    run(scenario)


def test_a_replacement_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        async with batching(Doubler()) as batcher:
            start, refused = threading.Thread.start, threading.Semaphore(3)

            def starved(thread: threading.Thread) -> None:
                if thread.name == "engine" and refused.acquire(blocking=False):
                    raise RuntimeError("can't start new thread")
                start(thread)

            breaks_once(monkeypatch, batcher._line, "record")
            monkeypatch.setattr(threading.Thread, "start", starved)
            with pytest.raises(ComputeFailed):
                await batcher.submit("g", rows(1))
            assert batcher.trouble() is not None
            assert values(await asyncio.wait_for(batcher.submit("g", rows(3)), 5)) == [6]
            assert batcher.trouble() is None

    run(scenario)


def test_a_batch_that_just_began_is_never_taken_for_a_stalled_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A probe may come between any two steps of a thread that takes its batch after a long idle."""
    said: list[str | None] = []
    probing: list[Callable[[], str | None]] = []

    class Watched(Hand):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            for probe in tuple(probing):  # as it is now: a thread may begin after the list is empty
                prober = threading.Thread(target=lambda probe=probe: said.append(probe()))
                prober.start()
                prober.join(0.05)  # one that waits for the lock comes later

    monkeypatch.setattr("serving.engine_threads.Hand", Watched)

    async def scenario() -> None:
        async with batching(Doubler()) as batcher:
            await batcher.submit("g", rows(1))
            await until(lambda: len(batcher._wake._waiters) == 1)  # type: ignore[attr-defined]
            (hand,) = batcher._threads._threads.values()
            hand.since -= 3600
            probing.append(batcher.trouble)
            await batcher.submit("g", rows(1))
            await until(lambda: len(said) >= 3)
            probing.clear()
        assert set(said) == {None}

    run(scenario)


def test_deaths_at_the_same_time_are_each_counted_and_replaced() -> None:
    count, barrier = 8, threading.Barrier(8)
    alive = threading.Semaphore(0)
    stop = threading.Event()

    def work_once(hand: Hand) -> None:
        if crew_started.is_set():
            alive.release()
            stop.wait(10)
            return
        barrier.wait(10)
        crew_started.set()
        raise SystemError("a bug")

    crew_started = threading.Event()
    crew = EngineThreads(work_once, lambda hand: None, count=count, restart_delay=0.01)
    for _ in range(count):
        assert alive.acquire(timeout=10)
    assert (crew.restarts, crew.trouble()) == (count, None)
    stop.set()
    crew.close(time.monotonic() + 5)
