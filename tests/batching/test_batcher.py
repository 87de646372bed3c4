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

from plans import Fixed
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
    most = options.pop("most", 4)
    settings: dict[str, Any] = {
        **{"plan": Fixed(most), "queue_limit": 100, "workers": 1, "restart_delay": 0.01},
        **options,
    }
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
            assert answer.queue_ms < 2000  # far below, but on a machine with much else to do

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
            assert batcher.trouble() is None

    run(scenario)


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, SystemExit, KeyboardInterrupt])
def test_whatever_an_engine_raises_the_thread_goes_on(error: type[BaseException]) -> None:
    async def scenario() -> None:
        engine = Engine(error=error)
        async with batching(engine) as batcher:
            with pytest.raises(ComputeFailed):
                await batcher.submit("g", rows(POISON))
            assert values(await batcher.submit("g", rows(1))) == [2]
            assert (batcher.trouble(), batcher.restarts) == (None, 0)

    run(scenario)


def test_only_the_guilty_row_is_blamed_and_the_search_for_it_is_short() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.gate.clear()
        async with batching(engine, most=16) as batcher:
            first = asyncio.create_task(batcher.submit("g", rows(0)))
            await engine.busy()
            given = [[10.0 * k + i for i in range(5)] for k in range(3)]
            given[1][3] = POISON
            tasks = [asyncio.create_task(batcher.submit("g", rows(*some))) for some in given]
            await asyncio.sleep(0.01)
            engine.gate.set()
            await first
            good, bad, also_good = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(good, Answer)
        assert isinstance(also_good, Answer)
        assert values(good) == [0, 2, 4, 6, 8]
        assert values(also_good) == [40, 42, 44, 46, 48]
        assert isinstance(bad, ComputeFailed)
        assert [problem.index for problem in bad.items] == [3]
        failed = [batch for batch in engine.batches if POISON in batch]
        # 15 rows, halved until one is left: the half with the poison 8, 4, 2, 1
        assert [len(batch) for batch in failed] == [15, 8, 4, 2, 1]
        for value in (0, 1, 2, 3, 4, 20, 21, 22, 23, 24):  # innocent rows: at most twice a halving
            assert sum(value in batch for batch in engine.batches[1:]) <= 5

    run(scenario)


def test_an_engine_that_fails_on_everything_is_not_asked_for_each_row() -> None:
    async def scenario() -> None:
        engine = Engine()
        async with batching(engine, most=64) as batcher:
            with pytest.raises(ComputeFailed):
                await batcher.submit("g", rows(*[POISON] * 64))
        assert [len(batch) for batch in engine.batches] == [64, 32, 16, 8, 4, 2, 1]

    run(scenario)


def test_a_batch_too_large_for_memory_is_computed_in_halves() -> None:
    async def scenario() -> None:
        engine = Engine()
        compute = engine.run

        def small_only(graph: str, inputs: Rows) -> list[np.ndarray[Any, Any]]:
            if len(inputs[0]) > 3:
                raise MemoryError
            return compute(graph, inputs)

        engine.run = small_only  # type: ignore[method-assign]
        async with batching(engine, most=16) as batcher:
            assert values(await batcher.submit("g", rows(*range(9)))) == list(range(0, 18, 2))

    run(scenario)


def broken_once(batcher: Batcher, monkeypatch: pytest.MonkeyPatch, times: int = 1) -> None:
    """Let the batcher's own bookkeeping raise on the next batches, outside of any engine."""
    record, left = batcher._line.record, [times]

    def broken(*args: Any) -> Any:
        if not left[0]:
            return record(*args)
        left[0] -= 1
        raise SystemError("a bug")

    monkeypatch.setattr(batcher._line, "record", broken)


def test_a_thread_that_dies_tells_its_requests_and_is_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with batching(Engine(), restart_delay=0.2) as batcher:
            broken_once(batcher, monkeypatch)
            (dead,) = batcher._threads._threads
            with pytest.raises(ComputeFailed):
                await batcher.submit("g", rows(1))
            assert batcher.trouble() == "an engine thread died and is being replaced"
            begin = time.monotonic()
            assert values(await batcher.submit("g", rows(1))) == [2]
            assert time.monotonic() - begin > 0.1  # it waited for the successor
            assert not dead.is_alive()
            assert (batcher.trouble(), batcher.restarts) == (None, 1)

    with caplog.at_level(logging.CRITICAL):
        run(scenario)
    assert "an engine thread died" in caplog.text


def test_others_go_on_while_a_thread_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with batching(Engine(), workers=2, restart_delay=60) as batcher:
            broken_once(batcher, monkeypatch)
            with pytest.raises(ComputeFailed):
                await batcher.submit("g", rows(1))
            for i in range(20):
                assert values(await batcher.submit("g", rows(i))) == [2 * i]
            assert batcher.trouble() is not None

    run(scenario)


def test_threads_that_keep_dying_are_replaced_ever_more_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        async with batching(Engine(), restart_delay=0.02) as batcher:
            broken_once(batcher, monkeypatch, times=4)
            begin = time.monotonic()
            for _ in range(4):
                with pytest.raises(ComputeFailed):
                    await batcher.submit("g", rows(1))
            assert values(await batcher.submit("g", rows(1))) == [2]
            assert time.monotonic() - begin >= 0.02 + 0.04 + 0.08 + 0.16

    run(scenario)


def test_a_batch_that_never_ends_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.gate.clear()
        async with batching(engine) as batcher:
            task = asyncio.create_task(batcher.submit("g", rows(1)))
            await engine.busy()
            assert batcher.trouble() is None
            monkeypatch.setattr("serving.engine_threads.STALLED", 0.0)
            await asyncio.sleep(0.01)
            assert "has been running for" in str(batcher.trouble())
            monkeypatch.undo()
            engine.gate.set()
            await task
            assert batcher.trouble() is None

    run(scenario)


