"""The line in which work waits: whose turn it is, and what one batch may take.

A `Line` is plain bookkeeping, without threads or clocks: `serving.batching` guards it with its
lock and says what time it is.
"""

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Key = tuple[Any, ...]  # graph, and each input's dtype and shape without the batch axis

_MEMORY: Final = 0.8  # share of the past in the running mean of the cost of one row


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
    stamp: int = 0  # its turn; renewed whenever a part is taken
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
        return Answer(
            outputs=[joined(list(column)) for column in zip(*pieces, strict=True)],
            batch=self.batch,
            queue_ms=((self.started_at or self.queued_at) - self.queued_at) * 1e3,
            compute_ms=self.compute * 1e3,
        )


class Part(NamedTuple):
    """Rows `start` to `stop` of a work: what one batch takes of it."""

    work: Work
    start: int
    stop: int


class Line:
    """Work in order of turns.  A work that was only partly taken goes behind those who wait."""

    def __init__(self) -> None:
        self._queues: dict[Key, deque[Work]] = {}
        self._rows: dict[Key, int] = {}  # rows that wait, dead ones not counted
        self._cost: dict[Key, float] = {}  # seconds per row, a running mean
        self._stamps = itertools.count()

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return sum(self._rows.copy().values())

    @property
    def seconds(self) -> float:
        """How long one engine would take for them; what was never measured counts as nothing."""
        return sum(rows * self._cost.get(key, 0.0) for key, rows in self._rows.items())

    def add(self, work: Work) -> None:
        """Let `work` wait."""
        work.stamp = next(self._stamps)
        self._queues.setdefault(work.key, deque()).append(work)
        self._rows[work.key] = self._rows.get(work.key, 0) + work.rows

    def drop(self, work: Work) -> None:
        """Nobody wants `work` any more: its rows stop counting now, its place is skipped later."""
        if not work.dead:
            work.dead = True
            if work.key in self._rows:
                self._rows[work.key] -= work.rows - work.taken

    def take(self, room: int, now: float) -> tuple[list[Part], list[Work]]:
        """The next batch, at most `room` rows of one graph, and the works found expired.

        The graph is the one whose turn came first; within it, works go in order of turns.
        """
        parts: list[Part] = []
        expired: list[Work] = []
        while not parts and self._queues:
            key = min(self._queues, key=lambda key: self._queues[key][0].stamp)
            queue = self._queues[key]
            while queue and room:
                work = queue.popleft()
                if work.dead:
                    continue
                if work.deadline is not None and work.deadline <= now:
                    self.drop(work)
                    expired.append(work)
                    continue
                rows = min(room, work.rows - work.taken)
                parts.append(Part(work, work.taken, work.taken + rows))
                work.started_at = work.started_at or now
                work.taken += rows
                room -= rows
                self._rows[key] -= rows
                if work.taken < work.rows:  # no room is left, so this ends the batch
                    work.stamp = next(self._stamps)
                    queue.append(work)
            if not queue:
                del self._queues[key], self._rows[key]
        return parts, expired

    def record(self, parts: list[Part], outputs: list[Array], seconds: float) -> list[Work]:
        """Hand each work its rows of a batch's outputs; the works that are complete with it."""
        key, rows = parts[0].work.key, len(outputs[0])
        mean = self._cost.get(key, seconds / rows)
        self._cost[key] = _MEMORY * mean + (1 - _MEMORY) * seconds / rows
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


def joined(arrays: list[Array]) -> Array:
    """The arrays one after another; a single one as it is, without a copy."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
