"""What a stranger may send before anybody looks at it: heads, their time, JSON's shape, sockets."""

import asyncio
import contextlib
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from security.conftest import Serve
from server_process import MODES, Mode, running
from serving.app import in_front_of
from serving.deployment import Deployment
from serving.edge import Edge
from serving.errors import TooLarge
from serving.head import BoundedHeads
from serving.routes import bodies
from serving.settings import Settings


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


class Hurried(BoundedHeads):
    most = 1_000
    longest = 0.4


@contextlib.contextmanager
def hurried() -> Iterator[int]:
    """A server that gives heads 1,000 bytes and 0.4 s; its port."""
    config = uvicorn.Config(app, http=Hurried, ws="none", lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)


def said(port: int, *pieces: bytes, pause: float = 0.0, seconds: float = 5.0) -> bytes:
    """All that comes back for pieces sent one after another."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        for piece in pieces:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(piece)
            time.sleep(pause)
        back = b""
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(65_536):
                back += part
        return back


def test_a_good_head_in_pieces_is_answered() -> None:
    with hurried() as port:
        back = said(
            port, b"GET / HT", b"TP/1.1\r\nA: b\r\nConnection: close\r\n", b"\r\n", pause=0.05
        )
    assert back.startswith(b"HTTP/1.1 204")


def test_a_slow_body_is_not_a_slow_head() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    with hurried() as port:
        back = said(port, head, b"a", pause=0.6)
    assert back.startswith(b"HTTP/1.1 204")


def answered_as_others(back: bytes) -> None:
    """It is a problem with its id, in the headers as well."""
    head, _, body = back.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    problem = json.loads(body)
    assert headers["content-type"] == "application/problem+json"
    assert headers["content-length"] == str(len(body))
    assert headers["x-request-id"] == problem["request_id"] != ""
    assert headers["server-timing"] == "queue;dur=0.00, compute;dur=0.00"
    assert head.split()[1].decode() == str(problem["status"])
    assert problem["title"].encode() in head


def test_a_head_that_grows_without_end_is_refused() -> None:
    with hurried() as port:
        back = said(port, b"GET / HTTP/1.1\r\n", *[b"X: " + b"y" * 200 + b"\r\n"] * 8, pause=0.01)
    assert back.startswith(b"HTTP/1.1 431 ")
    assert b"at most 1,000 bytes" in back
    answered_as_others(back)


def test_a_head_that_drips_in_is_given_up() -> None:
    begin = time.monotonic()
    with hurried() as port:
        back = said(port, *(bytes([byte]) for byte in b"GET / HTTP/1.1\r\nX: yyyyyyy"), pause=0.03)
    assert back.startswith(b"HTTP/1.1 408 ")
    answered_as_others(back)
    assert time.monotonic() - begin < 3


def test_the_second_head_of_a_connection_is_bounded_as_well() -> None:
    with hurried() as port:
        back = said(port, b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nX: y", pause=0.1)
    first, second = back.split(b"HTTP/1.1 ")[1:]
    assert (first[:3], second[:3]) == (b"204", b"408")


def test_who_says_nothing_is_not_waited_for() -> None:
    with hurried() as port:
        assert said(port, seconds=3) == b""


@pytest.mark.parametrize("mode", MODES)
def test_both_servers_bound_heads(mode: Mode, models: Path, tmp_path: Path) -> None:
    with running(mode, models, tmp_path / "log") as server:
        pieces = [b"GET /livez HTTP/1.1\r\n", *[b"X: " + b"y" * 8_000 + b"\r\n"] * 10]
        assert said(server.port, *pieces, pause=0.02).startswith(b"HTTP/1.1 431 ")
        upgrade = (
            b"GET /encode HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(upgrade)
            assert client.recv(100).split()[1] != b"101"


def test_a_websocket_is_closed_before_any_app_sees_it() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("nobody has shown a key")

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    deployment = Deployment(Settings())
    scope = {"type": "websocket", "path": "/", "headers": []}

    async def knock() -> None:
        await Edge(app, deployment=deployment)(scope, receive, send)
        await in_front_of(app, deployment=deployment)(scope, receive, send)

    asyncio.run(knock())
    assert sent == [{"type": "websocket.close", "code": 1008}] * 2


@pytest.mark.parametrize("opening", [b"[],", b"{},", b'{"a":[]},'])
def test_json_of_nothing_but_brackets_costs_little_memory(opening: bytes) -> None:
    body = b'{"images":[' + opening * 2_000_000 + b"0]}"
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match="262,144 lists and objects"):
            bodies.read(body, "application/json", "images", max_items=4_096)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_json_deeper_than_anybody_needs_is_refused(serve: Serve) -> None:
    with serve() as running:
        for depth in (900, 5_000, 200_000):
            body = b'{"latents":' + b"[" * depth + b"]" * depth + b"}"
            headers = {"Content-Type": "application/json"}
            answer = running.client.post("/v1/models/default/decode", content=body, headers=headers)
            assert answer.status_code in (400, 413, 422), answer.text
        assert running.client.get("/readyz").status_code == 200
