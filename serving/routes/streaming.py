"""Answers in lines of JSON, each sent once its piece is computed.

A line per item in order, then one with `usage` and what else all have in common.  What fails after
the first line was sent cannot have a status any more: the last line is then {"problem": ...}, and
there is no `usage`.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Final

import orjson
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serving import problems, telemetry, verbs
from serving.attendance import ClientGone, attended
from serving.deployment import Deployment
from serving.errors import Busy, DeadlineExceeded, NotReady, RateExceeded, ServingError
from serving.model import Model
from serving.results import NOTHING, Result, Runner, Scored
from serving.routes import answers
from serving.routes.documents import Context, last_line
from serving.routes.intake import Faults
from serving.telemetry import Trace
from serving.verbs import Prepared

PIECE: Final = 64  # rows that are computed, and sent, together
_AHEAD: Final = 2  # pieces in work: one is computed while another is turned into text
_PAUSE: Final = 0.1  # seconds until a full queue is tried again
_LAST_WORD: Final = 1.0  # seconds for the last line of an answer that is late


class Stream(StreamingResponse):
    """The answer: its first piece, which is there, and those that follow."""

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes, None],
        receive: Receive,
        trace: Trace,
        headers: dict[str, str],
    ) -> None:
        super().__init__(rest, headers=headers, media_type=answers.NDJSON)
        self._first = first
        self._rest = rest
        self._request = receive
        self._trace = trace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def say(text: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": text, "more_body": more})

        trace = self._trace
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        last = b""
        try:
            async with (
                contextlib.aclosing(self._rest),
                attended(self._request, trace.deadline),
            ):
                await say(self._first)
                async for text in self._rest:
                    await say(text)
        except ServingError as error:
            trace.error = error
            problem = orjson.Fragment(problems.body(error, trace.request_id))
            last = orjson.dumps({"problem": problem}, option=orjson.OPT_APPEND_NEWLINE)
        try:
            async with asyncio.timeout(max(trace.deadline - time.monotonic(), _LAST_WORD)):
                await say(last, more=False)
        except TimeoutError:  # whoever reads nothing is told nothing: the server cuts him off
            trace.error = trace.error or DeadlineExceeded("nobody read the answer in time")
            raise ClientGone from None


class _Turns:
    """The model of a stream, which has it whenever a piece is computed.

    In between, while somebody is slow to read, another model may take its room; it is loaded again
    for the next piece.
    """

    def __init__(self, deployment: Deployment, model: Model, trace: Trace) -> None:
        self.model = model
        self._deployment = deployment
        self._trace = trace
        self._computing = 0  # pieces

    @property
    def must_wait(self) -> bool:
        """Whether what is being computed must end first: others want the room."""
        return self.model.displaced and self._computing > 0

    async def begin(self) -> None:
        """A piece is to be computed.  Raises NotReady if the model cannot be had any more."""
        if self.model.displaced:
            manifest = self.model.manifest
            self.model = await self._deployment.model(self.model.ref, self._trace.verb, self._trace)
            if self.model.manifest != manifest:
                raise NotReady(f"{self.model.ref} is another now than at the answer's beginning")
        self._computing += 1
        self._trace.pause(False)

    def end(self) -> None:
        """It has been."""
        self._computing -= 1
        self._trace.pause(not self._computing)


async def pieces(
    deployment: Deployment,
    model: Model,
    prepared: Prepared,
    runner: Callable[[Model, Faults], Runner],
    context: Context,
) -> AsyncGenerator[bytes, None]:
    """The lines of the answer, some at a time; whoever stops asking stops the work.

    `runner` makes that of one piece, from the model and those of its rows that are known to have
    failed; it adds to them what fails on the way.
    """
    count = len(prepared.rows)
    total, alone = prepared.usage, prepared._replace(usage=NOTHING)
    turns = _Turns(deployment, model, telemetry.current())

    async def piece(start: int) -> tuple[Result, bytes]:
        stop = min(start + PIECE, count)
        failed = {i - start: why for i, why in context.failed.items() if start <= i < stop}
        ids = None if context.ids is None else context.ids[start:stop]
        try:
            result = await _patiently(alone, runner(turns.model, failed), start, stop)
        finally:
            turns.end()
        if isinstance(result, Scored):
            deployment.metrics.judged(prepared.manifest.name, result.verdict, failed)
        its = replace(context, failed=failed, ids=ids)
        return result, await deployment.aside(lambda: answers.render_lines(result, its, start))

    waiting: deque[asyncio.Task[tuple[Result, bytes]]] = deque()
    starts = deque(range(0, count, PIECE))
    try:
        while starts or waiting:
            while starts and len(waiting) < _AHEAD and not turns.must_wait:
                await turns.begin()
                waiting.append(asyncio.create_task(piece(starts.popleft())))
            result, text = await waiting.popleft()
            if not starts and not waiting:
                telemetry.current().release()  # the last graph has run, however slowly it is read
            total = total.plus(result.usage)
            yield text
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    end = last_line(result, total, count, context)
    yield orjson.dumps(end, option=orjson.OPT_APPEND_NEWLINE)


async def _patiently(prepared: Prepared, runner: Runner, start: int, stop: int) -> Result:
    """The rows, once the queue has room; the first must have it, or the request is refused.

    A key that has used up its rate gets no more: it would wait for as long as others use it.
    """
    while True:
        try:
            return await verbs.complete(prepared, runner, start, stop)
        except Busy as error:
            if start == 0 or isinstance(error, RateExceeded):
                raise
            await asyncio.sleep(_PAUSE)
