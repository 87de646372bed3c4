"""HTTP/1.1 from the asking side, no more of it than a load generator needs.

Of an answer only the status, its length and Retry-After are read.  One `Connection` carries one
request at a time and is opened again when the server has closed it.
"""

import asyncio
import functools
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

Failure = Literal["refused", "reset", "timeout", "unreachable", "malformed"]
_STALE: Final = 2.0  # seconds: servers close idle connections, and a race would look like a reset
_MAX_HEAD: Final = 65_536
_OK: Final = 200
_BODILESS: Final = (204, 304)


class BadUrl(ValueError):
    """No URL that load can be sent to; the message says why."""


class Failed(Exception):
    """No answer came; `kind` says how that went."""

    def __init__(self, kind: Failure, detail: str) -> None:
        super().__init__(detail)
        self.kind: Failure = kind


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    retry_after: float | None  # seconds
    body: bytes  # only where it was asked for, or the status is not 200


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is."""

    host: str
    port: int
    tls: bool
    path: str  # in front of every path; no slash at its end

    @classmethod
    def parse(cls, url: str) -> "Target":
        """The target of http://HOST[:PORT][/PATH], or https; the scheme may be left out."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
        except ValueError as error:
            raise BadUrl(f"{url!r} is no URL: {error}") from error
        if parts.scheme not in ("http", "https"):
            raise BadUrl(f"a URL of http or https is wanted, got {url!r}")
        try:
            port = parts.port
        except ValueError as error:
            raise BadUrl(f"{url!r} has no usable port: {error}") from error
        if not parts.hostname:
            raise BadUrl(f"{url!r} names no host")
        tls = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if tls else 80), tls, parts.path.rstrip("/"))

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> bytes:
        """A whole request as it goes over the wire."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [f"{method} {self.path}{path} HTTP/1.1", f"Host: {host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """One connection to a target; `ask` opens it where needed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._exchange: _Exchange | None = None
        self._used = 0.0

    async def ask(self, request: bytes, *, timeout: float, keep: bool = False) -> Answer:
        """The answer to a request, within `timeout` seconds, the connection's opening included.

        Args:
            request: As `Target.request` makes it.
            timeout: Seconds.
            keep: Whether the body of a 200 is wanted too.
        Raises:
            Failed: no whole answer came.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        exchange = self._exchange
        if exchange is None or not exchange.open or loop.time() - self._used > _STALE:
            self.close()
            exchange = self._exchange = await self._opened(end)
        timer = loop.call_at(end, exchange.give_up)
        try:
            return await exchange.ask(request, keep)
        finally:
            timer.cancel()
            self._used = loop.time()

    def close(self) -> None:
        """Let go of it; the next `ask` opens another."""
        if self._exchange is not None:
            self._exchange.abort()
            self._exchange = None

    async def _opened(self, end: float) -> "_Exchange":
        loop, target = asyncio.get_running_loop(), self._target
        context = _tls() if target.tls else None
        try:
            async with asyncio.timeout_at(end):
                _, exchange = await loop.create_connection(
                    _Exchange, target.host, target.port, ssl=context
                )
        except TimeoutError as error:
            raise Failed("timeout", "no connection in time") from error
        except ConnectionRefusedError as error:
            raise Failed("refused", "connection refused") from error
        except ConnectionError as error:
            raise Failed("reset", error.strerror or "connection reset") from error
        except OSError as error:  # no such host, no route, no good certificate, no free port
            raise Failed("unreachable", error.strerror or str(error)) from error
        except UnicodeError as error:  # a host of characters that no name may have
            raise Failed("unreachable", str(error)) from error
        return exchange


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Exchange(asyncio.Protocol):
    """Reads one answer after another off a socket."""

    def __init__(self) -> None:
        self.open = False
        self._transport: Any = None
        self._future: asyncio.Future[Answer] | None = None
        self._keep = False
        self._clear()

    def _clear(self) -> None:
        self._head = b""
        self._read: Callable[[bytes], None] = self._read_head
        self._status = 0
        self._retry_after: float | None = None
        self._left = 0  # bytes of the body, or of the chunk
        self._body: list[bytes] | None = None
        self._closes = False  # the server will close it after this answer

    async def ask(self, request: bytes, keep: bool) -> Answer:
        self._clear()
        self._keep = keep
        self._future = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._future
        except asyncio.CancelledError:
            self.abort()  # what comes of it would be taken for the next answer
            raise

    def give_up(self) -> None:
        self._fail("timeout", "no answer in time")

    def abort(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.open = transport, True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._read == self._read_to_end and exc is None:
            self._finish()
        self._fail("reset", "the server closed the connection before it had answered")

    def data_received(self, data: bytes) -> None:
        if self._future is None or self._future.done():
            self.abort()  # bytes that nobody asked for
            return
        try:
            self._read(data)
        except ValueError:
            self._fail("malformed", "what came back is no HTTP")

    # The parts of an answer

    def _read_head(self, data: bytes) -> None:
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(self._head) > _MAX_HEAD or not b"HTTP/1.".startswith(self._head[:7]):
                raise ValueError
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        if not first.startswith("HTTP/1."):
            raise ValueError
        self._status = int(first.split(" ", 2)[1])
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        wait = fields.get("retry-after", "")
        self._retry_after = float(wait) if wait.replace(".", "", 1).isdecimal() else None
        self._closes = fields.get("connection", "").lower() == "close"
        self._body = [] if self._keep or self._status != _OK else None
        if self._status < _OK:  # 100 Continue and its kind: the answer is still to come
            self._head, self._read = b"", self._read_head
        elif self._status in _BODILESS:
            self._finish()
            return
        elif "chunked" in fields.get("transfer-encoding", "").lower():
            self._head, self._read = b"", self._read_chunks
        elif "content-length" in fields:
            self._left = int(fields["content-length"])
            self._read = self._read_body
        else:
            self._closes, self._read = True, self._read_to_end
        self._read(rest)

    def _read_body(self, data: bytes) -> None:
        self._left -= len(data)
        self._store(data)
        if self._left < 0:
            raise ValueError
        if self._left == 0:
            self._finish()

    def _read_to_end(self, data: bytes) -> None:
        self._store(data)

    def _read_chunks(self, data: bytes) -> None:
        self._head += data
        while True:
            line, end, rest = self._head.partition(b"\r\n")
            if not end:
                return
            size = int(line.split(b";")[0], 16)
            if len(rest) < size + 2:
                return
            self._store(rest[:size])
            self._head = rest[size + 2 :]
            if size == 0:  # no server that we know sends trailers
                self._finish()
                return

    def _store(self, data: bytes) -> None:
        if self._body is not None:
            self._body.append(data)

    def _finish(self) -> None:
        future, body = self._future, b"".join(self._body or ())
        if self._closes:
            self.abort()
        if future is not None and not future.done():
            future.set_result(Answer(self._status, self._retry_after, body))

    def _fail(self, kind: Failure, detail: str) -> None:
        future = self._future
        if future is not None and not future.done():
            future.set_exception(Failed(kind, detail))
        self.abort()
