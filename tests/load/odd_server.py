"""A server on a real socket that answers as a test wants it to: in time, late, half, or not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from serving.load.wire import Target

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Behave = Callable[[int, Writer], Awaitable[None]]  # number of the request from 0, where to answer


@contextlib.asynccontextmanager
async def odd_server(behave: Behave) -> AsyncIterator[Target]:
    """Runs until the block ends; `behave` is told of each request once all of it has come."""
    count = 0
    callers: dict[asyncio.Task[None], Writer] = {}

    async def serve(reader: Reader, writer: Writer) -> None:
        nonlocal count
        task = asyncio.current_task()
        assert task is not None
        callers[task] = writer
        ends = (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError)
        with contextlib.suppress(*ends):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                _, found, rest = head.partition("content-length:")
                if found:
                    await reader.readexactly(int(rest.split("\r\n")[0]))
                count += 1
                await behave(count - 1, writer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Target("127.0.0.1", server.sockets[0].getsockname()[1], False, "")
    finally:
        server.close()
        for task, writer in callers.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        await asyncio.sleep(0.01)  # for the sockets to be let go of, on both sides


def response(status: int = 200, body: bytes = b"fine", **headers: str) -> bytes:
    """A whole answer."""
    fields = {"Content-Length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{k}: {v}" for k, v in fields.items())]
    return "\r\n".join(lines).replace("Retry_After", "Retry-After").encode() + b"\r\n\r\n" + body
