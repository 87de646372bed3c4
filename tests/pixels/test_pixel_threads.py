"""Small work goes to the threads together, and each result to whoever waits for it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from serving.pixels import PixelThreads


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 20))


@asynccontextmanager
async def threads(count: int = 2) -> AsyncIterator[PixelThreads]:
    pixels = PixelThreads(count)
    try:
        yield pixels
    finally:
        pixels.close()


def test_each_gets_its_own_result_or_error() -> None:
    def work(number: int) -> int:
        if number % 5 == 0:
            raise ValueError(str(number))
        assert threading.current_thread() is not threading.main_thread()
        return number * number

    async def scenario() -> None:
        async with threads() as pixels:
            found = await asyncio.gather(
                *(pixels.run_small(lambda n=n: work(n)) for n in range(1, 100)),  # type: ignore[misc]
                return_exceptions=True,
            )
        for number, one in enumerate(found, 1):
            if number % 5 == 0:
                assert isinstance(one, ValueError)
                assert str(one) == str(number)
            else:
                assert one == number * number

    run(scenario)


def test_what_comes_in_one_turn_goes_together() -> None:
    async def scenario() -> None:
        async with threads() as pixels:
            handed = 0
            submit = pixels._pool.submit

            def counting(*work: Any) -> Any:
                nonlocal handed
                handed += 1
                return submit(*work)

            pixels._pool.submit = counting  # type: ignore[assignment]
            await asyncio.gather(*(pixels.run_small(lambda: None) for _ in range(64)))
            assert handed == 4
            await pixels.run_small(lambda: None)
            assert handed == 5

    run(scenario)


def test_work_that_takes_longer_than_it_seemed_holds_up_nobody_else() -> None:
    async def scenario() -> None:
        go, begun = threading.Event(), threading.Event()

        def slow() -> bool:
            begun.set()
            return go.wait(15)

        async with threads() as pixels:
            held = asyncio.create_task(pixels.run_small(slow))
            behind = [asyncio.create_task(pixels.run_small(lambda: 1)) for _ in range(10)]
            await asyncio.to_thread(begun.wait, 10)
            assert await pixels.run_small(lambda: 2) == 2  # its thread takes those, too
            assert await asyncio.gather(*behind) == [1] * 10
            assert not held.done()
            go.set()
            assert await held

    run(scenario)


def test_what_nobody_waits_for_is_not_begun() -> None:
    async def scenario() -> None:
        go, done = threading.Event(), list[int]()
        async with threads(1) as pixels:
            held = asyncio.create_task(pixels.run(lambda: go.wait(15)))
            await asyncio.sleep(0.01)
            tasks = [
                asyncio.create_task(pixels.run_small(lambda n=n: done.append(n)))  # type: ignore[misc]
                for n in range(4)
            ]
            await asyncio.sleep(0.01)
            for task in tasks[1:3]:
                task.cancel()
            await asyncio.sleep(0.01)
            go.set()
            await asyncio.gather(held, tasks[0], tasks[3])
            assert done == [0, 3]

    run(scenario)


def test_at_the_end_nobody_is_left_waiting() -> None:
    async def scenario() -> None:
        go = threading.Event()
        async with threads(1) as pixels:
            held = asyncio.create_task(pixels.run(lambda: go.wait(15)))
            await asyncio.sleep(0.01)
            waits = asyncio.create_task(pixels.run_small(lambda: 1))
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await waits
        go.set()
        assert await held

    run(scenario)
