"""How a request's images are decoded: in pieces that leave room for others, and not in vain."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import images
from serving.bundle import read
from serving.deployment import Deployment
from serving.errors import Unprocessable
from serving.routes import intake
from serving.routes.bodies import Payload
from serving.settings import Settings

Serve = Callable[..., Any]


@pytest.fixture
def oracle(models: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A deployment of four cores, and how it makes arrays of files."""
    manifest = read(models / "oracle" / "1", name="oracle", version=1).manifest
    monkeypatch.setattr("serving.deployment.usable_cores", lambda: 4)
    deployment = Deployment(Settings(models=models))

    async def arrays(files: Sequence[bytes | object]) -> Any:
        return await intake.arrays(deployment, manifest, Payload(files=files), "images")

    return arrays


class Pieces:
    """What is handed to the threads, and how much of it at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = self.at_once = self.most = 0
        aside = Deployment.aside

        async def counting(deployment: Deployment, work: Callable[[], Any], **how: Any) -> Any:
            self.count += 1
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            try:
                return await aside(deployment, work, **how)
            finally:
                self.at_once -= 1

        monkeypatch.setattr(Deployment, "aside", counting)


@pytest.mark.parametrize(
    ("sizes", "pieces", "at_once"),
    [
        ([10], 1, 1),
        ([10] * 16, 1, 1),
        ([10] * 17, 2, 2),
        ([10] * 160, 10, 4),
        ([300_000] * 12, 12, 4),
        ([140_000] * 5, 3, 3),  # two, two, one
    ],
)
def test_a_request_has_no_more_threads_than_there_are_cores(
    sizes: Sequence[int],
    pieces: int,
    at_once: int,
    oracle: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decode(data: bytes, *_: Any, **__: Any) -> Any:
        time.sleep(0.001)
        return np.full((8, 8, 3), data[0], np.uint8)

    monkeypatch.setattr(images, "decode", decode)
    seen = Pieces(monkeypatch)
    rows = asyncio.run(oracle([bytes([i]) * size for i, size in enumerate(sizes)]))
    assert rows[:, 0, 0, 0].tolist() == list(range(len(sizes)))
    assert (seen.count, seen.most) == (pieces, at_once)


def test_the_guilty_are_named_in_order_whoever_finds_them_first(
    oracle: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(data: bytes, *_: Any, **__: Any) -> Any:
        time.sleep(0.1 if data == b"0" else 0)
        raise Unprocessable("it is no good")

    monkeypatch.setattr(images, "decode", decode)
    with pytest.raises(Unprocessable) as caught:
        asyncio.run(oracle([b"%d" % i for i in range(70)]))
    assert [item.index for item in caught.value.items] == list(range(70))


def test_nothing_more_is_decoded_once_nobody_waits(
    oracle: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []
    go = threading.Event()

    def decode(data: bytes, *_: Any, **__: Any) -> Any:
        decoded.append(data)
        assert go.wait(10)
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(images, "decode", decode)

    async def scenario() -> None:
        work = asyncio.create_task(oracle([b"x"] * 200))
        while len(decoded) < 4:
            await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        go.set()
        await asyncio.sleep(0.2)
        assert len(decoded) == 4

    asyncio.run(scenario())


def test_figures_do_not_wait_behind_pixels(serve: Serve) -> None:
    go = threading.Event()
    with serve() as running:
        deployment = running.deployment
        try:
            for _ in range(4 * deployment.cores):
                deployment._pixels._pool.submit(go.wait, 10)
            begin = time.monotonic()
            assert running.client.get("/metrics").status_code == 200
            assert time.monotonic() - begin < 5
        finally:
            go.set()
