"""Models that take turns while somebody is slow: who makes room, who waits, and for how long."""

import contextlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from http_api.conftest import Serve, Served
from oracle import make_oracle
from serving.registry import Registry
from serving.routes import answers

KEYS = {"admin_keys": ("secret",)}
ADMIN = {"Authorization": "Bearer secret"}


def folder(path: Path, *names: str) -> Path:
    for name in names:
        make_oracle(path, name=name)
    return path


def sampled(running: Served, name: str, deadline_ms: int) -> httpx.Response:
    headers = {"X-Deadline-Ms": str(deadline_ms)}
    return running.client.post(f"/v1/models/{name}/sample", headers=headers)


def states(running: Served) -> dict[str, str]:
    return {model.name: model.state for model in running.deployment.registry.models}


def administer(running: Served, path: str, **headers: str) -> httpx.Response:
    return running.client.post(f"/v1/models/{path}", headers=ADMIN | headers)


@contextlib.contextmanager
def slow_request(running: Served, name: str) -> Iterator[None]:
    """A request that uses the model until the block ends, and is then answered by it."""
    body = b'{"n": 1, "seed": 5}'
    head = (
        f"POST /v1/models/{name}/sample HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    model = running.deployment.registry.get(name)
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as begun:
        begun.sendall(head + body[:4])
        end = time.monotonic() + 10
        while model.users != 1:
            assert time.monotonic() < end
            time.sleep(0.005)
        yield
        begun.sendall(body[4:])
        answer = b"".join(iter(lambda: begun.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert f'"model":"{name}@1"'.encode() in answer


def test_a_model_that_nobody_uses_makes_room_before_one_in_use(
    serve: Serve, tmp_path: Path
) -> None:
    with (
        serve(models=folder(tmp_path, "a", "b", "c"), default="a", max_models=2) as running,
        slow_request(running, "a"),
    ):
        assert sampled(running, "b", 5000).status_code == 200  # a is the one used least recently
        assert sampled(running, "c", 1000).status_code == 200
        assert states(running) == {"a": "ready", "b": "unloaded", "c": "ready"}


def test_room_is_waited_for_no_longer_than_who_asks_has_time(serve: Serve, tmp_path: Path) -> None:
    models = folder(tmp_path, "a", "b", "c")
    with serve(models=models, default="a", max_models=1, **KEYS) as running:
        with slow_request(running, "a"):
            begun = time.monotonic()
            refused = sampled(running, "b", 300)
            assert refused.status_code == 503
            assert "retry-after" in refused.headers
            # Nobody else waits for the slow one, for nothing else wants its room.
            assert administer(running, "c/unload").status_code == 200
            assert administer(running, "b/load", **{"X-Deadline-Ms": "300"}).status_code >= 400
            assert administer(running, "c/unload").status_code == 200
            assert time.monotonic() - begun < 3
        assert sampled(running, "b", 5000).status_code == 200  # once it has ended
        assert states(running)["b"] == "ready"


def test_another_makes_room_where_one_takes_its_time(serve: Serve, tmp_path: Path) -> None:
    models = folder(tmp_path, "a", "b", "c")
    with (
        serve(models=models, default="a", max_models=2) as running,
        slow_request(running, "a"),
    ):
        with slow_request(running, "b"):
            assert sampled(running, "c", 100).status_code == 503
        assert sampled(running, "c", 5000).status_code == 200  # in the place of b
        assert states(running)["c"] == "ready"


def test_a_loaded_model_whose_folder_is_gone_makes_room_too(serve: Serve, tmp_path: Path) -> None:
    with serve(models=folder(tmp_path, "a", "b"), default="a", max_models=1) as running:
        shutil.rmtree(tmp_path / "a")
        assert sampled(running, "b", 5000).status_code == 200


def test_an_answer_is_put_into_words_when_its_model_may_go(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as running:
        model, users = running.deployment.registry.get("oracle"), []
        for name in ("render", "render_lines"):
            whole = getattr(answers, name)

            def noting(*given: Any, whole: Any = whole) -> Any:
                users.append(model.users)
                return whole(*given)

            monkeypatch.setattr(answers, name, noting)
        assert running.client.post("/v1/models/oracle/sample").status_code == 200
        assert users == [0]


def test_a_stream_lets_its_model_go_with_the_last_piece(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as running:
        model, users = running.deployment.registry.get("oracle"), []
        monkeypatch.setattr(
            "serving.routes.streaming.last_line",
            lambda *given: users.append(model.users) or {},  # type: ignore[func-returns-value]
        )
        answer = running.client.post(
            "/v1/models/oracle/sample?n=130", headers={"Accept": "application/x-ndjson"}
        )
        assert (answer.status_code, len(answer.text.splitlines())) == (200, 131)
        assert users == [0]


COUNT = 40_000  # lines: more than fit between a server and a client who does not read
MANY = {"max_images": COUNT, "queue_images": COUNT}


@contextlib.contextmanager
def slow_reader(running: Served, name: str) -> Iterator[list[dict[str, Any]]]:
    """Somebody who reads but a beginning until the block ends; then the lines are here."""
    lines: list[dict[str, Any]] = []
    body = f'{{"n": {COUNT}, "seed": 5}}'.encode()
    head = (
        f"POST /v1/models/{name}/sample HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Accept: application/x-ndjson\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    model = running.deployment.registry.get(name)
    with socket.socket() as begun:
        begun.settimeout(20)
        begun.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        begun.connect(("127.0.0.1", running.port))
        begun.sendall(head + body)
        answer = begun.recv(1000)
        quiet = 0
        while quiet < 50:  # looks, one after another: it paused, and nothing begins again
            time.sleep(0.01)
            quiet = quiet + 1 if model.pausing == 1 else 0
        yield lines
        answer += b"".join(iter(lambda: begun.recv(2**20), b""))
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:1000]
    _, _, chunks = answer.partition(b"\r\n\r\n")
    lines += [json.loads(line) for line in chunks.split(b"\n") if line.startswith(b"{")]


def test_models_take_turns_while_somebody_is_slow_to_read(serve: Serve, tmp_path: Path) -> None:
    models = folder(tmp_path, "a", "b")
    with serve(models=models, default="a", max_models=1, **MANY, **KEYS) as running:
        with slow_reader(running, "a") as lines:
            for name in ("b", "a", "b"):
                assert sampled(running, name, 5000).status_code == 200
            assert administer(running, "a/load", **{"X-Deadline-Ms": "5000"}).status_code == 200
            assert sampled(running, "b", 5000).status_code == 200
            assert states(running) == {"a": "unloaded", "b": "ready"}
        assert [line["index"] for line in lines[:-1]] == list(range(COUNT))
        assert lines[-1]["usage"]["images"] == COUNT
        assert states(running) == {"a": "ready", "b": "unloaded"}  # it had its turn again
        assert running.deployment.registry.get("a").users == 0


def test_who_unloads_a_model_waits_for_a_slow_reader(serve: Serve, tmp_path: Path) -> None:
    models = folder(tmp_path, "a", "b")
    with serve(models=models, default="b", **MANY, **KEYS) as running:
        with slow_reader(running, "a") as lines:
            answer = administer(running, "a/unload", **{"X-Deadline-Ms": "300"})
            assert answer.status_code == 504  # nobody would load it again for him
        assert lines[-1]["usage"]["images"] == COUNT
        assert states(running) == {"a": "unloaded", "b": "ready"}


def test_lines_of_a_model_that_an_administrator_took_meanwhile_end_in_a_problem(
    serve: Serve, tmp_path: Path
) -> None:
    models = folder(tmp_path, "a", "b")
    with serve(models=models, default="a", max_models=1, **MANY, **KEYS) as running:
        with slow_reader(running, "a") as lines:
            assert sampled(running, "b", 5000).status_code == 200
            assert administer(running, "a/unload").status_code == 200
        assert lines[-1]["problem"]["status"] == 503
        assert "an administrator unloaded it" in lines[-1]["problem"]["detail"]


def test_a_folder_that_takes_long_to_look_into_is_waited_for_in_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    find = Registry.find
    with serve(**KEYS) as running:

        def slowly(registry: Registry) -> str:
            assert go.wait(10)
            return find(registry)

        monkeypatch.setattr(Registry, "find", slowly)
        begun = time.monotonic()
        answer = administer(running, "oracle/load", **{"X-Deadline-Ms": "200"})
        took = time.monotonic() - begun
        go.set()
        assert (answer.status_code, took < 3) == (504, True)


def test_malformed_aliases_keep_nobody_from_unloading(serve: Serve, tmp_path: Path) -> None:
    with serve(models=folder(tmp_path, "a", "b"), default="a", **KEYS) as running:
        (tmp_path / "aliases.json").write_text('{"prod": ')
        assert administer(running, "b/load").status_code == 422
        answer = administer(running, "b/unload")
        assert (answer.status_code, answer.json()["state"]) == (200, "unloaded")
        assert states(running) == {"a": "ready", "b": "unloaded"}


def test_nothing_waits_in_the_figures_for_a_model_that_was_unloaded(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(models=folder(tmp_path, "a", "b"), default="a", **KEYS) as running:
        loaded = running.deployment.registry.get("b").ready
        with monkeypatch.context() as patch:
            patch.setattr(type(loaded.batcher), "queued", property(lambda _: 7))
            assert 'biject_queue_rows{model="b"} 7.0' in running.client.get("/metrics").text
        assert administer(running, "b/unload").status_code == 200
        assert 'biject_queue_rows{model="b"} 0.0' in running.client.get("/metrics").text
