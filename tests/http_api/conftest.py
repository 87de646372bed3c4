"""Real servers on real sockets: uvicorn in a thread, over the oracle's bundle."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn

import server_process
from oracle import make_oracle
from serving.app import standalone
from serving.deployment import Deployment
from serving.settings import Settings


class Served(NamedTuple):
    """A running server, from outside and from inside."""

    client: httpx.Client
    port: int
    deployment: Deployment
    server: uvicorn.Server
    thread: threading.Thread


Serve = Callable[..., AbstractContextManager[Served]]


@contextlib.contextmanager
def served(settings: Settings, *, wait: bool = True, port: int = 0) -> Iterator[Served]:
    """A server with these settings, at a free port unless told, until the block ends."""
    deployment = Deployment(settings)
    app = standalone(deployment)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    with socket.create_server(("127.0.0.1", port)) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
                end = time.monotonic() + 20
                path = "/readyz" if wait else "/livez"
                while time.monotonic() < end and client.get(path).status_code != 200:
                    time.sleep(0.01)
                yield Served(client, port, deployment, server, thread)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """oracle/1 (8 x 8 x 3, calibrated for l1), grey/1 (8 x 8 x 1), grey/2."""
    folder = tmp_path_factory.mktemp("served")
    l1 = [i / 1000 for i in range(99)]
    make_oracle(folder, calibration={"l1": l1})
    make_oracle(folder, name="grey", channels=1)
    make_oracle(folder, name="grey", version=2, channels=1)
    return folder


@pytest.fixture(scope="session", params=["bare", pytest.param("bentoml", marks=pytest.mark.slow)])
def client(
    models: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[httpx.Client]:
    """A client of a server of `models` whose default is the oracle, bare and under BentoML."""
    if request.param == "bare":
        with served(Settings(models=models, default="oracle")) as running:
            yield running.client
        return
    log = tmp_path_factory.mktemp("bentoml") / "log"
    with (
        server_process.running("bentoml", models, log) as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def serve(models: Path) -> Serve:
    """Start a server of `models` with other settings, for a block."""

    def start(*, wait: bool = True, **settings: Any) -> AbstractContextManager[Served]:
        given = {"models": models, "default": "oracle", **settings}
        return served(Settings(**given), wait=wait)

    return start
