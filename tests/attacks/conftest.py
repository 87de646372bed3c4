"""Real servers on real sockets to attack, and the gate that holds their engines."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from poison import make_poisonous
from serving.app import standalone
from serving.batching import Batcher
from serving.deployment import Deployment
from serving.engine import Engine
from serving.settings import Settings


class Target:
    """A running server, from outside and from inside."""

    def __init__(self, port: int, deployment: Deployment) -> None:
        self.port = port
        self.deployment = deployment

    @property
    def batcher(self) -> Batcher:
        return self.deployment.registry.get("default").ready.batcher

    def url(self, verb: str) -> str:
        return f"http://127.0.0.1:{self.port}/v1/models/default/{verb}"

    def post(self, verb: str, content: bytes = b"", **headers: str) -> httpx.Response:
        """Ask on a connection of its own; the body is an npy file unless the headers differ."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(
            self.url(verb),
            content=content,
            headers={"Content-Type": "application/x-npy", **named},
            timeout=30,
        )

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=30)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def raw(self, verb: str, body: bytes, *, length: int | None = None, extra: str = "") -> bytes:
        """The bytes of a request, for a bare socket."""
        length = len(body) if length is None else length
        head = (
            f"POST /v1/models/default/{verb} HTTP/1.1\r\nHost: x\r\n"
            f"Content-Type: application/x-npy\r\nContent-Length: {length}\r\n{extra}\r\n"
        )
        return head.encode() + body


Serve = Callable[..., AbstractContextManager[Target]]


@contextlib.contextmanager
def served(settings: Settings) -> Iterator[Target]:
    """A server with these settings, ready, until the block ends."""
    deployment = Deployment(settings)
    config = uvicorn.Config(standalone(deployment), log_level="warning", ws="none", backlog=4096)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        target = Target(listening.getsockname()[1], deployment)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until(lambda: target.get("/readyz").status_code == 200, 30)
            yield target
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something to come true, which it must in time."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def poison_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with poison/1: the oracle (8 x 8 x 3, Z = 48), which fails on some rows."""
    folder = tmp_path_factory.mktemp("poison")
    make_poisonous(folder)
    return folder


@pytest.fixture(scope="session")
def serve(poison_models: Path) -> Serve:
    """Start a server of the poisonous model with some settings, for a block."""

    def start(**settings: Any) -> AbstractContextManager[Target]:
        return served(Settings(**{"models": poison_models, "device": "cpu", **settings}))

    return start


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., None]:
    return until


class Gate:
    """Holds every batch of every engine while it is shut, and counts rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = threading.Event()
        self._open.set()
        self._held = threading.Semaphore(0)
        self.rows: list[int] = []  # of the batches that were computed
        run = Engine.run

        def gated(engine: Engine, graph: str, inputs: Sequence[Any]) -> list[Any]:
            if not self._open.is_set():
                self._held.release()
                assert self._open.wait(30)
            outputs = run(engine, graph, inputs)
            self.rows.append(len(inputs[0]))
            return outputs

        monkeypatch.setattr(Engine, "run", gated)

    def shut(self) -> None:
        self._open.clear()
        self.rows.clear()

    def open(self) -> None:
        self._open.set()

    def wait(self) -> None:
        """Return once a batch stands at the gate."""
        assert self._held.acquire(timeout=10)


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    """Ask for it before the server that it is to hold."""
    with pytest.MonkeyPatch.context() as patch:
        gate = Gate(patch)
        yield gate
        gate.open()
