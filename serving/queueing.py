"""The line in which work waits: whose turn it is, and what one batch may take.

A `Line` is plain bookkeeping, without threads or clocks: `serving.batching` guards it with its
lock and says what time it is.
"""

import asyncio
import itertools
import math
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Key = tuple[Any, ...]  # graph, and each input's dtype and shape without the batch axis

_MEMORY: Final = 0.9  # share of the past in a running mean
_SURPRISE: Final = 4.0  # times what was expected: one batch that stood still counts for no more


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The outputs for one request's rows, in its own order, and what they cost."""

    outputs: list[Array]
    batch: int  # rows of the largest batch that computed a part of it
    queue_ms: float  # from its start until an engine first took a part of it
    compute_ms: float  # its batches' durations, added up


@dataclass(kw_only=True, slots=True, eq=False)
class Work:
    """One request to a graph: rows that wait, rows that were taken, rows that came back."""

    graph: str
    inputs: tuple[Array, ...]  # each of the same number of rows
    future: asyncio.Future[Answer]
    queued_at: float  # seconds, as all times here
    deadline: float | None
    key: Key = ()
    rows: int = 0
    turn: tuple[float, int] = (0.0, 0)  # the lowest goes first
    taken: int = 0  # rows that an engine thread took
    done: int = 0  # rows that came back
    pieces: dict[int, list[Array]] = field(default_factory=dict)  # first row -> outputs
    batch: int = 0
    compute: float = 0.0
    started_at: float | None = None
    dead: bool = False  # abandoned, expired or failed: not one more row is computed

    def __post_init__(self) -> None:
        self.rows = len(self.inputs[0])
        self.key = (self.graph, *((a.dtype.str, a.shape[1:]) for a in self.inputs))

    def answer(self) -> Answer:
        """What came back, put together; only when all of it did."""
        pieces = [self.pieces[start] for start in sorted(self.pieces)]
        started = self.queued_at if self.started_at is None else self.started_at
        return Answer(
            outputs=[joined(list(column)) for column in zip(*pieces, strict=True)],
            batch=self.batch,
            queue_ms=(started - self.queued_at) * 1e3,
            compute_ms=self.compute * 1e3,
        )


class Part(NamedTuple):
    """Rows `start` to `stop` of a work: what one batch takes of it."""

    work: Work
    start: int
    stop: int


class Plan(Protocol):
    """What batches cost, and how many rows one is to have; `serving.costs.Costs` is one."""

    def seconds(self, graph: str, rows: int) -> float: ...
    def most(self, graph: str) -> int: ...
    def take(self, graph: str, waiting: int) -> int: ...


