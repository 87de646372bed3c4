"""How workers end, die and come back, under load: real processes in both modes."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from oracle import make_oracle
from server_process import MODES, Mode, Running, running, status, until

CLIENTS = 6
GRACE_S = 20
BACK_S = 120  # on a machine with much else to do; BentoML looks after its workers every 10 s


class Load:
    """What clients that ask again and again, each time on a new connection, have seen."""

    def __init__(self, server: Running) -> None:
        self.statuses: list[int] = []  # 0: no answer
        self.unsaid: list[httpx.Response] = []  # 503s that do not say when to come back
        self._server = server
        self._over = threading.Event()

    def ask(self) -> None:
        while not self._over.is_set():
            try:
                answer = httpx.post(self._server.url + "/v1/models/default/sample", timeout=10)
            except httpx.TransportError:
                self.statuses.append(0)
                time.sleep(0.01)
                continue
            self.statuses.append(answer.status_code)
            if answer.status_code == 503 and not answer.headers.get("retry-after"):
                self.unsaid.append(answer)

    def stop(self) -> None:
        self._over.set()


@contextmanager
def load(server: Running) -> Iterator[Load]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = Load(server)
        clients = [pool.submit(asking.ask) for _ in range(CLIENTS)]
        try:
            yield asking
        finally:
            asking.stop()
        for client in clients:
            client.result()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_asked_to_stop_it_finishes_what_it_accepted_and_refuses_the_rest(
    mode: Mode, workers: int, models: Path, tmp_path: Path
) -> None:
    body = b'{"n": 2, "seed": 5}'
    head = (
        "POST /v1/models/default/sample HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    ).encode()
    log = tmp_path / "log"
    with running(mode, models, log, "--workers", str(workers)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as accepted:
            accepted.sendall(head)
            assert accepted.recv(100).startswith(b"HTTP/1.1 100")  # it waits for the body
            with load(server) as asking:
                until(lambda: asking.statuses.count(200) > 2 * CLIENTS, 10)
                begin = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                until(lambda: asking.statuses.count(503) > CLIENTS, 10)
                assert not httpx.get(server.url + "/readyz").is_success
                answer = httpx.get(server.url + "/v1/models", headers={"X-Request-ID": "me"})
                assert (answer.status_code, answer.headers["connection"]) == (503, "close")
                assert answer.json()["detail"] == "the server is shutting down"
                assert server.process.poll() is None
                accepted.sendall(body)
                received = b"".join(iter(lambda: accepted.recv(65_536), b""))
                assert received.startswith(b"HTTP/1.1 200 ")
                assert b'"seed":5' in received
                assert server.process.wait(GRACE_S) == 0
                assert time.monotonic() - begin < GRACE_S
        assert set(asking.statuses) <= {200, 503, 0}
        assert asking.unsaid == []
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url + "/livez")
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_worker_comes_back_while_the_other_answers(
    mode: Mode, models: Path, tmp_path: Path
) -> None:
    with running(mode, models, tmp_path / "log", "--workers", "2") as server:
        before = server.workers()
        assert sorted(before) == [0, 1]
        assert ready_workers(server) == 2
        with load(server) as asking:
            until(lambda: asking.statuses.count(200) > 2 * CLIENTS, 10)
            os.kill(before[0], signal.SIGKILL)
            answers: list[httpx.Response] = []
            until(lambda: unready(server, answers), 5)
            assert "1 of 2 workers is not ready" in answers[-1].json()["detail"]
            assert answers[-1].headers["retry-after"]
            # A quick machine may have the next one up by now.
            assert ready_workers(server) == 1 or status(server, "/readyz") == 200
            seen = len(asking.statuses)
            until(lambda: len(asking.statuses) > seen + 4 * CLIENTS, 10)
            assert set(asking.statuses[seen + CLIENTS :]) == {200}
            until(lambda: status(server, "/readyz") == 200, BACK_S)
        # Nobody was refused but those whom the killed worker was about to answer.
        assert asking.statuses.count(0) <= 2 * CLIENTS
        assert set(asking.statuses) <= {200, 0}
        after = server.workers()
        assert sorted(after) == [0, 1]
        assert (after[0] != before[0], after[1]) == (True, before[1])
        assert ready_workers(server) == 2
        # The sums hold what the killed one had counted.
        assert figure(server, "biject_requests_total", "sample") >= asking.statuses.count(200)


@pytest.mark.parametrize("mode", MODES)
def test_all_workers_load_and_unload_and_so_does_one_that_comes_later(
    mode: Mode, tmp_path: Path
) -> None:
    def ask(path: str) -> httpx.Response:
        headers = {"Authorization": "Bearer secret"}
        return httpx.post(f"{server.url}/v1/models/{path}", headers=headers, timeout=30)

    def answering() -> set[str]:
        """Which versions answer for the bare name, on connections to all workers."""
        url = server.url + "/v1/models/oracle/sample"
        return {httpx.post(url).json()["model"] for _ in range(24)}

    models = tmp_path / "models"
    for version in (1, 2):
        make_oracle(models, version=version)
    options = ("--workers", "2", "--admin-keys", "secret")
    with running(mode, models, tmp_path / "log", *options) as server:
        assert answering() == {"oracle@2"}
        assert ask("oracle@2/unload").status_code == 200
        assert answering() == {"oracle@1"}
        make_oracle(models, version=3)
        assert ask("oracle@3/load").json()["state"] == "ready"
        assert answering() == {"oracle@3"}
        damaged = make_oracle(models, version=4)
        (damaged / "encode.onnx").unlink()
        answer = ask("oracle/load")
        assert answer.status_code == 422
        assert answer.json()["detail"].count("encode.onnx cannot be read") == 1
        assert ask("oracle/unload").json()["version"] == 3
        make_oracle(models, version=5)  # nobody has loaded it yet
        before = server.workers()
        os.kill(before[1], signal.SIGKILL)
        until(lambda: status(server, "/readyz") == 503, 5)
        until(lambda: status(server, "/readyz") == 200, BACK_S)
        assert server.workers()[1] != before[1]
        assert answering() == {"oracle@1"}
        assert ask("oracle@2/load").status_code == 200
        assert answering() == {"oracle@2"}


def unready(server: Running, answers: list[httpx.Response]) -> bool:
    answers.append(httpx.get(server.url + "/readyz"))
    return answers[-1].status_code == 503


def figure(server: Running, name: str, verb: str) -> float:
    samples = figures(server)
    return sum(s.value for s in samples if s.name == name and s.labels.get("verb") == verb)


def ready_workers(server: Running) -> float:
    samples = (one for one in figures(server) if one.name == "biject_model_ready")
    return sum(one.value for one in samples if one.labels["model"] == "oracle")


def figures(server: Running) -> list[Sample]:
    text = httpx.get(server.url + "/metrics").text
    return [one for family in text_string_to_metric_families(text) for one in family.samples]
