"""`biject serve` as a process of its own, in either of its modes."""

import contextlib
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple

import httpx

from serving.workers import shared_folder

ROOT: Final = Path(__file__).resolve().parents[1]
Mode = Literal["bentoml", "bare"]
MODES: Final[tuple[Mode, ...]] = ("bentoml", "bare")
_PYTHONPATH: Final = [path for path in (os.environ.get("PYTHONPATH"),) if path]
_READY_S: Final = 60.0
_END_S: Final = 20.0


class Running(NamedTuple):
    """A server: its process, where it answers, what it says."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    trusted: ssl.SSLContext | None = None  # by whom; None: it does not speak TLS

    @property
    def url(self) -> str:
        return f"http{'' if self.trusted is None else 's'}://127.0.0.1:{self.port}"

    def workers(self) -> dict[int, int]:
        """The process of each slot, where the server has more than one."""
        slots = shared_folder(self.process.pid).glob("worker-*")
        return {int(path.name.partition("-")[2]): json.loads(path.read_text())[0] for path in slots}


def free_port() -> int:
    """A port that nobody listens at, of those that no system gives to who asks for any: BentoML
    does, before its server listens.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def running(
    mode: Mode, models: Path, log: Path, *arguments: str, verify: ssl.SSLContext | None = None
) -> Iterator[Running]:
    """A server that is ready, until the block ends; it must end well, if it has not yet."""
    port = free_port()
    bare = ["--bare"] if mode == "bare" else []
    command = [sys.executable, "-m", "biject", "serve", str(models), "--default", "oracle"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("BIJECT_")}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--threads", "1", *bare, *arguments],
            env={**environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *_PYTHONPATH])},
            stdout=file,
            stderr=file,
        )
    server = Running(process, port, log, verify)
    try:
        until(lambda: status(server, "/readyz") == 200, _READY_S)
        yield server
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(_END_S) == 0, log.read_text()
    except BaseException:
        print(log.read_text())
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def status(server: Running, path: str) -> int:
    """What a GET is answered with on a connection of its own; 0 where nobody answers."""
    assert server.process.poll() is None, server.log.read_text()
    try:
        verify = server.trusted or True
        return httpx.get(server.url + path, timeout=5, verify=verify).status_code
    except httpx.TransportError:
        return 0


def until(true: Callable[[], bool], seconds: float) -> None:
    """Wait for it to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)