class Line:
    """Work in order of turns: whoever would be done first if all who wait were served alike.

    A work's turn is the cost that had been served when it came, plus its own (fair queueing:
    Demers, Keshav and Shenker 1989).  So equals go in order of arrival, one at a time; a short work
    goes before a long one that waits or is partly done; and since the cost that was served only
    grows, new short ones pass a long one no more than its own length.

    Whoever is dropped leaves at once, so that nothing keeps its arrays and nobody gets its turn.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._queues: dict[Key, list[Work]] = {}  # by turn; none is empty
        self._rows: dict[Key, int] = {}  # rows that wait
        self._long: dict[Key, set[Work]] = {}  # those that one batch cannot hold
        self._earliest: dict[Key, float] = {}  # nobody in the queue has an earlier deadline
        self._drift: dict[str, float] = {}  # graph: seconds found over those planned, a mean
        self._served = 0.0  # planned seconds of all batches so far
        self._numbers = itertools.count()

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return sum(self._rows.copy().values())

    def waiting(self, graph: str) -> int:
        """Rows that wait for one graph."""
        return sum(rows for key, rows in self._rows.items() if key[0] == graph)

    def ahead(self, graph: str, rows: int) -> float:
        """Seconds of one engine for all whose turn comes before that of `rows` added now.

        What comes later, and is shorter, is not foreseen.
        """
        turn = self._served + self._planned(graph, rows)
        return sum(self.seconds(key[0], self._rows_ahead(key, turn)) for key in self._rows)

    def seconds(self, graph: str, rows: int) -> float:
        """Seconds of one engine for so many rows: the plan's, corrected by what was found."""
        return self._planned(graph, rows) * self._drift.get(graph, 1.0)

    def add(self, work: Work) -> None:
        """Let `work` wait."""
        work.turn = (self._served + self._planned(work.graph, work.rows), next(self._numbers))
        insort(self._queues.setdefault(work.key, []), work, key=_turn)
        self._rows[work.key] = self._rows.get(work.key, 0) + work.rows
        if work.rows > self._plan.most(work.graph):
            self._long.setdefault(work.key, set()).add(work)
        if work.deadline is not None:
            self._earliest[work.key] = min(self._earliest.get(work.key, math.inf), work.deadline)

    def drop(self, work: Work) -> None:
        """Nobody wants `work` any more: what waits of it leaves the line."""
        if not work.dead and work.taken < work.rows:
            queue = self._queues[work.key]
            del queue[bisect_left(queue, work.turn, key=_turn)]
            self._rows[work.key] -= work.rows - work.taken
            self._left(work)
        work.dead = True

    def take(self, now: float) -> tuple[list[Part], list[Work]]:
        """The next batch, rows of one graph as the plan has it, and the works found expired.

        The graph is that of the first turn; within it, works go in order of turns.
        """
        parts: list[Part] = []
        expired: list[Work] = []
        while not parts and self._queues:
            key = min(self._queues, key=lambda key: self._queues[key][0].turn)
            if late := self._late(key, now):
                for work in late:
                    self.drop(work)
                expired += late
                continue  # without them it may be another graph's turn
            parts = self._taken(key, self._plan.take(key[0], self._rows[key]))
            for part in parts:
                if part.work.started_at is None:
                    part.work.started_at = now
        return parts, expired

    def _taken(self, key: Key, rows: int) -> list[Part]:
        """The first so many rows of a queue, taken out of it."""
        parts = []
        left = rows
        for work in self._queues[key]:
            some = min(left, work.rows - work.taken)
            parts.append(Part(work, work.taken, work.taken + some))
            work.taken += some
            left -= some
            if not left:
                break
        whole = [part.work for part in parts if part.work.taken == part.work.rows]
        del self._queues[key][: len(whole)]  # all but the last are whole
        self._rows[key] -= rows
        self._served += self._planned(key[0], rows)
        for work in whole:
            self._left(work)
        return parts

    def record(self, parts: list[Part], outputs: list[Array], seconds: float) -> list[Work]:
        """Hand each work its rows of a batch's outputs; the works that are complete with it."""
        rows = len(outputs[0])
        complete: list[Work] = []
        row = 0
        for work, start, stop in parts:
            work.pieces[start] = [output[row : row + stop - start] for output in outputs]
            work.done += stop - start
            work.batch = max(work.batch, rows)
            work.compute += seconds
            row += stop - start
            if work.done == work.rows and not work.dead:
                complete.append(work)
        return complete

    def learn(self, graph: str, rows: int, seconds: float) -> None:
        """A batch kept its thread busy for so long, from one turn to the next."""
        drift = self._drift.get(graph, 1.0)
        found = min(seconds / self._plan.seconds(graph, rows), _SURPRISE * drift)
        self._drift[graph] = _MEMORY * drift + (1 - _MEMORY) * found

    def _late(self, key: Key, now: float) -> list[Work]:
        """Those of a queue whose deadline has passed; it is searched only when one may have."""
        if self._earliest.get(key, math.inf) > now:
            return []
        deadlines = [(w, w.deadline) for w in self._queues[key] if w.deadline is not None]
        self._earliest[key] = min((d for _, d in deadlines if d > now), default=math.inf)
        return [work for work, deadline in deadlines if deadline <= now]

    def _left(self, work: Work) -> None:
        """A work is out of its queue; the queue goes with the last of it."""
        key = work.key
        self._long.get(key, set()).discard(work)
        if key in self._queues and not self._queues[key]:
            del self._queues[key], self._rows[key]
            self._long.pop(key, None)
            self._earliest.pop(key, None)

    def _planned(self, graph: str, rows: int) -> float:
        most = self._plan.most(graph)
        full, rest = divmod(rows, most)
        seconds = full * self._plan.seconds(graph, most)
        return seconds + self._plan.seconds(graph, rest) if rest else seconds

    def _rows_ahead(self, key: Key, turn: float) -> int:
        after = [work for work in self._long.get(key, ()) if work.turn[0] > turn]
        return self._rows[key] - sum(work.rows - work.taken for work in after)


def _turn(work: Work) -> tuple[float, int]:
    return work.turn


def halves(parts: list[Part]) -> tuple[list[Part], list[Part]]:
    """The first and the second half of the rows, a part cut in two where the middle falls in it."""
    left = sum(part.stop - part.start for part in parts) // 2
    first: list[Part] = []
    for place, (work, start, stop) in enumerate(parts):
        if stop - start > left:
            cut = [Part(work, start, start + left)] if left else []
            return first + cut, [Part(work, start + left, stop), *parts[place + 1 :]]
        first.append(parts[place])
        left -= stop - start
    return first, []


def joined(arrays: list[Array]) -> Array:
    """The arrays one after another; a single one as it is, without a copy."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
