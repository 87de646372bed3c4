"""Connections whose requests' heads are bounded in size and time: uvicorn's have no such bounds.

A head is a request's first line and headers.  The app sees them when they are complete; until then
whoever sends them slowly, or without end, would hold memory and a connection for nothing.
"""

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar, Final

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving import problems, telemetry

PATH: Final = "serving.head:BoundedHeads"  # as uvicorn wants it


class BoundedHeads(HttpToolsProtocol):
    """A connection of uvicorn's."""

    most: ClassVar[int] = 65_536  # bytes; a head that comes in one piece may have somewhat more
    longest: ClassVar[float] = 20.0  # seconds, for a head, and for the first one to begin
    _arrived = 0  # bytes of a head that is not complete
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.longest, self._late)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._within_head():  # most heads come at once
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._arrived = 0
            return
        if not self._arrived and self._timer is None:
            self._timer = self.loop.call_later(self.longest, self._late)
        self._arrived += len(data)
        if self._arrived > self.most:
            words = f"a request's head may have at most {self.most:,} bytes"
            self._refuse(431, words)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _within_head(self) -> bool:
        """Whether a request has begun whose head is not complete."""
        if self.scope is None:
            return False
        return self.cycle is None or self.cycle.scope is not self.scope

    def _late(self) -> None:
        self._timer = None
        if self.scope is None:
            self.transport.close()  # it has said nothing: nor do we
            return
        words = f"a request's head must arrive within {self.longest:g} s"
        self._refuse(408, words)

    def _refuse(self, status: int, words: str) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:  # else an answer is on its way
            # A new id: half a head may have half of the caller's.
            trace = telemetry.Trace(request_id=telemetry.request_id(None), deadline=0.0)
            said = problems.reworded(status, words.encode(), trace.request_id)
            self.transport.write(
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
                f"content-type: {said.media_type}\r\ncontent-length: {len(said.body)}\r\n"
                f"x-request-id: {trace.request_id}\r\n"
                f"server-timing: {telemetry.server_timing(trace)}\r\n"
                "connection: close\r\n\r\n".encode()
                + said.body
            )
        self.transport.close()


def use_everywhere() -> None:
    """Have every server of uvicorn's that this process starts use it: BentoML names no protocol."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = PATH
