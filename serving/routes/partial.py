"""Answers without the items that cannot be had, for those who say `Prefer: partial` (RFC 7240)."""

import asyncio
from collections.abc import Sequence
from typing import Final

import numpy as np

from serving.bundle import Manifest
from serving.errors import ComputeFailed
from serving.queueing import Answer
from serving.results import Array, Runner
from serving.routes.intake import Faults

PREFERENCE: Final = "partial"
_AT_ONCE: Final = 64  # rows that are tried one by one


def preferred(prefer: str) -> bool:
    """Whether this Prefer header names it."""
    parts = prefer.split(",") if prefer else ()
    return any(part.partition(";")[0].strip().lower() == PREFERENCE for part in parts)


class Lenient:
    """A runner that notes which rows fail, in `failed`, and gives zeros for them.

    Row i of all its runs is item i, or a part of item `owners[i]`.  Rows of items that have failed
    are not run again.
    """

    def __init__(
        self,
        runner: Runner,
        manifest: Manifest,
        failed: Faults,
        owners: Sequence[int] | None = None,
    ) -> None:
        self._runner = runner
        self._manifest = manifest
        self.failed = failed
        self._owners = owners

    async def run(self, graph: str, *inputs: Array) -> Answer:
        """The graph's outputs, for rows that it can be had for."""
        count = len(inputs[0])
        alive = [i for i in range(count) if self._item(i) not in self.failed]
        outputs = [
            np.zeros(output.sizes(count), output.dtype)
            for output in self._manifest.graphs[graph].outputs
        ]
        costs = []
        for rows, answer in await self._answers(graph, inputs, alive):
            for whole, part in zip(outputs, answer.outputs, strict=True):
                whole[rows] = part
            costs.append(answer)
        return Answer(
            outputs=outputs,
            batch=max((one.batch for one in costs), default=0),
            queue_ms=max((one.queue_ms for one in costs), default=0.0),
            compute_ms=max((one.compute_ms for one in costs), default=0.0),
        )

    def _item(self, row: int) -> int:
        return row if self._owners is None else self._owners[row]

    async def _answers(
        self, graph: str, inputs: tuple[Array, ...], alive: list[int]
    ) -> list[tuple[list[int], Answer]]:
        """Rows and what the graph gives for them: all in one, or else each by itself."""
        if not alive:
            return []
        try:
            return [(alive, await self._runner.run(graph, *(array[alive] for array in inputs)))]
        except ComputeFailed:  # it names one row, and there may be more
            return await self._one_by_one(graph, inputs, alive)

    async def _one_by_one(
        self, graph: str, inputs: tuple[Array, ...], alive: list[int]
    ) -> list[tuple[list[int], Answer]]:
        async def run(i: int) -> None:
            try:
                answer = await self._runner.run(graph, *(array[i : i + 1] for array in inputs))
                answers.append(([i], answer))
            except ComputeFailed:
                self.failed[self._item(i)] = ComputeFailed("the engine fails on it")

        answers: list[tuple[list[int], Answer]] = []
        for start in range(0, len(alive), _AT_ONCE):
            try:
                async with asyncio.TaskGroup() as group:
                    for i in alive[start : start + _AT_ONCE]:
                        group.create_task(run(i))
            except BaseExceptionGroup as several:
                raise several.exceptions[0] from None
        return answers
