"""The outermost layer: ids, keys, limits, deadlines and one shape of errors for every route.

A plain ASGI middleware, so that it covers BentoML's own routes as well as ours, and costs little.
"""

import functools
import logging
import re
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import logs, problems, security, telemetry
from serving.attendance import CLIENT_GONE, ClientGone, in_time
from serving.deployment import Deployment
from serving.errors import (
    BadRequest,
    ComputeFailed,
    NotReady,
    RequestTimeout,
    ServingError,
    TooLarge,
)
from serving.security import Keyring, Redaction
from serving.telemetry import Trace

_HEALTH: Final = frozenset({"/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"})
_WHILE_DRAINING: Final = _HEALTH | {"/metrics"}
_ERROR_BODY: Final = 65_536  # bytes of a framework's error that are read to reword it
_FIRST_ERROR: Final = 400
_ARRIVING: Final = 8  # longest bodies that may be half here: senders who stall must not fill memory
_CORS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "allow_methods": ("GET", "POST"),
        "allow_headers": ("*",),
        "expose_headers": (
            "X-Request-ID",
            "Server-Timing",
            "Retry-After",
            "ETag",
            "Preference-Applied",
            "Inference-Header-Content-Length",
            "X-Biject-Ignored",
        ),
    }
)
log = logging.getLogger("biject.http")