def test_an_engine_that_loses_rows_is_an_error_not_a_mixup() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.run = lambda graph, inputs: [inputs[0][1:]]  # type: ignore[method-assign]
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
            back: list[int] = []
            gone = [
                asyncio.create_task(batcher.submit("g", rows(9, 9), on_abandoned=back.append))
                for _ in range(3)
            ]
            stays = asyncio.create_task(batcher.submit("g", rows(1)))
            await asyncio.sleep(0.01)
            for task in gone:
                task.cancel()
            await asyncio.wait(gone)
            assert batcher.queued == 1  # their room is free at once
            assert back == [2, 2, 2]
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
            back: list[int] = []
            long = asyncio.create_task(
                batcher.submit("g", rows(*range(100)), on_abandoned=back.append)
            )
            await engine.busy()
            long.cancel()
            await asyncio.wait([long])
            assert back == [96]  # an engine has four in hand
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
            await batcher.submit("g", rows(0))
            engine.gate.clear()
            first = asyncio.create_task(batcher.submit("g", rows(0)))
            await engine.busy()
            await engine.busy()
            waits = asyncio.create_task(batcher.submit("g", rows(*range(8))))
            await asyncio.sleep(0.01)
            begin = time.monotonic()
            with pytest.raises(Busy, match="8 items wait already and at most 10 may") as caught:
                await batcher.submit("g", rows(1, 2, 3))
            assert time.monotonic() - begin < 4  # the gate stays shut for 10
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
        engine = Engine()
        engine.gate.clear()
        async with batching(engine, plan=Fixed(4, seconds=0.5)) as batcher:
            first = asyncio.create_task(batcher.submit("g", rows(0)))
            await engine.busy()
            tasks = [first, *(asyncio.create_task(batcher.submit("g", rows(i))) for i in range(40))]
            await asyncio.sleep(0.01)
            # 10 batches wait, one is at work, one would be its own: 6 s, and it may be twice that
            for late in (0.5, 6.5, 11.4):
                with pytest.raises(Busy, match="longer than the deadline") as caught:
                    await batcher.submit("g", rows(1), time.monotonic() + late)
                assert caught.value.headers["Retry-After"] == "6"
            with pytest.raises(Busy):
                batcher.check("g", 1, time.monotonic() + 11.4)
            batcher.check("g", 1, time.monotonic() + 12.5)
            tasks.append(asyncio.create_task(batcher.submit("g", rows(1), time.monotonic() + 12.5)))
            await asyncio.sleep(0.01)
            assert batcher.queued == 41
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    run(scenario)


def test_only_whole_batches_teach_how_long_a_batch_takes() -> None:
    async def scenario() -> None:
        engine = Engine()
        async with batching(engine, plan=Fixed(4, seconds=1.0)) as batcher:
            with pytest.raises(ComputeFailed):
                await batcher.submit("g", rows(1, POISON))
            assert batcher._line.seconds("g", 1) == 1.0
            await batcher.submit("g", rows(1))  # far quicker than planned
            async with asyncio.timeout(10):  # the thread learns after it has answered
                while batcher._line.seconds("g", 1) == 1.0:
                    await asyncio.sleep(1e-3)
            assert batcher._line.seconds("g", 1) == pytest.approx(0.9, abs=0.05)

    run(scenario)


def test_a_long_request_delays_a_short_one_by_two_batches_at_most() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.gate.clear()
        async with batching(engine, most=32, queue_limit=10_000) as batcher:
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
        async with batching(engine, workers=3, most=7, queue_limit=10**6) as batcher:

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
        batcher = Batcher(engine.run, plan=Fixed(2), queue_limit=100, workers=1)
        tasks = [asyncio.create_task(batcher.submit("g", rows(i))) for i in range(9)]
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0.01)
        with pytest.raises(NotReady, match="shutting down"):
            await batcher.submit("g", rows(1))
        await closing
        assert [values(await task) for task in tasks] == [[2 * i] for i in range(9)]
        assert not any(thread.is_alive() for thread in batcher._threads._threads)

    run(scenario)


def test_closing_does_not_wait_for_ever() -> None:
    async def scenario() -> None:
        engine = Engine()
        engine.gate.clear()
        batcher = Batcher(engine.run, plan=Fixed(2), queue_limit=100, workers=1)
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
    batcher = Batcher(engine.run, plan=Fixed(2), queue_limit=100, workers=1)

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
            Engine(), on_batch=lambda graph, out, seconds: told.append((graph, len(out[0])))
        ) as batcher:
            await batcher.submit("g", rows(1, 2, 3))
        assert told == [("g", 3)]

    run(scenario)


@pytest.mark.parametrize("options", [{"queue_limit": 0}, {"workers": 0}])
def test_nonsense_settings_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Batcher(Engine().run, plan=Fixed(1), **{"queue_limit": 1, "workers": 1, **options})  # type: ignore[arg-type]


def test_rows_that_do_not_match_are_refused() -> None:
    async def scenario() -> None:
        async with batching(Engine()) as batcher:
            for inputs in ((*rows(), *rows()), (*rows(1), *rows(1, 2))):
                with pytest.raises(ValueError, match="inputs of"):
                    await batcher.submit("g", inputs)

    run(scenario)


def test_who_counts_batches_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*given: Any) -> None:
        raise SystemExit("nothing adds up")

    async def main() -> int:
        async with batching(Engine(), on_batch=fail) as batcher:
            for _ in range(3):
                await batcher.submit("g", rows(1))
            assert batcher.trouble() is None
            return batcher.restarts

    assert asyncio.run(main()) == 0
    assert "could not be counted" in caplog.text
