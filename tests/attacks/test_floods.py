"""More at once than can be done, and deadlines that cannot be kept: one answer for each, soon."""

import asyncio
import io
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from oracle import Images, oracle_encode
from plans import Fixed
from poison import poisoned
from serving.batching import Batcher
from serving.engine import Engine
from serving.errors import Busy, DeadlineExceeded

Until = Callable[..., None]
Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(7)


def images(count: int) -> Images:
    return poisoned(RNG.integers(0, 256, (count, 8, 8, 3), np.uint8))


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("limit", [2000, 20_000])
def test_ten_thousand_requests_at_once_each_get_one_answer(limit: int) -> None:
    computed: Counter[float] = Counter()

    def double(graph: str, inputs: Sequence[Array]) -> list[Array]:
        computed.update(inputs[0][:, 0].tolist())
        return [inputs[0] * 2]

    async def scenario() -> list[Any]:
        batcher = Batcher(double, plan=Fixed(32), queue_limit=limit, workers=2)

        async def ask(i: int) -> Any:
            return await batcher.submit("ab"[i % 2], (np.array([[i]], np.float64),))

        tasks = [asyncio.create_task(ask(i)) for i in range(10_000)]
        done, pending = await asyncio.wait(tasks, timeout=30)
        assert not pending
        assert (len(done), batcher.queued, batcher._open) == (10_000, 0, set())
        await batcher.close()
        return [task.exception() or task.result() for task in tasks]

    answered = set()
    for i, answer in enumerate(asyncio.run(scenario())):
        if isinstance(answer, Busy):
            assert answer.retry_after >= 1
        else:
            assert answer.outputs[0].tolist() == [[2.0 * i]]
            answered.add(float(i))
    assert computed == Counter(answered)  # once each, and nobody who was refused
    assert len(answered) == 10_000 if limit > 10_000 else len(answered) >= limit


def test_ten_thousand_images_over_http_are_answered_or_refused(
    gate: Any, serve: Any, until: Until
) -> None:
    each, count = 40, 250
    given = images(each)
    wanted = oracle_encode(given)
    with serve(threads=1, queue_images=6000, max_images=100) as target:
        gate.shut()
        first = target.connect()
        first.sendall(target.raw("encode", npy(given), extra="Accept: application/x-npy\r\n"))
        gate.wait()
        before = memory()
        body = target.raw("encode", npy(given), extra="Accept: application/x-npy\r\n")
        sockets = [target.connect() for _ in range(count)]
        for sock in sockets:
            sock.sendall(body)
        # What one batch took is out of the queue; of the rest as much as fits is in it.
        until(lambda: target.batcher.queued > 6000 - each)
        until(lambda: len(readable(sockets)) >= count - 6000 // each - 1, 20)
        assert memory() - before < 64 * 2**20
        gate.open()
        statuses: Counter[int] = Counter()
        for sock in [first, *sockets]:
            status, content = answer(sock)
            statuses[status] += 1
            if status == 200:
                np.testing.assert_allclose(np.load(io.BytesIO(content)), wanted, atol=1e-5)
            else:
                assert b"at most 6000 may" in content
            sock.close()
        assert statuses.keys() == {200, 429}
        assert 6000 // each <= statuses[200] <= 6000 // each + 2
        assert sum(gate.rows) == each * statuses[200]
        assert target.get("/readyz").status_code == 200


def memory() -> int:
    """Bytes of this process."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


def readable(sockets: list[socket.socket]) -> list[socket.socket]:
    ready = []
    for sock in sockets:
        sock.setblocking(False)
        try:
            if sock.recv(1, socket.MSG_PEEK):
                ready.append(sock)
        except BlockingIOError:
            pass
        finally:
            sock.settimeout(30)
    return ready


def answer(sock: socket.socket) -> tuple[int, bytes]:
    with sock.makefile("rb") as file:
        status = int(file.readline().split()[1])
        length = 0
        while line := file.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return status, file.read(length)


def test_deadlines_shorter_than_one_batch(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Engine.run
    slow = False

    def slowly(engine: Engine, graph: str, inputs: Sequence[Any]) -> list[Any]:
        if slow:
            time.sleep(0.15)
        return run(engine, graph, inputs)

    monkeypatch.setattr(Engine, "run", slowly)

    def ask(i: int) -> tuple[int, float, httpx.Response, Images]:
        given = images(1)
        begin = time.monotonic()
        hasty = {"X_Deadline_Ms": "40"} if i % 2 else {}
        found = target.post("encode", npy(given), **hasty)
        return i, time.monotonic() - begin, found, given

    with serve(threads=1) as target, ThreadPoolExecutor(12) as pool:
        slow = True
        for i, seconds, found, given in pool.map(ask, range(36)):
            if i % 2:
                assert found.status_code in (408, 429, 504), found.text
                assert found.headers["content-type"] == "application/problem+json"
                assert seconds < 5
            else:
                assert found.status_code == 200, found.text
                np.testing.assert_allclose(found.json()["latents"], oracle_encode(given), atol=1e-5)
        assert target.get("/readyz").status_code == 200


def test_a_deadline_that_is_past_when_the_body_is_there(gate: Any, serve: Any) -> None:
    with serve(threads=1) as target:
        gate.shut()
        gate.open()
        body = npy(images(3))
        with target.connect() as sock:
            request = target.raw("encode", body, extra="X-Deadline-Ms: 1\r\n")
            sock.sendall(request[:-10])
            time.sleep(0.02)  # the attack itself
            sock.sendall(request[-10:])
            status, content = answer(sock)
        assert (status, b"deadline" in content) == (408, True)
        assert gate.rows == []


def test_work_that_is_late_already_is_never_computed() -> None:
    async def scenario() -> None:
        computed: list[Array] = []

        def note(graph: str, inputs: Sequence[Array]) -> list[Array]:
            computed.append(inputs[0])
            return [inputs[0]]

        batcher = Batcher(note, plan=Fixed(4), queue_limit=10, workers=1)
        for _ in range(5):
            with pytest.raises(DeadlineExceeded):
                await asyncio.wait_for(
                    batcher.submit("g", (np.zeros((9, 1)),), time.monotonic() - 1), 5
                )
        await batcher.close()
        assert not computed

    asyncio.run(scenario())
