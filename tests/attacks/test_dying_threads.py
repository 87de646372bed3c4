"""Engine threads that die of a bug outside the engine, and batches that never end, over HTTP."""

import functools
import io
import logging
import threading
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from oracle import Images, oracle_encode
from poison import poisoned
from serving.batching import Batcher

Until = Callable[..., None]
RNG = np.random.default_rng(8)
DYING = "an engine thread died and is being replaced"


def images(count: int) -> Images:
    return poisoned(RNG.integers(0, 256, (count, 8, 8, 3), np.uint8))


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def check_right(target: Any) -> None:
    given = images(3)
    answer: httpx.Response = target.post("encode", npy(given))
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["latents"], oracle_encode(given), atol=1e-5)


def break_once(target: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the line's method raise the next time that an engine thread calls it."""
    line, broken = target.batcher._line, threading.Event()
    method = getattr(line, name)

    def breaking(*given: Any) -> Any:
        if threading.current_thread().name == "engine" and not broken.is_set():
            broken.set()
            raise SystemError("a bug in the loop itself")
        return method(*given)

    monkeypatch.setattr(line, name, breaking)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The deaths of these threads are meant."""
    caplog.set_level(logging.CRITICAL + 1, "biject.batching")


@pytest.mark.parametrize("name", ["record", "seconds"])
def test_a_thread_that_dies_is_told_of_and_replaced(
    serve: Any, monkeypatch: pytest.MonkeyPatch, until: Until, name: str
) -> None:
    patient = functools.partial(Batcher, restart_delay=2)  # long enough to be seen
    monkeypatch.setattr("serving.opening.Batcher", patient)
    with serve(threads=1) as target:
        check_right(target)
        break_once(target, monkeypatch, name)
        answer = target.post("encode", npy(images(2)))
        assert (answer.status_code, answer.json()["detail"]) == (
            500,
            "the engine broke on this request",
        )
        red = target.get("/readyz")
        assert (red.status_code, red.json()["detail"]) == (503, f"poison@1: {DYING}")
        assert int(red.headers["retry-after"]) >= 1
        check_right(target)  # it waits for the successor
        until(lambda: target.get("/readyz").status_code == 200)
        assert target.batcher.restarts == 1
        check_right(target)


def test_the_other_thread_goes_on_meanwhile(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    never = functools.partial(Batcher, restart_delay=600)
    monkeypatch.setattr("serving.opening.Batcher", never)
    with serve(threads=2) as target:
        break_once(target, monkeypatch, "record")
        assert target.post("encode", npy(images(2))).status_code == 500
        for _ in range(10):
            check_right(target)
        assert DYING in target.get("/readyz").json()["detail"]


def test_a_batch_that_never_returns_is_told_of(
    gate: Any, serve: Any, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    with serve(threads=2) as target:
        gate.shut()
        with target.connect() as sock:
            sock.sendall(target.raw("encode", npy(images(1))))
            gate.wait()
            assert target.get("/readyz").status_code == 200  # it may still be well
            monkeypatch.setattr("serving.engine_threads.STALLED", 0.05)
            until(lambda: target.get("/readyz").status_code == 503)
            assert "a batch has been running for" in target.get("/readyz").json()["detail"]
            assert target.get("/livez").status_code == 200
            monkeypatch.undo()
            gate.open()
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        until(lambda: target.get("/readyz").status_code == 200)
        check_right(target)
