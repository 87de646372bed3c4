"""Nonsense, half requests, clients that leave or dawdle: good requests in flight are answered."""

import io
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import numpy as np
import pytest

from oracle import Images, oracle_encode
from poison import poisoned

Until = Callable[..., None]
RNG = np.random.default_rng(6)


def images(count: int) -> Images:
    return poisoned(RNG.integers(0, 256, (count, 8, 8, 3), np.uint8))


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def check_right(answer: httpx.Response, given: Images) -> None:
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["latents"], oracle_encode(given), atol=1e-5)


@contextmanager
def good_in_flight(target: Any, gate: Any, until: Until) -> Iterator[list[int]]:
    """Ten good requests stand at the gate during the block, and are answered after it.

    The list is that of the rows which engines computed in the end.
    """
    given = [images(1 + i % 3) for i in range(10)]
    computed: list[int] = []
    with ThreadPoolExecutor(10) as pool:
        gate.shut()
        first = pool.submit(target.post, "encode", npy(given[0]))
        gate.wait()
        rest = [pool.submit(target.post, "encode", npy(one)) for one in given[1:]]
        try:
            until(lambda: target.batcher.queued == sum(map(len, given[1:])))
            yield computed
        finally:
            gate.open()
        for future, one in zip([first, *rest], given, strict=True):
            check_right(future.result(), one)
    computed += gate.rows


JSON = "application/json"
CODES = [[0.5] * 48, [0.25] * 48]
AS_JSON = {"Content_Type": JSON}
ZEROS = b", 0" * 47 + b"]]}"
NONSENSE: dict[str, tuple[str, bytes, dict[str, str], int]] = {
    "a wrong shape": ("encode", npy(np.zeros((2, 8, 7, 3), np.uint8)), {}, 422),
    "too few axes": ("encode", npy(np.zeros((8, 8), np.uint8)), {}, 422),
    "a wrong dtype": ("encode", npy(np.zeros((1, 8, 8, 3), np.float32)), {}, 422),
    "no rows": ("encode", npy(np.zeros((0, 8, 8, 3), np.uint8)), {}, 422),
    "no body": ("encode", b"", {}, 400),
    "no images": ("encode", b'{"images": []}', AS_JSON, 400),
    "short latents": ("decode", npy(np.zeros((3, 47), np.float32)), {}, 422),
    "no latents": ("decode", npy(np.zeros((0, 48), np.float32)), {}, 422),
    **{
        f"a latent of {bad}": (
            "decode",
            npy(np.array([CODES[0], [*CODES[1][1:], bad]], np.float32)),
            {},
            422,
        )
        for bad in (np.nan, np.inf, -np.inf)
    },
    "no float32": ("decode", npy(np.full((1, 48), 1e300)), {}, 422),
    "JSON of NaN": ("decode", b'{"latents": [[NaN' + ZEROS, AS_JSON, 400),
    "JSON beyond float32": ("decode", b'{"latents": [[1e39' + ZEROS, AS_JSON, 422),
    "empty rows": ("decode", b'{"latents": [[]]}', AS_JSON, 422),
    "no list": ("decode", b'{"latents": "all"}', AS_JSON, 400),
}


@pytest.fixture(scope="module")
def shared(gate: Any, serve: Any) -> Iterator[Any]:
    """A server with one engine thread, whose deadline is short."""
    with serve(threads=1) as target:
        yield target


def test_nonsense_is_refused_while_good_requests_wait(shared: Any, gate: Any, until: Until) -> None:
    """At once: the engine is held, so none of it can have reached a queue."""
    with good_in_flight(shared, gate, until) as computed:
        queued = shared.batcher.queued
        for name, (verb, body, headers, status) in NONSENSE.items():
            answer = shared.post(verb, body, **headers)
            assert answer.status_code == status, f"{name}: {answer.text}"
            assert answer.headers["content-type"] == "application/problem+json"
            assert shared.batcher.queued == queued
        rows = shared.post("decode", npy(np.array([CODES[0], [np.nan] * 48], np.float32)))
        assert [error["index"] for error in rows.json()["errors"]] == [1]
    assert sum(computed) == 19  # those of the good requests


def test_clients_that_leave_within_their_bodies(shared: Any, gate: Any, until: Until) -> None:
    with good_in_flight(shared, gate, until) as computed:
        queued = shared.batcher.queued
        body = npy(images(20))
        for cut in (0, 1, 60, len(body) // 2, len(body) - 1) * 6:
            with shared.connect() as sock:
                sock.sendall(shared.raw("encode", body[:cut], length=len(body)))
        assert shared.batcher.queued == queued
    assert sum(computed) == 19


def test_work_of_clients_that_left_while_it_waited_is_never_computed(
    shared: Any, gate: Any, until: Until
) -> None:
    with good_in_flight(shared, gate, until) as computed:
        queued = shared.batcher.queued
        with ExitStack() as stack:
            for i in range(1, 21):
                sock = stack.enter_context(shared.connect())
                sock.sendall(shared.raw("encode", npy(images(7))))
                until(lambda i=i: shared.batcher.queued == queued + 7 * i)
        until(lambda: shared.batcher.queued == queued)
    assert sum(computed) == 19


def test_half_of_the_crowd_leaves_at_random_and_the_others_are_answered(shared: Any) -> None:
    """Leaving may strike at any moment: before, in the queue, in the engine, in the answer."""

    def leave(i: int) -> None:
        with shared.connect() as sock:
            sock.sendall(shared.raw("encode", npy(images(5))))
            select.select([sock], [], [], (i % 10) / 1000)

    def stay(i: int) -> None:
        given = images(1 + i % 40)
        check_right(shared.post("encode", npy(given)), given)

    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit((leave, stay)[i % 2], i) for i in range(80)]:
            done.result()
    assert shared.get("/readyz").status_code == 200
    assert shared.batcher.restarts == 0


class Dribble(threading.Thread):
    """Sends one byte at a time of each connection's header, for ever."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__(daemon=True)
        self.sockets, self.stop, self.sent = sockets, threading.Event(), 0

    def run(self) -> None:
        while not self.stop.wait(0.02):
            for sock in self.sockets:
                sock.sendall(b"a")
                self.sent += 1


def test_slow_connections_cost_others_nothing_and_half_bodies_end_in_408(serve: Any) -> None:
    with serve(threads=1, deadline_ms=2500) as target, ExitStack() as stack:
        given = images(1)

        def asked() -> float:
            begin = time.monotonic()
            check_right(target.post("encode", npy(given)), given)
            return time.monotonic() - begin

        alone = sorted(asked() for _ in range(30))
        headers, bodies = (
            [stack.enter_context(target.connect()) for _ in range(100)] for _ in range(2)
        )
        for sock in headers:
            sock.sendall(b"POST /v1/models/default/encode HTTP/1.1\r\nHost: x\r\nX-A: ")
        for sock in bodies:
            sock.sendall(target.raw("encode", npy(given)[:50], length=500))
        dribble = Dribble(headers)
        dribble.start()
        try:
            beside = sorted(asked() for _ in range(30))
        finally:
            dribble.stop.set()
            dribble.join(10)
        assert dribble.sent > 100
        assert beside[15] < 5 * alone[15] + 0.05
        for sock in bodies:
            answer = sock.recv(65536)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"application/problem+json" in answer
        # Whoever gets to the end of his headers after all is served as anybody.
        headers[0].sendall(b"\r\n" + target.raw("encode", npy(given)).split(b"\r\n", 2)[2])
        assert headers[0].recv(65536).startswith(b"HTTP/1.1 200 ")
        assert target.get("/readyz").status_code == 200