class Edge:
    """Wraps an ASGI app; see the module.  One per process, with its `deployment`."""

    def __init__(self, app: ASGIApp, *, deployment: Deployment) -> None:
        self._app = app
        self._deployment = deployment
        self._keyring = Keyring(deployment.settings)
        self._redacted = Redaction(deployment.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here is a WebSocket, and none has shown a key
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = _headers(scope)
        settings = self._deployment.settings
        trace = Trace(
            request_id=self._request_id(headers.get(b"x-request-id")),
            deadline=time.monotonic() + settings.deadline_ms / 1e3,
        )
        telemetry.begin(trace)
        exchange = _Exchange(scope, receive, send, trace, self._deployment)
        answer: ASGIApp = functools.partial(self._answer, exchange, trace, headers)
        if settings.cors_origins and b"origin" in headers:
            # Around every answer, refusals too, or the page could not read why; and before any
            # key is asked for, as a preflight shows none.  Inside the exchange, as all answers.
            answer = CORSMiddleware(answer, allow_origins=settings.cors_origins, **_CORS)
        self._deployment.begin_answer()
        try:
            await answer(scope, exchange.receive, exchange.send)
        finally:
            self._deployment.end_answer()
            exchange.release()
            exchange.count()
            trace.release()
            if settings.access_log:
                logs.access(trace, scope, exchange.status)

    def _request_id(self, given: str | None) -> str:
        """The caller's, unless it is no decent one: it is logged, and must not be a key."""
        if given and self._redacted(given) != given:
            given = None
        return telemetry.request_id(given)

    async def _answer(
        self,
        exchange: "_Exchange",
        trace: Trace,
        headers: Mapping[bytes, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """The app's answer, or the refusal of what may not reach it."""
        try:
            path = scope["path"]
            if path not in _WHILE_DRAINING:
                self._deployment.check_accepting()
            if self._keyring.closed and not security.is_open(path):
                trace.caller = self._keyring.admit(headers, path)
            if b"x-deadline-ms" in headers:
                wanted = _wanted_deadline(headers[b"x-deadline-ms"], trace)
                trace.deadline = min(trace.deadline, wanted)
            if b"content-length" in headers:
                exchange.check_length(headers[b"content-length"])
            await self._app(scope, receive, send)
        except ClientGone:
            exchange.leave()
        except ServingError as error:
            await exchange.refuse(error, send)
        except HTTPException as error:  # a router's own: no such path, no such method
            said = PlainTextResponse(error.detail, error.status_code, error.headers)
            await said(scope, receive, send)
        # The edge of a request: what nobody foresaw is logged, and said without its inner parts.
        except Exception:
            log.exception("%s: %s %s failed", trace.request_id, scope["method"], logs.path(scope))
            why = ComputeFailed("an error in the server; its log has the reason")
            await exchange.refuse(why, send)


class _Exchange:
    """One request's receive and send, with the limits and headers that every request has."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, trace: Trace, deployment: Deployment
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._trace = trace
        self._deployment = deployment
        self._limit = deployment.settings.max_body_bytes
        self.status = 0  # of the answer, once it has started
        self._read = 0
        self._held = 0  # of that, what counts as arriving
        self._complete = False  # the body has been read
        self._started = False  # the answer has
        self._finished = False
        self._counted = False
        self._ours = False  # it is an error in its final words
        self._poor: Message | None = None  # the start of an answer that is being reworded
        self._poor_body = b""

    def check_length(self, announced: str) -> None:
        """Raises TooLarge for a body that announces itself too large, before any of it is read."""
        if announced.isdecimal() and int(announced) > self._limit:
            self._complete = True
            raise self._too_large(f"{int(announced):,} bytes")

    async def receive(self) -> Message:
        """The next piece of the body, in time and within the limit; then the disconnect."""
        if self._complete:
            return await self._receive()
        try:
            message = await in_time(self._receive(), self._trace.deadline)
        except TimeoutError as error:
            self._trace.error = RequestTimeout("the body did not arrive before the deadline")
            raise self._trace.error from error
        if message["type"] == "http.disconnect":
            raise ClientGone
        self._read += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._read > self._limit:
            self._trace.error = self._too_large("more")
            raise self._trace.error
        if self._complete:
            self.release()
        else:
            self._hold(len(message.get("body", b"")))
        return message

    def release(self) -> None:
        """Count it as arriving no longer: it is whole, or nobody waits for the rest."""
        self._deployment.arriving -= self._held
        self._held = 0

    def _hold(self, size: int) -> None:
        """Raises NotReady if the bodies that are not whole yet come to too much, all together."""
        self._held += size
        self._deployment.arriving += size
        if self._deployment.arriving > _ARRIVING * self._limit:
            self._trace.error = NotReady("too many large bodies are arriving at once")
            raise self._trace.error

    async def send(self, message: Message) -> None:
        """Pass an answer on with our headers; an error in a foreign shape is reworded first."""
        if message["type"] == "http.response.start":
            if message["status"] < _FIRST_ERROR or self._ours or _is_problem(message):
                await self._start(message)
            else:
                self._poor = message
        elif self._poor is None:
            self._finished = not message.get("more_body", False)
            await self._send(message)
            if self._finished:
                self.count()
        else:
            if len(self._poor_body) < _ERROR_BODY:
                self._poor_body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._reword(self._poor)

    async def refuse(self, error: ServingError, send: Send) -> None:
        """Answer with a problem through `send`, unless an answer is already on its way."""
        if self._finished:
            return  # a framework has answered for us, and then raised
        if self._started:
            raise error  # the server cuts the connection: half an answer must not look whole
        self._trace.error = error
        self._ours = True
        answer = problems.response(error, self._trace.request_id, self._scope["path"])
        await answer(self._scope, self._receive, send)

    async def _reword(self, start: Message) -> None:
        """The framework's answer, its headers kept, with our words for a body."""
        path, request_id = self._scope["path"], self._trace.request_id
        error = self._trace.error or problems.foreseen(
            start["status"], method=self._scope["method"], path=path
        )
        headers = MutableHeaders(raw=list(start.get("headers", [])))
        if error is not None:
            worded = problems.worded(error, request_id, path)
            headers.update(error.headers)
        else:
            worded = problems.reworded(start["status"], self._poor_body, request_id, path)
        headers["Content-Type"] = worded.media_type
        headers["Content-Length"] = str(len(worded.body))
        self._poor = None
        await self._start({**start, "status": worded.status, "headers": headers.raw})
        self._finished = True
        await self._send({"type": "http.response.body", "body": worded.body})
        self.count()

    def leave(self) -> None:
        """Whoever asked has left, or was cut off for reading nothing until the deadline."""
        if not self.status or (self._trace.error is None and not self._finished):
            self.status = CLIENT_GONE

    def count(self) -> None:
        """Count the answer, once; one that began well and ended in a problem by the problem."""
        if self._counted or not self.status:
            return
        self._counted = True
        if self.status < _FIRST_ERROR and self._trace.error is not None:
            self.status = self._trace.error.status
        self._deployment.metrics.answered(self._trace, self.status)

    async def _start(self, message: Message) -> None:
        self._started = True
        self._trace.answered = time.monotonic()
        self.status = message["status"]
        headers = [
            *message.get("headers", ()),
            (b"x-request-id", self._trace.request_id.encode("latin-1")),
            (b"server-timing", telemetry.server_timing(self._trace).encode("latin-1")),
        ]
        if self._deployment.draining:
            headers.append((b"connection", b"close"))
        if self._deployment.settings.cors_origins:
            _vary_by_origin(headers)
        await self._send({**message, "headers": headers})

    def _too_large(self, found: str) -> TooLarge:
        return TooLarge(f"the body may have at most {self._limit:,} bytes, this has {found}")


def _headers(scope: Scope) -> dict[bytes, str]:
    """The request's headers; of those given twice the first."""
    return {name: value.decode("latin-1") for name, value in reversed(scope["headers"])}


def _vary_by_origin(headers: list[tuple[bytes, bytes]]) -> None:
    """Say that another origin gets another answer: also of one that no page of another asked for,
    or a cache would hand what an `<img>` got to a `fetch`, which may not read it."""
    said = MutableHeaders(raw=headers)
    if "origin" not in said.get("vary", "").lower():
        said.add_vary_header("Origin")


def _is_problem(start: Message) -> bool:
    """Whether an answer that starts so has our own shape of errors."""
    wanted = problems.MEDIA_TYPE.encode()
    return any(
        name.lower() == b"content-type" and value.startswith(wanted)
        for name, value in start.get("headers", ())
    )


def _wanted_deadline(wanted: str, trace: Trace) -> float:
    """When the caller wants to have its answer, by time.monotonic()."""
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", wanted):
        raise BadRequest(
            f"X-Deadline-Ms must be a whole number of milliseconds, got {wanted[:40]!r}"
        )
    return trace.started + int(wanted) / 1e3
