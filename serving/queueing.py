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
    long: bool = False  # more than one batch holds
    taken: int = 0  # rows that an engine thread took
    done: int = 0  # rows that came back
    pieces: dict[int, list[Array]] = field(default_factory=dict)  # first row -> outputs
    batch: int = 0
    compute: float = 0.0
    started_at: float | None = None
    dead: bool = False  # abandoned, expired or failed: not one more row is computed

    def __post_init__(self) -> None:
        self.rows = len(self.inputs[0])
        self.key = (self.graph, *[(a.dtype, a.shape[1:]) for a in self.inputs])

    @property
    def complete(self) -> bool:
        """Whether all its rows came back."""
        return self.done == self.rows

    def answer(self) -> Answer:
        """What came back, put together; only when all of it did."""
        pieces = [self.pieces[start] for start in sorted(self.pieces)]
        started = self.queued_at if self.started_at is None else self.started_at
        outputs = pieces[0]
        if len(pieces) > 1:
            outputs = [joined(list(column)) for column in zip(*pieces, strict=True)]
        return Answer(
            outputs=outputs,
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
    Demers, Keshav and Shenker 1989).  So equals go in order of arrival, one after another, and
    since the cost that was served only grows, new work passes old for no longer than that takes.
    Two lines in truth: after a batch that begins with long work, what one batch cannot hold, the
    next begins with short work if any waits.

    Whoever is dropped leaves at once, so that nothing keeps its arrays and nobody gets its turn.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        # for short and for long work, by key: in order of turns, and how many rows; none is empty
        self._queues: dict[bool, dict[Key, list[Work]]] = {False: {}, True: {}}
        self._rows: dict[bool, dict[Key, int]] = {False: {}, True: {}}
        self._all = 0  # the sum of these
        self._earliest: dict[Key, float] = {}  # nobody with this key has an earlier deadline
        self._drift: dict[str, float] = {}  # graph: seconds found over those planned, a mean
        self._served = 0.0  # planned seconds of all batches so far
        self._numbers = itertools.count()
        self._after_long = False  # the last batch began with long work

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return self._all

    def waiting(self, graph: str) -> int:
        """Rows that wait for one graph."""
        counts = [item for rows in self._rows.values() for item in rows.items()]
        return sum([rows for key, rows in counts if key[0] == graph])

    def ahead(self, graph: str, rows: int) -> float:
        """Seconds of one engine for all that goes before the last of `rows` added now.

        What comes later, and is shorter, is not foreseen.
        """
        short = self._rows[False]
        shorts = sum([self.seconds(key[0], n) for key, n in short.items()])
        if not self._queues[True]:
            return shorts
        turn = self._served + self._planned(graph, rows)
        longs = 0.0
        for key, queue in self._queues[True].items():
            before = itertools.takewhile(lambda work: work.turn[0] <= turn, queue)
            longs += self.seconds(key[0], sum(map(_left, before)))
        if rows > self._plan.most(graph):
            return shorts + longs
        # Between short work, a batch of long.
        batches = 1 + sum(math.ceil(n / self._plan.most(key[0])) for key, n in short.items())
        full = (self.seconds(key[0], self._plan.most(key[0])) for key in self._queues[True])
        return shorts + min(longs, batches * max(full, default=0.0))

    def seconds(self, graph: str, rows: int) -> float:
        """Seconds of one engine for so many rows: the plan's, corrected by what was found."""
        return self._planned(graph, rows) * self._drift.get(graph, 1.0)

    def add(self, work: Work) -> None:
        """Let `work` wait."""
        work.turn = (self._served + self._planned(work.graph, work.rows), next(self._numbers))
        work.long = work.rows > self._plan.most(work.graph)
        insort(self._queues[work.long].setdefault(work.key, []), work, key=_turn)
        counts = self._rows[work.long]
        counts[work.key] = counts.get(work.key, 0) + work.rows
        self._all += work.rows
        if work.deadline is not None:
            self._earliest[work.key] = min(self._earliest.get(work.key, math.inf), work.deadline)

    def drop(self, work: Work) -> None:
        """Nobody wants `work` any more: what waits of it leaves the line."""
        if not work.dead and work.taken < work.rows:
            queue = self._queues[work.long][work.key]
            del queue[bisect_left(queue, work.turn, key=_turn)]
            self._rows[work.long][work.key] -= _left(work)
            self._all -= _left(work)
            self._tidy(work.key)
        work.dead = True

    def take(self, now: float) -> tuple[list[Part], list[Work]]:
        """The next batch, rows of one graph as the plan has it, and the works found expired.

        The graph is that of the first turn; what room is left goes to others of that graph.
        """
        parts: list[Part] = []
        expired: list[Work] = []
        while not parts and any(self._queues.values()):
            long, key = self._first()
            if late := self._late(key, now):
                for work in late:
                    self.drop(work)
                expired += late
                continue  # without them it may be another's turn
            room = self._plan.take(key[0], sum(rows.get(key, 0) for rows in self._rows.values()))
            self._served += self._planned(key[0], room)
            self._after_long = long
            for kind in (long, not long):
                taken = self._taken(kind, key, room)
                room -= sum(part.stop - part.start for part in taken)
                parts += taken
            for part in parts:
                if part.work.started_at is None:
                    part.work.started_at = now
            self._tidy(key)
        return parts, expired

    def _first(self) -> tuple[bool, Key]:
        """Whose turn it is: whether that is long work, and its key."""
        kinds = (False,) if self._after_long and self._queues[False] else (False, True)
        heads = [(q[0].turn, kind, key) for kind in kinds for key, q in self._queues[kind].items()]
        _, long, key = min(heads)
        return long, key

    def _taken(self, long: bool, key: Key, room: int) -> list[Part]:
        """The first rows of a queue, at most so many, taken out of it."""
        parts: list[Part] = []
        queue = self._queues[long].get(key, [])
        for work in queue:
            if not room:
                break
            rows = min(room, _left(work))
            parts.append(Part(work, work.taken, work.taken + rows))
            work.taken += rows
            room -= rows
            self._rows[long][key] -= rows
            self._all -= rows
        del queue[: sum(not _left(part.work) for part in parts)]  # all but the last are whole
        return parts

    def record(self, parts: list[Part], outputs: list[Array], seconds: float) -> list[Work]:
        """Hand each work its rows of a batch's outputs; the works that are complete with it."""
        rows = len(outputs[0])
        complete: list[Work] = []
        row = 0
        for work, start, stop in parts:
            work.pieces[start] = [output[row : row + stop - start] for output in outputs]
            work.done += stop - start
            if rows > work.batch:
                work.batch = rows
            work.compute += seconds
            row += stop - start
            if work.complete and not work.dead:
                complete.append(work)
        return complete

    def learn(self, graph: str, rows: int, seconds: float) -> None:
        """A batch kept its thread busy for so long, from one turn to the next."""
        drift = self._drift.get(graph, 1.0)
        found = min(seconds / self._plan.seconds(graph, rows), _SURPRISE * drift)
        self._drift[graph] = _MEMORY * drift + (1 - _MEMORY) * found

    def _late(self, key: Key, now: float) -> list[Work]:
        """Those with this key whose deadline has passed; they are searched only if one may have."""
        if self._earliest.get(key, math.inf) > now:
            return []
        works = [work for queues in self._queues.values() for work in queues.get(key, ())]
        deadlines = [(work, work.deadline) for work in works if work.deadline is not None]
        self._earliest[key] = min((d for _, d in deadlines if d > now), default=math.inf)
        return [work for work, deadline in deadlines if deadline <= now]

    def _tidy(self, key: Key) -> None:
        """Take away queues that are empty."""
        for kind, queues in self._queues.items():
            if key in queues and not queues[key]:
                del queues[key], self._rows[kind][key]
        if not any(key in queues for queues in self._queues.values()):
            self._earliest.pop(key, None)

    def _planned(self, graph: str, rows: int) -> float:
        most = self._plan.most(graph)
        if 0 < rows <= most:
            return self._plan.seconds(graph, rows)
        full, rest = divmod(rows, most)
        seconds = full * self._plan.seconds(graph, most)
        return seconds + self._plan.seconds(graph, rest) if rest else seconds


def _turn(work: Work) -> tuple[float, int]:
    return work.turn


def _left(work: Work) -> int:
    """Its rows that wait."""
    return work.rows - work.taken


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
