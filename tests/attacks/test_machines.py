"""The line and the batcher against naive models, driven step by step: Hypothesis looks for order.

Nothing here depends on timing: time passes by a rule alone, and the batcher's engine threads stand
at a gate until a rule lets one batch through.
"""

import asyncio
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from plans import Fixed
from serving import batching
from serving.batching import Batcher
from serving.errors import Busy, ComputeFailed, DeadlineExceeded, NotReady
from serving.queueing import Line, Part, Work

Array = np.ndarray[Any, Any]
GRAPHS = st.sampled_from(["a", "b"])
ROWS = st.integers(1, 9)
MOST = 4
WAIT = 10.0  # seconds after which something that must happen has not


class LineMachine(RuleBasedStateMachine):
    """`Line` against lists: no dictionaries, no counts that are kept, everything looked at anew."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.plan = Fixed(MOST, seconds=1.0)
        self.line = Line(self.plan)
        self.waiting: list[Work] = []  # in order of turns
        self.turns: dict[Work, tuple[int, int]] = {}  # batches served when it came and its own
        self.served = 0  # batches
        self.after_long = False  # the last one began with work that none can hold
        self.taken: Counter[Work] = Counter()
        self.back: Counter[Work] = Counter()
        self.hands: list[list[Part]] = []  # batches taken and not yet recorded
        self.gone: set[Work] = set()
        self.everyone: list[Work] = []
        self.now = 0.0
        self.next_row = 0

    def teardown(self) -> None:
        self.loop.close()

    @rule(graph=GRAPHS, rows=ROWS, patience=st.none() | st.integers(0, 3))
    def add(self, graph: str, rows: int, patience: int | None) -> None:
        array = np.arange(self.next_row, self.next_row + rows)[:, np.newaxis]
        self.next_row += rows
        work = Work(
            graph=graph,
            inputs=(array,),
            future=self.loop.create_future(),
            queued_at=self.now,
            deadline=None if patience is None else self.now + patience,
        )
        self.line.add(work)
        self.turns[work] = (self.served + -(-rows // MOST), len(self.turns))
        self.waiting = sorted([*self.waiting, work], key=self.turns.__getitem__)
        self.everyone.append(work)

    @rule()
    def time_passes(self) -> None:
        self.now += 1

    @precondition(lambda self: self.everyone)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        work = data.draw(st.sampled_from(self.everyone))
        self.line.drop(work)
        self.leave(work)

    def leave(self, work: Work) -> None:
        self.gone.add(work)
        if work in self.waiting:
            self.waiting.remove(work)

    @rule()
    def take(self) -> None:
        parts, expired = self.line.take(self.now)
        late: list[Work] = []
        while self.waiting:  # all the late of the graph whose turn it is, until that is settled
            more = [
                w for w in self.graph_in_order(self.first(), short_first=True) if self.is_late(w)
            ]
            if not more:
                break
            late += more
            for work in more:
                self.leave(work)
        assert expired == late
        wanted: list[Part] = []
        if self.waiting:
            first, room = self.first(), MOST
            self.after_long = first.rows > MOST
            for work in self.graph_in_order(first, short_first=not self.after_long):
                rows = min(room, work.rows - self.taken[work])
                if not rows:
                    break
                wanted.append(Part(work, self.taken[work], self.taken[work] + rows))
                self.taken[work] += rows
                room -= rows
                if self.taken[work] == work.rows:
                    self.waiting.remove(work)
            self.served += 1
        assert parts == wanted
        if parts:
            self.hands.append(parts)

    def first(self) -> Work:
        """Whose turn it is: after long work a short one's, where any waits."""
        short = [work for work in self.waiting if work.rows <= MOST]
        return short[0] if self.after_long and short else self.waiting[0]

    def graph_in_order(self, first: Work, *, short_first: bool) -> list[Work]:
        same = [work for work in self.waiting if work.graph == first.graph]
        return sorted(same, key=lambda work: (work.rows <= MOST) != short_first)

    def is_late(self, work: Work) -> bool:
        return work.deadline is not None and work.deadline <= self.now

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), seconds=st.sampled_from([0.5, 1.0, 2.0]))
    def record(self, data: st.DataObject, seconds: float) -> None:
        parts = self.hands.pop(data.draw(st.integers(0, len(self.hands) - 1)))
        outputs = np.concatenate([work.inputs[0][start:stop] for work, start, stop in parts])
        complete = self.line.record(parts, [outputs * 2], seconds)
        wanted = []
        for work, start, stop in parts:
            self.back[work] += stop - start
            if self.back[work] == work.rows and work not in self.gone:
                wanted.append(work)
        assert complete == wanted
        for work in complete:
            np.testing.assert_array_equal(work.answer().outputs[0], work.inputs[0] * 2)

    @invariant()
    def the_counts_are_those_of_the_model(self) -> None:
        def rows(works: Sequence[Work]) -> int:
            return sum(work.rows - self.taken[work] for work in works)

        assert self.line.rows == rows(self.waiting)
        for graph in "ab":
            assert self.line.waiting(graph) == rows([w for w in self.waiting if w.graph == graph])

    @invariant()
    def the_prediction_is_that_of_the_model(self) -> None:
        for rows in (1, 5, 13):
            turn = self.served + -(-rows // MOST)
            shorts = longs = 0
            for graph in "ab":
                works = [work for work in self.waiting if work.graph == graph]
                short = [work for work in works if work.rows <= MOST]
                long = [w for w in works if w.rows > MOST and self.turns[w][0] <= turn]
                shorts += -(-sum(work.rows - self.taken[work] for work in short) // MOST)
                longs += -(-sum(work.rows - self.taken[work] for work in long) // MOST)
            between = longs if rows > MOST else min(longs, shorts + 1)
            assert self.line.ahead("a", rows) == pytest.approx(shorts + between)


@dataclass(order=True)
class Held:
    """A batch of an engine thread that stands at the gate."""

    rows: list[int]
    verdict: "queue.Queue[bool]" = field(compare=False)  # whether it succeeds


class GatedEngine:
    """Every batch waits until it is told how it ends; what really came out is noted."""

    def __init__(self) -> None:
        self.held: queue.Queue[Held] = queue.Queue()
        self.computed: Counter[int] = Counter()
        self.free = False  # in the end all go through, right or poisoned

    def run(self, graph: str, inputs: Sequence[Array]) -> list[Array]:
        numbers = inputs[0][:, 0].tolist()
        if not self.free:
            held = Held(numbers, queue.Queue())
            self.held.put(held)
            if not held.verdict.get(timeout=WAIT):
                raise RuntimeError("the batch is too much")
        if any(number % 10 == 9 for number in numbers):  # poison
            raise RuntimeError("poison")
        self.computed.update(numbers)
        return [inputs[0] * 2]


class Clock:
    """The batcher's module `time`: it stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = time.monotonic()  # `close` compares it with the true time

    def monotonic(self) -> float:
        return self.now


class Asked(NamedTuple):
    task: "asyncio.Task[Any]"
    numbers: list[int]
    deadline: float | None


class BatcherMachine(RuleBasedStateMachine):
    """`Batcher` with two threads over an engine that does as it is told.

    Each row has a number of its own; those that end in 9 are poison.
    """

    WORKERS = 2

    def __init__(self) -> None:
        super().__init__()
        logging.getLogger("biject.batching").disabled = True  # deaths are meant, and many
        self.loop = asyncio.new_event_loop()
        self.engine = GatedEngine()
        self.clock = Clock()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("serving.batching.time", self.clock)
        self.batcher = Batcher(
            self.engine.run,
            plan=Fixed(MOST, seconds=1.0),
            queue_limit=40,
            workers=self.WORKERS,
            restart_delay=1e-3,
        )
        self.asked: list[Asked] = []
        self.held: list[Held] = []
        self.cancelled: set[int] = set()  # places in `asked`
        self.forbidden: set[int] = set()  # numbers that left while they waited
        self.next_number = 0
        self.kills = self.killed = 0
        self.lock = threading.Lock()
        self.retried: set[int] = set()  # numbers in batches that failed
        self.closed = False
        record = self.batcher._line.record

        def deadly(*args: Any) -> Any:
            with self.lock:
                if self.kills:
                    self.kills -= 1
                    self.killed += 1
                    raise SystemError("a bug in the loop itself")
            return record(*args)

        self.patch.setattr(self.batcher._line, "record", deadly)
        self.ends: Counter[Work] = Counter()  # results for those who had not left
        settle = batching._settle

        def counting(results: Sequence[Any]) -> None:
            self.ends.update(work for work, _ in results if not work.future.cancelled())
            settle(list(results))

        self.patch.setattr(batching, "_settle", counting)

    def spin(self) -> None:
        """Let the event loop do all it can do now."""
        for _ in range(4):
            self.loop.run_until_complete(asyncio.sleep(0))

    def settle(self) -> None:
        """Wait until each engine thread stands at the gate or sleeps because nothing waits."""
        end = time.monotonic() + WAIT
        while True:
            self.spin()
            while not self.engine.held.empty():
                self.held.append(self.engine.held.get())
            with self.batcher._wake:
                hands = list(self.batcher._threads._threads.values())
                busy = sum(bool(hand.parts) for hand in hands)
                idle = len(hands) == self.WORKERS and not self.batcher._line.rows
                same = busy == len(self.held)
            if same and (busy == self.WORKERS or idle):
                self.spin()
                self.held.sort()  # which thread came first is not ours to say
                return
            assert time.monotonic() < end, "an engine thread neither works nor sleeps"
            time.sleep(2e-4)

    @initialize()
    def begin(self) -> None:
        self.settle()

    @precondition(lambda self: not self.closed)
    @rule(graph=GRAPHS, rows=ROWS, patience=st.sampled_from([None, None, 0, 2, 5, 60]))
    def submit(self, graph: str, rows: int, patience: int | None) -> None:
        numbers = list(range(self.next_number, self.next_number + rows))
        self.next_number += rows
        array = np.array(numbers)[:, np.newaxis]
        deadline = None if patience is None else self.clock.now + patience
        task = self.loop.create_task(self.batcher.submit(graph, (array,), deadline))
        self.asked.append(Asked(task, numbers, deadline))
        self.settle()

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.asked) - 1))
        asked = self.asked[place]
        if asked.task.done():
            return
        asked.task.cancel()
        self.spin()
        if asked.task.cancelled():
            self.cancelled.add(place)
            in_hand = {number for held in self.held for number in held.rows}
            started = in_hand | set(self.engine.computed) | self.retried
            self.forbidden |= set(asked.numbers) - started
        self.settle()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def finish_a_batch(self, data: st.DataObject) -> None:
        self.release(data, True)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def fail_a_batch(self, data: st.DataObject) -> None:
        self.release(data, False)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def kill_a_thread(self, data: st.DataObject) -> None:
        with self.lock:
            self.kills += 1
        self.release(data, True)

    def release(self, data: st.DataObject, good: bool) -> None:
        held = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        if not good or any(number % 10 == 9 for number in held.rows):
            self.retried |= set(held.rows)
        held.verdict.put(good)
        self.settle()

    @rule()
    def time_passes(self) -> None:
        self.clock.now += 1

    @precondition(lambda self: not self.closed)
    @rule()
    def close(self) -> None:
        """All that was accepted is finished, since the engine goes through now."""
        self.let_all_through()
        self.loop.run_until_complete(self.batcher.close(grace=10 * WAIT))
        self.closed = True
        self.spin()
        assert all(asked.task.done() for asked in self.asked)
        late = self.loop.create_task(self.batcher.submit("a", (np.zeros((1, 1)),)))
        self.spin()
        assert isinstance(late.exception(), NotReady)

    def let_all_through(self) -> None:
        self.retried |= {number for held in self.held for number in held.rows}
        with self.lock:
            self.kills = 0
        self.engine.free = True
        for held in self.held:
            held.verdict.put(True)
        self.held.clear()
        end = time.monotonic() + WAIT
        while not all(asked.task.done() for asked in self.asked):
            assert time.monotonic() < end, "a request has no answer"
            self.spin()
            while not self.engine.held.empty():
                self.engine.held.get().verdict.put(True)
            time.sleep(2e-4)

    @invariant()
    def nothing_is_computed_twice_or_after_it_left(self) -> None:
        twice = {number for number, times in self.engine.computed.items() if times > 1}
        assert not twice - self.retried
        assert not self.forbidden & set(self.engine.computed)

    @invariant()
    def nobody_ends_twice(self) -> None:
        assert set(self.ends.values()) <= {1}

    @invariant()
    def whatever_has_ended_ended_as_it_must(self) -> None:
        for place, asked in enumerate(self.asked):
            if not asked.task.done():
                continue
            if asked.task.cancelled():
                assert place in self.cancelled
                continue
            error = asked.task.exception()
            if error is None:
                outputs = asked.task.result().outputs[0][:, 0].tolist()
                assert outputs == [2 * number for number in asked.numbers]
                assert not any(number % 10 == 9 for number in asked.numbers)
            elif isinstance(error, ComputeFailed):
                for item in error.items:  # else a thread died
                    number = asked.numbers[item.index]
                    assert number % 10 == 9 or number in self.retried
                assert error.items or self.killed
            elif isinstance(error, DeadlineExceeded | Busy):
                too_long = isinstance(error, Busy) and "at most 40" in str(error)
                assert asked.deadline is not None or too_long
            else:
                raise AssertionError(f"ended in {error!r}")

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Who waits is in the line or in a hand; nobody else is."""
        if self.closed:
            return
        with self.batcher._wake:
            rows = self.batcher._line.rows
            in_hand = {
                part.work
                for hand in self.batcher._threads._threads.values()
                for part in hand.parts
                if not part.work.dead and part.work.done < part.work.rows
            }
            kinds = self.batcher._line._queues.values()
            in_line = {work for queues in kinds for queue in queues.values() for work in queue}
        assert rows == sum(work.rows - work.taken for work in in_line)
        pending = sum(not asked.task.done() for asked in self.asked)
        assert len(in_hand | in_line) == pending == len(self.batcher._open)

    def teardown(self) -> None:
        try:
            if not self.closed:
                self.close()
                self.nothing_is_computed_twice_or_after_it_left()
                self.whatever_has_ended_ended_as_it_must()
        finally:
            self.engine.free = True
            for asked in self.asked:
                asked.task.cancelled() or asked.task.exception()
            self.patch.undo()
            self.loop.close()
            logging.getLogger("biject.batching").disabled = False


def search(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_line_is_as_a_naive_one() -> None:
    search(LineMachine, 60, 30)


def test_the_batcher_keeps_its_promises_in_any_order_of_events() -> None:
    search(BatcherMachine, 150, 25)


@pytest.mark.slow
def test_the_line_for_long() -> None:
    search(LineMachine, 800, 50)


@pytest.mark.slow
def test_the_batcher_for_long() -> None:
    search(BatcherMachine, 1200, 40)
