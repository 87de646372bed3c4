"""The bookkeeping of waiting work: turns, room, what is dropped, and what it costs."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from plans import Fixed
from serving.queueing import Line, Part, Work, halves


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def plan() -> Fixed:
    return Fixed(10)


@pytest.fixture
def line(plan: Fixed) -> Line:
    return Line(plan)


def work(
    loop: asyncio.AbstractEventLoop, rows: int, graph: str = "g", deadline: float | None = None
) -> Work:
    array = np.arange(rows, dtype=np.float32)[:, np.newaxis]
    future = loop.create_future()
    return Work(graph=graph, inputs=(array,), future=future, queued_at=0.0, deadline=deadline)


def taken(line: Line, room: int, now: float = 1.0) -> list[tuple[Work, int, int]]:
    line._plan.rows = room  # type: ignore[attr-defined]
    return [tuple(part) for part in line.take(now)[0]]  # type: ignore[misc]


def test_a_batch_is_what_waits_in_order(loop: asyncio.AbstractEventLoop, line: Line) -> None:
    a, b, c = works = [work(loop, rows) for rows in (2, 1, 3)]
    for one in works:
        line.add(one)
    assert (line.rows, taken(line, 10)) == (6, [(a, 0, 2), (b, 0, 1), (c, 0, 3)])
    assert (line.rows, taken(line, 10)) == (0, [])


def test_short_work_passes_long_work_that_is_partly_done(
    loop: asyncio.AbstractEventLoop, plan: Fixed, line: Line
) -> None:
    plan.rows = 4
    long, short = work(loop, 10), work(loop, 1)
    line.add(long)
    assert taken(line, 4) == [(long, 0, 4)]
    line.add(short)
    assert taken(line, 4) == [(short, 0, 1), (long, 4, 7)]
    assert taken(line, 4) == [(long, 7, 10)]


def test_equals_are_served_one_after_another(
    loop: asyncio.AbstractEventLoop, plan: Fixed, line: Line
) -> None:
    plan.rows = 4
    a, b = work(loop, 6), work(loop, 6)
    line.add(a)
    line.add(b)
    batches = [taken(line, 4) for _ in range(3)]
    assert batches == [[(a, 0, 4)], [(a, 4, 6), (b, 0, 2)], [(b, 2, 6)]]


def test_short_work_that_never_ends_passes_long_work_for_no_longer_than_it_takes(
    loop: asyncio.AbstractEventLoop, plan: Fixed, line: Line
) -> None:
    plan.rows = 4
    long = work(loop, 40)  # ten batches
    line.add(long)
    line.add(work(loop, 4))
    passed = 0
    while taken(line, 4)[0][0] is not long:
        passed += 1
        line.add(work(loop, 4))
    assert passed == 9


def test_short_work_goes_between_batches_of_long_work_however_much_of_that_waits(
    loop: asyncio.AbstractEventLoop, plan: Fixed, line: Line
) -> None:
    plan.rows = 4
    first, second = work(loop, 400), work(loop, 400)
    line.add(first)
    line.add(second)
    for _ in range(110):  # the first is done, and the second's turn came long ago
        taken(line, 4)
    for graph in ("g", "h"):
        short = work(loop, 1, graph)
        line.add(short)
        waited = 0
        while taken(line, 4)[0][0] is not short:
            waited += 1
        assert waited <= 1


def test_work_that_is_passed_by_no_end_of_short_work_gets_every_second_batch(
    loop: asyncio.AbstractEventLoop, plan: Fixed, line: Line
) -> None:
    plan.rows = 4
    long = work(loop, 40)
    line.add(long)
    begun = []
    for _ in range(40):
        line.add(work(loop, 4))
        begun.append(taken(line, 4)[0][0] is long)
    assert sum(begun) == 10
    assert begun[begun.index(True) :][:19:2] == [True] * 10


def test_only_work_of_one_graph_and_shape_is_merged(
    loop: asyncio.AbstractEventLoop, line: Line
) -> None:
    a, b, c = work(loop, 1, "a"), work(loop, 1, "b"), work(loop, 2, "a")
    other = work(loop, 1, "a")
    other.inputs = (np.zeros((1, 7), np.float32),)
    other.__post_init__()
    for one in (a, b, other, c):
        line.add(one)
    assert taken(line, 9) == [(a, 0, 1), (c, 0, 2)]
    assert taken(line, 9) == [(b, 0, 1)]
    assert taken(line, 9) == [(other, 0, 1)]


def test_what_is_dropped_is_neither_counted_nor_taken(
    loop: asyncio.AbstractEventLoop, line: Line
) -> None:
    a, b = work(loop, 5), work(loop, 2)
    line.add(a)
    line.add(b)
    assert taken(line, 2) == [(a, 0, 2)]
    line.drop(a)
    line.drop(a)  # once is enough
    assert line.rows == 2
    assert taken(line, 9) == [(b, 0, 2)]
    assert line.rows == 0


def test_the_expired_are_handed_back_not_computed(
    loop: asyncio.AbstractEventLoop, line: Line
) -> None:
    late, good = work(loop, 3, deadline=0.5), work(loop, 1, deadline=2.0)
    line.add(late)
    line.add(good)
    assert line.take(1.0) == ([Part(good, 0, 1)], [late])
    assert line.rows == 0
    only = work(loop, 3, deadline=0.5)
    line.add(only)
    assert line.take(1.0) == ([], [only])


def test_the_wait_is_predicted_from_the_plan_and_from_what_was_found(
    loop: asyncio.AbstractEventLoop, plan: Fixed, line: Line
) -> None:
    plan.rows, plan.time = 4, 1.0
    line.add(work(loop, 3))
    line.add(work(loop, 2))
    assert line.ahead("g", 1) == 2.0  # 5 rows are two batches
    assert line.ahead("other", 1) == 2.0  # the same engine computes them all
    parts, _ = line.take(1.0)
    assert line.record(parts, [np.zeros((4, 1))], 2.0) == [parts[0].work]
    line.learn("g", 4, 3.0)
    assert line.ahead("g", 1) == pytest.approx(1.2)  # one batch, 0.9 * 1 + 0.1 * 3 times as slow
    assert line.seconds("g", 9) == pytest.approx(3.6)
    assert line.seconds("other", 9) == 3.0


def test_long_work_whose_turn_comes_later_is_not_waited_for(
    loop: asyncio.AbstractEventLoop, plan: Fixed, line: Line
) -> None:
    plan.rows, plan.time = 4, 1.0
    long, short = work(loop, 100), work(loop, 4)
    line.add(long)
    line.add(short)
    assert line.ahead("g", 1) == 1.0
    assert line.ahead("g", 8) == 1.0
    assert line.ahead("g", 400) == 26.0
    assert taken(line, 4) == [(short, 0, 4)]
    assert line.ahead("g", 400) == 25.0
    line.drop(long)
    assert line.ahead("g", 400) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_halves_are_the_same_rows_in_the_same_order(
    loop: asyncio.AbstractEventLoop, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    parts = [
        Part(work(loop, 50), int(start), int(start + length))
        for start, length in rng.integers(1, 9, (int(rng.integers(1, 6)), 2))
    ]
    flat = [(part.work, row) for part in parts for row in range(part.start, part.stop)]
    if len(flat) < 2:
        pytest.skip("one row has no halves")
    first, second = (
        [(part.work, row) for part in half for row in range(part.start, part.stop)]
        for half in halves(parts)
    )
    assert first + second == flat
    assert len(first) == len(flat) // 2


def test_parts_that_come_back_in_another_order_are_put_together(
    loop: asyncio.AbstractEventLoop, line: Line
) -> None:
    one = work(loop, 5)
    line.add(one)
    line._plan.rows = 3  # type: ignore[attr-defined]
    first, second = line.take(1.0)[0], line.take(2.0)[0]
    rows = one.inputs[0]
    assert line.record(second, [rows[3:] * 2], 1.0) == []
    assert line.record(first, [rows[:3] * 2], 2.0) == [one]
    answer = one.answer()
    np.testing.assert_array_equal(answer.outputs[0], rows * 2)
    assert (answer.batch, answer.queue_ms, answer.compute_ms) == (3, 1000.0, 3000.0)
