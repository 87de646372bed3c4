"""Limits, deadlines and clients that leave, over real sockets."""

import contextlib
import http.client
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from oracle import oracle_encode
from serving.engine import Engine

V = "/v1/models/default/"
RNG = np.random.default_rng(2)


def npy(rows: int, value: int | None = None) -> bytes:
    shape = (rows, 8, 8, 3)
    array = RNG.integers(0, 256, shape, np.uint8) if value is None else np.full(shape, value, "u1")
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


NPY = {"Content-Type": "application/x-npy"}


class Gate:
    """Holds every run of an engine until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.open.set()
        self.waiting = threading.Semaphore(0)
        self.rows: list[int] = []
        run = Engine.run

        def held(engine: Engine, graph: str, inputs: Sequence[Any]) -> list[Any]:
            if not self.open.is_set():
                self.waiting.release()
                assert self.open.wait(10)
            self.rows.append(len(inputs[0]))
            return run(engine, graph, inputs)

        monkeypatch.setattr(Engine, "run", held)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def head(body: str, extra: str = "") -> bytes:
    return (
        f"POST {V}encode HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-npy\r\n"
        f"{extra}{body}\r\n\r\n"
    ).encode()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_body_over_the_limit_is_refused_with_the_limit(serve: Callable[..., Any]) -> None:
    with serve(max_body_bytes=100_000) as running:
        assert running.client.post(V + "encode", content=npy(500), headers=NPY).status_code == 200
        answer = running.client.post(V + "encode", content=npy(600), headers=NPY)
        assert answer.status_code == 413
        assert "100,000 bytes" in answer.json()["detail"]


def test_a_large_refused_body_does_not_break_the_connection(serve: Callable[..., Any]) -> None:
    with serve(max_body_bytes=100_000) as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
        for _ in range(3):
            connection.request("POST", V + "encode", bytes(20_000_000), NPY)  # sends all first
            answer = connection.getresponse()
            assert (answer.status, b"100,000" in answer.read()) == (413, True)
        connection.request("GET", "/livez")
        assert connection.getresponse().read() == b"alive\n"
        connection.close()


def test_nobody_has_to_send_a_body_that_is_going_to_be_refused(serve: Callable[..., Any]) -> None:
    with serve(max_body_bytes=100_000) as running, connected(running.port) as sock:
        sock.sendall(head("Content-Length: 999999", "Expect: 100-continue\r\n"))
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_body_without_a_length_is_limited_too(serve: Callable[..., Any]) -> None:
    with serve(max_body_bytes=100_000) as running:

        def pieces() -> Iterator[bytes]:
            for _ in range(50):
                yield bytes(10_000)

        answer = running.client.post(V + "encode", content=pieces(), headers=NPY)
        assert answer.status_code == 413
        assert running.client.get("/livez").status_code == 200


def test_a_chunked_body_is_served(client: httpx.Client) -> None:
    body = npy(100)
    pieces = (body[i : i + 1000] for i in range(0, len(body), 1000))
    answer = client.post(V + "encode", content=pieces, headers=NPY)
    assert len(answer.json()["latents"]) == 100


def test_a_slow_body_is_timed_out(serve: Callable[..., Any]) -> None:
    with serve(deadline_ms=200) as running, connected(running.port) as sock:
        begin = time.monotonic()
        sock.sendall(head("Content-Length: 100") + b"abc")
        assert sock.recv(65536).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - begin < 5


def test_bodies_that_stall_may_hold_so_much_and_no_more(serve: Callable[..., Any]) -> None:
    with serve(max_body_bytes=100_000) as running, contextlib.ExitStack() as stack:
        deployment = running.deployment
        for sent in range(1, 9):
            sock = stack.enter_context(connected(running.port))
            sock.sendall(head("Content-Length: 99999") + bytes(95_000))
            until(lambda sent=sent: deployment.arriving == sent * 95_000)  # type: ignore[misc]
        with connected(running.port) as ninth:
            ninth.sendall(head("Content-Length: 99999") + bytes(95_000))
            answer = ninth.recv(65536)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in answer.lower()
            assert b"too many large bodies" in answer
        until(lambda: deployment.arriving == 8 * 95_000)
        # A body that comes in one piece is nothing that anybody waits for.
        assert running.client.post(V + "encode", content=npy(1), headers=NPY).status_code == 200
        stack.close()
        until(lambda: deployment.arriving == 0)
        assert running.client.post(V + "encode", content=npy(500), headers=NPY).status_code == 200
        assert deployment.arriving == 0


def test_too_many_images_are_refused_with_the_limit(serve: Callable[..., Any]) -> None:
    with serve(max_images=10) as running:
        uri = "data:image/png;base64,"
        for sent in (
            {"content": npy(11), "headers": NPY},
            {"json": {"images": [uri] * 11}},
            {"files": [("images", ("a", b"x"))] * 11},
        ):
            answer = running.client.post(V + "encode", **sent)
            assert answer.status_code == 413
            assert "10" in answer.json()["detail"]
        assert running.client.post(V + "sample?n=11").status_code == 422


def test_a_form_of_endless_parts_is_refused(serve: Callable[..., Any]) -> None:
    with serve(max_images=10) as running:
        answer = running.client.post(V + "encode", files=[("images", ("a", b"x"))] * 200)
        assert answer.status_code == 413


def test_work_that_runs_out_of_time(serve: Callable[..., Any], gate: Gate) -> None:
    with serve(threads=1) as running:
        gate.open.clear()
        begin = time.monotonic()
        answer = running.client.post(
            V + "encode", content=npy(1), headers={**NPY, "X-Deadline-Ms": "200"}
        )
        assert (answer.status_code, time.monotonic() - begin < 5) == (504, True)
        assert "deadline" in answer.json()["detail"]
        gate.open.set()
        assert running.client.post(V + "encode", content=npy(1), headers=NPY).status_code == 200


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1.5", ""])
def test_a_malformed_deadline(client: httpx.Client, value: str) -> None:
    answer = client.get("/v1/models", headers={"X-Deadline-Ms": value})
    assert (answer.status_code, "X-Deadline-Ms" in answer.json()["detail"]) == (400, True)


def test_a_full_queue_says_when_to_return(serve: Callable[..., Any], gate: Gate) -> None:
    with serve(threads=1, queue_images=50, max_images=50) as running, ThreadPoolExecutor(8) as pool:
        gate.open.clear()

        def encode(rows: int) -> httpx.Response:
            return httpx.post(
                f"http://127.0.0.1:{running.port}{V}encode", content=npy(rows), headers=NPY
            )

        first = pool.submit(encode, 1)
        gate.waiting.acquire()
        waits = pool.submit(encode, 40)
        batcher = running.deployment.registry.get("default").ready.batcher
        until(lambda: batcher.queued == 40)
        answer = encode(11)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert "at most 50" in answer.json()["detail"]
        gate.open.set()
        assert first.result().status_code == waits.result().status_code == 200


def test_what_is_refused_is_not_decoded_first(serve: Callable[..., Any], gate: Gate) -> None:
    with serve(threads=1, queue_images=50, max_images=50) as running, ThreadPoolExecutor(2) as pool:
        url = f"http://127.0.0.1:{running.port}{V}encode"
        bad: Any = {"content": b"no image", "headers": {"Content-Type": "image/png"}}
        assert httpx.post(url, **bad).status_code == 422
        gate.open.clear()
        first = pool.submit(httpx.post, url, content=npy(1), headers=NPY)
        gate.waiting.acquire()
        waits = pool.submit(httpx.post, url, content=npy(50), headers=NPY)
        batcher = running.deployment.registry.get("default").ready.batcher
        until(lambda: batcher.queued == 50)
        assert httpx.post(url, **bad).status_code == 429
        gate.open.set()
        assert first.result().status_code == waits.result().status_code == 200


def test_work_whose_client_left_is_not_computed(serve: Callable[..., Any], gate: Gate) -> None:
    with serve(threads=1) as running, ThreadPoolExecutor(4) as pool:
        gate.open.clear()
        url = f"http://127.0.0.1:{running.port}{V}encode"
        first = pool.submit(httpx.post, url, content=npy(1), headers=NPY)
        gate.waiting.acquire()
        batcher = running.deployment.registry.get("default").ready.batcher
        body = npy(30)
        leaves = socket.create_connection(("127.0.0.1", running.port))
        leaves.sendall(head(f"Content-Length: {len(body)}") + body)
        until(lambda: batcher.queued == 30)
        leaves.close()
        until(lambda: batcher.queued == 0)
        gate.rows.clear()
        gate.open.set()
        assert first.result().status_code == 200
        assert running.client.post(V + "encode", content=npy(2), headers=NPY).status_code == 200
        assert gate.rows == [1, 2]
        figures = running.client.get("/metrics").text
        assert 'biject_requests_total{model="oracle",status="499",verb="encode"} 1.0' in figures


def test_work_of_a_client_that_left_within_a_body_nobody_reads_is_not_computed(
    serve: Callable[..., Any], gate: Gate
) -> None:
    with serve(threads=1) as running, ThreadPoolExecutor(1) as pool:
        gate.open.clear()
        url = f"http://127.0.0.1:{running.port}{V}encode"
        first = pool.submit(httpx.post, url, content=npy(1), headers=NPY)
        gate.waiting.acquire()
        batcher = running.deployment.registry.get("default").ready.batcher
        leaves = socket.create_connection(("127.0.0.1", running.port))
        asks = f"GET {V}sample?n=30 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        leaves.sendall(asks.encode() + b"5\r\nhello\r\n")
        until(lambda: batcher.queued == 30)
        leaves.close()
        until(lambda: batcher.queued == 0)
        gate.open.set()
        assert first.result().status_code == 200


def test_a_client_that_leaves_within_its_body_is_forgotten(client: httpx.Client) -> None:
    port = client.base_url.port
    assert port is not None
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(head("Content-Length: 1000") + b"abc")
    assert client.post(V + "encode", content=npy(1), headers=NPY).status_code == 200


def test_requests_of_many_clients_are_merged_and_answered_right(
    serve: Callable[..., Any], gate: Gate
) -> None:
    with serve(threads=1) as running, ThreadPoolExecutor(16) as pool:
        url = f"http://127.0.0.1:{running.port}{V}encode"

        def encode(value: int) -> Any:
            return httpx.post(url, content=npy(1, value), headers=NPY).json()

        gate.open.clear()
        blocker = pool.submit(encode, 0)
        gate.waiting.acquire()
        answers = [pool.submit(encode, value) for value in range(1, 13)]
        batcher = running.deployment.registry.get("default").ready.batcher
        until(lambda: batcher.queued == 12)
        gate.open.set()
        assert blocker.result()["usage"]["batch"] == 1
        for value, answer in enumerate(answers, 1):
            document = answer.result()
            assert document["usage"]["batch"] == 12
            assert document["usage"]["queue_ms"] > 0
            wanted = oracle_encode(np.full((1, 8, 8, 3), value, np.uint8))
            np.testing.assert_allclose(document["latents"], wanted, atol=1e-5)


def test_a_poisoned_request_does_not_hurt_its_neighbours(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Engine.run

    def choking(engine: Engine, graph: str, inputs: Sequence[Any]) -> list[Any]:
        if graph == "encode" and (inputs[0] == 66).all(axis=(1, 2, 3)).any():
            raise RuntimeError("a pixel too many")
        return run(engine, graph, inputs)

    monkeypatch.setattr(Engine, "run", choking)
    with serve() as running, ThreadPoolExecutor(16) as pool:
        url = f"http://127.0.0.1:{running.port}{V}encode"
        values = [66 if i % 10 == 5 else i % 60 for i in range(100)]
        answers = list(pool.map(lambda v: httpx.post(url, content=npy(1, v), headers=NPY), values))
        assert [a.status_code for a in answers] == [500 if v == 66 else 200 for v in values]
        bad = answers[5]
        assert bad.headers["content-type"] == "application/problem+json"
        assert "a pixel too many" not in bad.text  # the log's business


def test_accepted_work_is_finished_on_shutdown(serve: Callable[..., Any], gate: Gate) -> None:
    with serve(threads=1) as running, ThreadPoolExecutor(8) as pool:
        url = f"http://127.0.0.1:{running.port}{V}encode"
        gate.open.clear()
        answers = [pool.submit(httpx.post, url, content=npy(3), headers=NPY)]
        gate.waiting.acquire()
        answers += [pool.submit(httpx.post, url, content=npy(3), headers=NPY) for _ in range(5)]
        batcher = running.deployment.registry.get("default").ready.batcher
        until(lambda: batcher.queued == 15)
        running.server.should_exit = True
        time.sleep(0.3)
        gate.open.set()
        assert [answer.result().status_code for answer in answers] == [200] * 6
        running.thread.join(10)
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)
