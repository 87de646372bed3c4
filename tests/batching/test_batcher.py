"""The batcher, attacked: poison, cancellation, lateness, floods, broken engines, shutdown."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from serving.batching import Answer, Batcher
from serving.errors import Busy, ComputeFailed, DeadlineExceeded, NotReady

POISON = -666.0
Rows = Sequence[np.ndarray[Any, Any]]


class Engine:
    """Doubles what it gets, and notes it; waits at a gate, chokes on poison."""

    def __init__(self, seconds: float = 0.0, error: type[BaseException] = RuntimeError) -> None:
        self.batches: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.seconds = seconds
        self.error = error

    def run(self, graph: str, inputs: Rows) -> list[np.ndarray[Any, Any]]:
        self.batches.append(inputs[0][:, 0].tolist())
        self.entered.release()
        assert self.gate.wait(10)
        time.sleep(self.seconds)
        if (inputs[0] == POISON).any():
            raise self.error("poison")
        return [inputs[0] * 2]

    async def busy(self) -> None:
        """Return once a batch is being computed."""
        await asyncio.to_thread(self.entered.acquire)


def rows(*values: float) -> tuple[np.ndarray[Any, Any]]:
    return (np.array(values, np.float32)[:, np.newaxis],)


@contextlib.asynccontextmanager
async def batching(engine: Engine, **options: Any) -> AsyncIterator[Batcher]:
    settings: dict[str, Any] = {"max_batch": 4, "queue_limit": 100, "workers": 1, **options}
    batcher = Batcher(engine.run, **settings)
    try:
        yield batcher
    finally:
        engine.gate.set()
        await batcher.close(grace=5)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


def values(answer: Answer) -> list[float]:
    result: list[float] = answer.outputs[0][:, 0].tolist()
    return result


def test_a_lone_request_does_not_wait() -> None:
    async def scenario() -> None:
        async with batching(Engine()) as batcher:
            answer = await batcher.submit("g", rows(1, 2))
            assert values(answer) == [2, 4]
            assert answer.batch == 2
            assert answer.queue_ms < 100

    run(scenario)


def test_what_queues_up_while_the_engine_works_is_one_batch() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.gate.clear()
        async with batching(engine) as batcher:
            first = asyncio.create_task(batcher.submit("g", rows(0)))
            await engine.busy()
            rest = [asyncio.create_task(batcher.submit("g", rows(i))) for i in range(1, 6)]
            await asyncio.sleep(0.01)
            assert batcher.queued == 5
            engine.gate.set()
            answers = [await first, *[await task for task in rest]]
        assert [values(answer) for answer in answers] == [[2 * i] for i in range(6)]
        assert engine.batches == [[0], [1, 2, 3, 4], [5]]
        assert [answer.batch for answer in answers] == [1, 4, 4, 4, 4, 1]

    run(scenario)


def test_only_the_guilty_request_fails() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.gate.clear()
        async with batching(engine) as batcher:
            first = asyncio.create_task(batcher.submit("g", rows(0)))
            await engine.busy()
            tasks = [
                asyncio.create_task(batcher.submit("g", rows(value))) for value in (1, POISON, 3)
            ]
            await asyncio.sleep(0.01)
            engine.gate.set()
            await first
            good, bad, also_good = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(good, Answer)
            assert isinstance(also_good, Answer)
            assert (values(good), values(also_good)) == ([2], [6])
            assert isinstance(bad, ComputeFailed)
            assert values(await batcher.submit("g", rows(5))) == [10]  # it goes on
            assert batcher.alive

    run(scenario)


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, SystemExit, KeyboardInterrupt])
def test_whatever_an_engine_raises_the_thread_goes_on(error: type[BaseException]) -> None:
    async def scenario() -> None:
        engine = Engine(error=error)
        async with batching(engine) as batcher:
            with pytest.raises(ComputeFailed):
                await batcher.submit("g", rows(POISON))
            assert values(await batcher.submit("g", rows(1))) == [2]
            assert (batcher.alive, batcher.restarts) == (True, 0)

    run(scenario)


def test_a_thread_whose_own_loop_breaks_tells_its_requests_and_starts_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with batching(Engine()) as batcher:
            record = batcher._line.record

            def broken(*args: Any) -> Any:
                monkeypatch.setattr(batcher._line, "record", record)
                raise SystemError("a bug")

            monkeypatch.setattr(batcher._line, "record", broken)
            with pytest.raises(ComputeFailed):
                await batcher.submit("g", rows(1))
            assert values(await batcher.submit("g", rows(1))) == [2]
            assert (batcher.alive, batcher.restarts) == (True, 1)

    with caplog.at_level(logging.CRITICAL):
        run(scenario)
    assert "an engine thread broke" in caplog.text


def test_an_engine_that_loses_rows_is_an_error_not_a_mixup() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.run = lambda graph, inputs: [inputs[0][:1]]  # type: ignore[method-assign]
        async with batching(engine) as batcher:
            with pytest.raises(ComputeFailed):
                await batcher.submit("g", rows(1, 2))

    run(scenario)


def test_cancelled_work_is_not_computed() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.gate.clear()
        async with batching(engine) as batcher:
            first = asyncio.create_task(batcher.submit("g", rows(0)))
            await engine.busy()
            gone = [asyncio.create_task(batcher.submit("g", rows(9, 9))) for _ in range(3)]
            stays = asyncio.create_task(batcher.submit("g", rows(1)))
            await asyncio.sleep(0.01)
            for task in gone:
                task.cancel()
            await asyncio.wait(gone)
            assert batcher.queued == 1  # their room is free at once
            engine.gate.set()
            await first
            assert values(await stays) == [2]
        assert engine.batches == [[0], [1]]
        assert all(task.cancelled() for task in gone)

    run(scenario)


def test_a_long_request_cancelled_midway_stops() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.gate.clear()
        async with batching(engine) as batcher:
            long = asyncio.create_task(batcher.submit("g", rows(*range(100))))
            await engine.busy()
            long.cancel()
            await asyncio.wait([long])
            engine.gate.set()
            await batcher.submit("g", rows(1))
        assert engine.batches == [[0, 1, 2, 3], [1]]

    run(scenario)


def test_late_work_is_dropped_before_compute() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.gate.clear()
        async with batching(engine) as batcher:
            first = asyncio.create_task(batcher.submit("g", rows(0)))
            await engine.busy()
            late = asyncio.create_task(batcher.submit("g", rows(1), time.monotonic() + 0.05))
            await asyncio.sleep(0.1)
            engine.gate.set()
            await first
            with pytest.raises(DeadlineExceeded):
                await late
        assert engine.batches == [[0]]

    run(scenario)


def test_a_full_queue_refuses_at_once_and_says_when_to_return() -> None:
    async def scenario() -> None:
        engine = Engine(seconds=0.05)
        async with batching(engine, queue_limit=10) as batcher:
            await batcher.submit("g", rows(0))  # now the cost of a row is known: 0.05 s
            engine.gate.clear()
            first = asyncio.create_task(batcher.submit("g", rows(0)))
            await engine.busy()
            await engine.busy()
            waits = asyncio.create_task(batcher.submit("g", rows(*range(8))))
            await asyncio.sleep(0.01)
            begin = time.monotonic()
            with pytest.raises(Busy, match="8 items wait already and at most 10 may") as caught:
                await batcher.submit("g", rows(1, 2, 3))
            assert time.monotonic() - begin < 0.05
            assert caught.value.headers["Retry-After"] == "1"
            await asyncio.wait_for(self_fits(batcher, engine), 5)
            await asyncio.gather(first, waits)

    async def self_fits(batcher: Batcher, engine: Engine) -> None:
        fits = asyncio.create_task(batcher.submit("g", rows(1, 2)))
        await asyncio.sleep(0)
        engine.gate.set()
        assert values(await fits) == [2, 4]

    run(scenario)


def test_an_empty_queue_takes_a_request_longer_than_the_limit() -> None:
    async def scenario() -> None:
        async with batching(Engine(), queue_limit=4) as batcher:
            assert len(values(await batcher.submit("g", rows(*range(50))))) == 50

    run(scenario)


def test_a_queue_too_long_for_the_deadline_is_refused_at_once() -> None:
    async def scenario() -> None:
        engine = Engine(seconds=0.1)
        async with batching(engine) as batcher:
            await batcher.submit("g", rows(0))
            engine.gate.clear()
            tasks = [asyncio.create_task(batcher.submit("g", rows(i))) for i in range(40)]
            await engine.busy()
            await engine.busy()
            with pytest.raises(Busy, match="longer than the deadline") as caught:
                await batcher.submit("g", rows(1), time.monotonic() + 0.5)
            assert int(caught.value.headers["Retry-After"]) >= 2
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    run(scenario)


def test_a_long_request_delays_a_short_one_by_two_batches_at_most() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.gate.clear()
        async with batching(engine, max_batch=32, queue_limit=10_000) as batcher:
            long = asyncio.create_task(batcher.submit("g", rows(*range(4096))))
            await engine.busy()
            shorts = [asyncio.create_task(batcher.submit("g", rows(-i))) for i in range(1, 5)]
            await asyncio.sleep(0.01)
            engine.gate.set()
            answers = await asyncio.gather(*shorts)
            whole = await long
        place = next(i for i, batch in enumerate(engine.batches) if -1 in batch)
        assert place <= 2
        assert engine.batches[place][:4] == [-1, -2, -3, -4]
        assert [values(answer) for answer in answers] == [[-2 * i] for i in range(1, 5)]
        assert values(whole) == [2 * i for i in range(4096)]
        assert max(map(len, engine.batches)) == 32

    run(scenario)


def test_a_long_request_is_shared_by_the_threads_that_are_free() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.gate.clear()
        async with batching(engine, workers=3) as batcher:
            long = asyncio.create_task(batcher.submit("g", rows(*range(12))))
            for _ in range(3):  # three batches at once, with nobody submitting more
                assert await asyncio.to_thread(engine.entered.acquire, True, 5)
            engine.gate.set()
            assert values(await long) == [2 * i for i in range(12)]
        assert sorted(engine.batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]

    run(scenario)


def test_answers_reach_their_callers_whatever_the_load() -> None:
    async def scenario() -> None:
        engine = Engine()
        async with batching(engine, workers=3, max_batch=7, queue_limit=10**6) as batcher:

            async def caller(k: int) -> None:
                for j in range(20):
                    given = [k * 1000 + j * 10 + i for i in range(1 + (k + j) % 11)]
                    answer = await batcher.submit("ab"[k % 2], rows(*given))
                    assert values(answer) == [2 * value for value in given]

            await asyncio.gather(*[caller(k) for k in range(40)])
        computed = sum(map(len, engine.batches))
        assert computed == sum(1 + (k + j) % 11 for k in range(40) for j in range(20))
        assert max(map(len, engine.batches)) <= 7

    run(scenario)


def test_closing_finishes_what_waits_and_refuses_what_comes() -> None:
    async def scenario() -> None:
        engine = Engine(seconds=0.02)
        batcher = Batcher(engine.run, max_batch=2, queue_limit=100, workers=1)
        tasks = [asyncio.create_task(batcher.submit("g", rows(i))) for i in range(9)]
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0.01)
        with pytest.raises(NotReady, match="shutting down"):
            await batcher.submit("g", rows(1))
        await closing
        assert [values(await task) for task in tasks] == [[2 * i] for i in range(9)]
        assert not any(thread.is_alive() for thread in batcher._threads)

    run(scenario)


def test_closing_does_not_wait_for_ever() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.gate.clear()
        batcher = Batcher(engine.run, max_batch=2, queue_limit=100, workers=1)
        stuck = asyncio.create_task(batcher.submit("g", rows(1)))
        await engine.busy()
        waits = asyncio.create_task(batcher.submit("g", rows(2)))
        await asyncio.sleep(0.01)
        await batcher.close(grace=0.05)
        for task in (stuck, waits):
            with pytest.raises(NotReady):
                await task
        engine.gate.set()

    run(scenario)


def test_answers_for_a_loop_that_has_ended_hurt_nobody() -> None:
    engine = Engine()
    engine.gate.clear()
    batcher = Batcher(engine.run, max_batch=2, queue_limit=100, workers=1)

    async def leaves() -> None:
        task = asyncio.create_task(batcher.submit("g", rows(1)))
        await engine.busy()
        task.cancel()

    asyncio.run(leaves())
    engine.gate.set()

    async def comes_later() -> None:
        assert values(await batcher.submit("g", rows(2))) == [4]
        await batcher.close()

    asyncio.run(comes_later())


def test_each_batch_is_told_to_the_figures() -> None:
    async def scenario() -> None:
        told: list[tuple[str, int]] = []
        async with batching(
            Engine(), on_batch=lambda graph, rows, seconds: told.append((graph, rows))
        ) as batcher:
            await batcher.submit("g", rows(1, 2, 3))
        assert told == [("g", 3)]

    run(scenario)


@pytest.mark.parametrize("options", [{"max_batch": 0}, {"queue_limit": 0}, {"workers": 0}])
def test_nonsense_settings_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Batcher(Engine().run, **{"max_batch": 1, "queue_limit": 1, "workers": 1, **options})  # type: ignore[arg-type]


def test_rows_that_do_not_match_are_refused() -> None:
    async def scenario() -> None:
        async with batching(Engine()) as batcher:
            for inputs in ((*rows(), *rows()), (*rows(1), *rows(1, 2))):
                with pytest.raises(ValueError, match="inputs of"):
                    await batcher.submit("g", inputs)

    run(scenario)
