"""Models that come and go while the server answers: versions, aliases, limits, damaged copies."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from http_api.conftest import Serve, Served
from oracle import make_oracle
from serving.engine import Engine
from serving.registry import Registry
from serving.rendering import data_uri, png

KEYS = {"admin_keys": ("secret",)}
ADMIN = {"Authorization": "Bearer secret"}


def ask(running: Served, path: str) -> httpx.Response:
    return running.client.post(f"/v1/models/{path}", headers=ADMIN)


def answering(running: Served, ref: str) -> str:
    answer = running.client.post(f"/v1/models/{ref}/sample")
    assert answer.status_code == 200, answer.text
    model: str = answer.json()["model"]
    return model


def standing(running: Served) -> dict[str, str]:
    listed = running.client.get("/v1/models").json()["data"]
    return {
        f"{model['id']}@{version['version']}": version["state"]
        for model in listed
        for version in model["versions"]
    }


def damage(bundle: Path) -> None:
    graph = bundle / "decode.onnx"
    graph.write_bytes(graph.read_bytes()[:-100])


class Load:
    """Clients that ask without a pause, and what they were answered."""

    def __init__(self, port: int, paths: tuple[str, ...]) -> None:
        self.answers: list[tuple[str, int, str]] = []  # path, status, model
        self._over = threading.Event()
        self._port, self._paths = port, paths

    def ask(self, path: str) -> None:
        url = f"http://127.0.0.1:{self._port}/v1/models/"
        with httpx.Client(base_url=url, timeout=30) as client:
            while not self._over.is_set():
                answer = client.post(path)
                model = answer.json()["model"] if answer.status_code == 200 else answer.text
                self.answers.append((path, answer.status_code, model))

    def seen(self) -> int:
        return len(self.answers)

    def goes_on(self, more: int) -> None:
        """Wait for so many more answers."""
        wanted, end = self.seen() + more, time.monotonic() + 20
        while self.seen() < wanted:
            assert time.monotonic() < end
            time.sleep(0.005)

    @contextmanager
    def running(self) -> Iterator["Load"]:
        with ThreadPoolExecutor(len(self._paths)) as pool:
            clients = [pool.submit(self.ask, path) for path in self._paths]
            try:
                yield self
            finally:
                self._over.set()
            for client in clients:
                client.result()


def test_unloading_the_newest_version_is_a_rollback(serve: Serve, tmp_path: Path) -> None:
    for version in (1, 2):
        make_oracle(tmp_path, version=version)
    with serve(models=tmp_path, **KEYS) as running:
        assert answering(running, "oracle") == "oracle@2"
        answer = ask(running, "oracle/unload")
        assert (answer.status_code, answer.json()["state"]) == (200, "unloaded")
        assert (answer.json()["version"], answer.json()["device"]) == (2, None)
        assert answering(running, "oracle") == answering(running, "default") == "oracle@1"
        refused = running.client.post("/v1/models/oracle@2/sample")
        assert refused.status_code == 503
        assert "administrator" in refused.json()["detail"]
        assert "retry-after" in refused.headers
        described = running.client.get("/v1/models/oracle@2").json()
        assert (described["state"], described["latent"]["size"]) == ("unloaded", 48)
        assert running.client.get("/readyz").status_code == 200
        figures = running.client.get("/metrics").text
        assert 'biject_model_ready{device="cpu",model="oracle",version="2"} 0.0' in figures
        assert ask(running, "oracle/load").json()["state"] == "ready"
        assert answering(running, "oracle") == "oracle@2"
        assert 'model="oracle",version="2"} 1.0' in running.client.get("/metrics").text


def test_without_any_model_left_it_is_not_ready(serve: Serve, tmp_path: Path) -> None:
    make_oracle(tmp_path)
    with serve(models=tmp_path, **KEYS) as running:
        ask(running, "oracle/unload")
        answer = running.client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["detail"] == "oracle@1 is not loaded: an administrator unloaded it"


def test_a_version_that_was_copied_in_is_loaded_on_request(serve: Serve, tmp_path: Path) -> None:
    make_oracle(tmp_path)
    with serve(models=tmp_path, **KEYS) as running:
        assert ask(running, "oracle@2/load").status_code == 404
        make_oracle(tmp_path, version=2)
        make_oracle(tmp_path, name="newcomer")
        assert answering(running, "oracle") == "oracle@1"
        assert ask(running, "oracle/load").json()["version"] == 2
        assert answering(running, "oracle") == "oracle@2"
        assert standing(running)["newcomer@1"] == "unloaded"  # seen, and nobody's yet
        assert running.client.post("/v1/models/newcomer/sample").status_code == 503
        assert ask(running, "newcomer/load").json()["state"] == "ready"
        assert answering(running, "newcomer") == "newcomer@1"
        shutil.rmtree(tmp_path / "newcomer")
        assert ask(running, "oracle@2/unload").status_code == 200  # looks into the folder again
        assert answering(running, "newcomer") == "newcomer@1"  # loaded, whatever became of it


def test_a_damaged_version_says_so_and_the_one_before_goes_on(serve: Serve, tmp_path: Path) -> None:
    make_oracle(tmp_path)
    with serve(models=tmp_path, **KEYS) as running:
        damage(make_oracle(tmp_path, version=2))
        answer = ask(running, "oracle/load")
        assert answer.status_code == 422
        assert "decode.onnx is damaged" in answer.json()["detail"]
        assert answering(running, "oracle") == "oracle@1"
        assert standing(running) == {"oracle@1": "ready", "oracle@2": "failed"}
        (listed,) = running.client.get("/v1/models").json()["data"]
        assert "decode.onnx is damaged" in listed["versions"][1]["reason"]
        shutil.rmtree(tmp_path / "oracle" / "2")
        make_oracle(tmp_path, version=2)  # mended
        assert ask(running, "oracle/load").status_code == 200
        assert answering(running, "oracle") == "oracle@2"


def test_a_changed_copy_replaces_the_loaded_one_only_if_it_is_good(
    serve: Serve, tmp_path: Path
) -> None:
    def drawn() -> Any:
        answer = running.client.post("/v1/models/oracle/sample", params={"seed": 1})
        return answer.json()["images"]

    path = make_oracle(tmp_path, block=2)
    with serve(models=tmp_path, **KEYS) as running:
        before = drawn()
        assert ask(running, "oracle@1/load").json()["state"] == "ready"  # the same: nothing to do
        assert running.deployment.registry.get("oracle").reason == ""
        shutil.rmtree(path)
        damage(make_oracle(tmp_path, block=4))
        answer = ask(running, "oracle@1/load")
        assert answer.status_code == 422
        assert drawn() == before
        (listed,) = running.client.get("/v1/models").json()["data"]
        assert listed["state"] == "ready"
        assert "a newer copy was not taken: " in listed["reason"]
        shutil.rmtree(path)
        make_oracle(tmp_path, block=4)
        answer = ask(running, "oracle@1/load")
        assert (answer.status_code, "reason" in answer.json()) == (200, False)
        assert running.client.get("/v1/models/oracle").json()["latent"]["size"] == 12
        assert drawn() != before


def test_nobody_is_refused_while_versions_come_and_go(serve: Serve, tmp_path: Path) -> None:
    make_oracle(tmp_path)
    with serve(models=tmp_path, **KEYS) as running:
        load = Load(running.port, ("oracle/sample?n=3", "oracle/sample", "default/sample?n=40"))
        with load.running():
            load.goes_on(20)
            for version in (2, 3):
                make_oracle(tmp_path, version=version)
                assert ask(running, "oracle/load").json()["version"] == version
                load.goes_on(20)
            for version in (3, 2):
                assert ask(running, "oracle/unload").json()["version"] == version
                load.goes_on(20)
        assert {status for _, status, _ in load.answers} == {200}, load.answers
        assert {model for _, _, model in load.answers} == {f"oracle@{v}" for v in (1, 2, 3)}


def test_what_is_being_computed_ends_before_the_model_goes(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, begun, go = threading.Event(), threading.Event(), threading.Event()
    run = Engine.run

    def slowly(engine: Engine, graph: str, inputs: Any) -> Any:
        if asked.is_set() and engine.bundle.manifest.version == 2:
            begun.set()
            assert go.wait(10)
        return run(engine, graph, inputs)

    monkeypatch.setattr(Engine, "run", slowly)
    for version in (1, 2):
        make_oracle(tmp_path, version=version)
    with serve(models=tmp_path, **KEYS) as running, ThreadPoolExecutor(2) as pool:
        asked.set()
        asking = pool.submit(answering, running, "oracle@2")
        assert begun.wait(10)
        unloading = pool.submit(ask, running, "oracle@2/unload")
        end = time.monotonic() + 10
        while standing(running)["oracle@2"] != "unloaded":
            assert time.monotonic() < end
        assert answering(running, "oracle") == "oracle@1"
        assert not unloading.done()
        go.set()
        assert asking.result() == "oracle@2"
        assert unloading.result().status_code == 200


def test_a_request_whose_body_is_still_arriving_ends_with_the_model_it_began_with(
    serve: Serve, tmp_path: Path
) -> None:
    body = b'{"n": 1, "seed": 5}'
    head = (
        "POST /v1/models/oracle/sample HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    for version in (1, 2):
        make_oracle(tmp_path, version=version)
    with serve(models=tmp_path, **KEYS) as running, ThreadPoolExecutor(1) as pool:
        model = running.deployment.registry.get("oracle@2")
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as begun:
            begun.sendall(head + body[:4])
            wait_for(lambda: model.users == 1)
            unloading = pool.submit(ask, running, "oracle/unload")
            wait_for(lambda: standing(running)["oracle@2"] == "unloaded")
            time.sleep(0.1)
            assert not unloading.done()
            begun.sendall(body[4:])
            answer = b"".join(iter(lambda: begun.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"model":"oracle@2"' in answer
        assert unloading.result().status_code == 200
        assert model.users == 0


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_an_alias_is_a_name_that_can_be_changed(serve: Serve, tmp_path: Path) -> None:
    def stands_for(**targets: str) -> None:
        (tmp_path / "aliases.json").write_text(json.dumps(targets))

    for version in (1, 2):
        make_oracle(tmp_path, version=version)
    stands_for(prod="oracle@2", any="oracle")
    with serve(models=tmp_path, default="prod", **KEYS) as running:
        assert answering(running, "prod") == answering(running, "default") == "oracle@2"
        assert running.client.get("/v1/models/prod").json()["version"] == 2
        said = running.client.get("/v1/models").json()
        assert said["aliases"] == {"prod": "oracle@2", "any": "oracle"}
        stands_for(prod="oracle@1", any="oracle", lost="oracle@7")
        assert ask(running, "prod/load").json()["version"] == 1
        assert answering(running, "prod") == answering(running, "default") == "oracle@1"
        assert answering(running, "any") == "oracle@2"
        answer = running.client.post("/v1/models/lost/sample")
        assert answer.status_code == 404
        assert "'oracle@7' (which lost stands for)" in answer.json()["detail"]
        (tmp_path / "aliases.json").write_text('{"prod": ')
        answer = ask(running, "prod/load")
        assert answer.status_code == 422
        assert "aliases.json is not JSON" in answer.json()["detail"]
        assert answering(running, "prod") == "oracle@1"  # as before


def test_more_models_than_may_be_loaded_take_turns(serve: Serve, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_oracle(tmp_path, name=name)
    with serve(models=tmp_path, default="b", max_models=2, **KEYS) as running:
        assert standing(running) == {"a@1": "ready", "b@1": "ready", "c@1": "unloaded"}
        assert answering(running, "a") == "a@1"
        assert answering(running, "c") == "c@1"  # in the place of b, which waited longest
        assert standing(running) == {"a@1": "ready", "b@1": "unloaded", "c@1": "ready"}
        listed = {one["id"]: one for one in running.client.get("/v1/models").json()["data"]}
        assert listed["b"]["reason"].startswith("unloaded for c@1, as at most 2 are loaded")
        assert listed["b"]["created"] == 1_700_000_000
        assert running.client.get("/readyz").status_code == 200
        assert answering(running, "default") == "b@1"
        assert standing(running) == {"a@1": "unloaded", "b@1": "ready", "c@1": "ready"}
        assert running.client.get("/v1/models/a").json()["latent"]["size"] == 48


def test_every_dialect_has_a_model_loaded_that_made_room(serve: Serve, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_oracle(tmp_path, name=name)
    tensor = {"name": "latents", "shape": [1, 48], "datatype": "FP32", "data": [0.0] * 48}
    image = data_uri(png(np.zeros((8, 8, 3), np.uint8)))
    asks: dict[str, Callable[[httpx.Client, str], httpx.Response]] = {
        "infer": lambda c, m: c.post(f"/v2/models/{m}.decode/infer", json={"inputs": [tensor]}),
        "metadata": lambda c, m: c.get(f"/v2/models/{m}"),
        "embeddings": lambda c, m: c.post("/v1/embeddings", json={"model": m, "input": image}),
        "generations": lambda c, m: c.post(
            "/v1/images/generations", json={"model": m, "prompt": "", "response_format": "b64_json"}
        ),
    }
    with serve(models=tmp_path, default="a", max_models=1) as running:
        for ask_for in asks.values():
            for name in ("b", "a"):  # each in the place of the other
                answer = ask_for(running.client, name)
                assert answer.status_code == 200, answer.text
                assert standing(running)[f"{name}@1"] == "ready"


def test_a_model_that_rests_is_ready_and_asking_wakes_nothing(serve: Serve, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_oracle(tmp_path, name=name)
    with serve(models=tmp_path, default="a", max_models=1, **KEYS) as running:

        def get(path: str) -> Any:
            answer = running.client.get("/v2/" + path)
            assert answer.status_code == 200, answer.text
            return answer.json()

        for name in ("b", "b.decode", "b/versions/1"):
            assert get(f"models/{name}/ready")["ready"] is True
            (figures,) = get(f"models/{name}/stats")["model_stats"]
            assert (figures["inference_count"], figures["batch_stats"]) == (0, [])
        assert running.client.get("/v2/models/b.dream/ready").status_code == 404
        assert {one["name"] for one in get("models/stats")["model_stats"]} >= {"a", "b.score"}
        index = {one["name"]: (one["state"], one["reason"]) for one in get("repository/index")}
        assert index["a"] == ("READY", "")
        assert (index["b.encode"][0], "a request loads it" in index["b"][1]) == ("READY", True)
        assert standing(running) == {"a@1": "ready", "b@1": "unloaded"}
        ask(running, "b/unload")  # which no request undoes
        for end in ("ready", "stats"):
            assert running.client.get(f"/v2/models/b/{end}").status_code == 503


def test_many_who_ask_for_more_models_than_there_is_room_for_all_get_answers(
    serve: Serve, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        make_oracle(tmp_path, name=name)
    with serve(models=tmp_path, default="a", max_models=1) as running:
        load = Load(running.port, tuple(f"{name}/sample" for name in "abcabc"))
        with load.running():
            load.goes_on(60)
        assert {status for _, status, _ in load.answers} == {200}, load.answers[-1]
        assert {model for _, _, model in load.answers} == {"a@1", "b@1", "c@1"}


def test_memory_for_models_is_limited_by_bytes_too(serve: Serve, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_oracle(tmp_path, name=name)
    with serve(models=tmp_path, default="a", max_model_bytes=100 * 2**20, **KEYS) as running:
        assert standing(running) == {"a@1": "ready", "b@1": "unloaded"}
        assert answering(running, "b") == "b@1"
        assert standing(running) == {"a@1": "unloaded", "b@1": "ready"}
    with serve(models=tmp_path, default="a", max_model_bytes=2**20, wait=False, **KEYS) as running:
        answer = ask(running, "a/load")
        assert answer.status_code == 422
        assert "may take 64 MiB, and of 1 MiB for all 0 are taken" in answer.json()["detail"]


def test_whoever_cannot_wait_for_a_model_is_told_to_come_back(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    open_ = Registry.open

    def slowly(registry: Registry, model: Any, bundle: Any) -> None:
        if model.name == "b":
            assert go.wait(10)
        open_(registry, model, bundle)

    for name in ("a", "b"):
        make_oracle(tmp_path, name=name)
    with serve(models=tmp_path, default="a", max_models=1, **KEYS) as running:
        monkeypatch.setattr(Registry, "open", slowly)
        headers = {"X-Deadline-Ms": "300"}
        answer = running.client.post("/v1/models/b/sample", headers=headers)
        assert (answer.status_code, answer.json()["detail"]) == (503, "model b@1 is being loaded")
        assert answer.headers["retry-after"] == "2"
        answer = running.client.post("/v1/models/b@1/load", headers=ADMIN | headers)
        assert answer.status_code == 504
        go.set()
        assert answering(running, "b") == "b@1"


def test_only_an_administrator_loads_and_unloads(serve: Serve) -> None:
    with serve() as running:
        for path in ("oracle/load", "oracle/unload"):
            answer = ask(running, path)
            assert answer.status_code == 403
            assert "no admin key is set" in answer.json()["detail"]
    with serve(api_keys=("open",), **KEYS) as running:

        def status(key: str, path: str = "oracle/load") -> int:
            headers = {"X-API-Key": key} if key else {}
            return running.client.post(f"/v1/models/{path}", headers=headers).status_code

        assert [status(key) for key in ("", "wrong", "open", "secret")] == [401, 401, 403, 200]
        assert status("secret", "oracle/sample") == 200  # it opens what the others open
        assert running.client.get("/v1/models/oracle/load", headers=ADMIN).status_code == 405
        assert status("secret", "nobody/load") == status("secret", "nobody/unload") == 404
        assert status("secret", "oracle/load?force=1") == 400


def test_two_models_share_the_machine(serve: Serve, tmp_path: Path) -> None:
    """One under load of many does not keep the other's few from their share."""
    for name in ("busy", "calm"):
        make_oracle(tmp_path, name=name, height=64, width=64)
    with serve(models=tmp_path, default="busy", threads=1) as running:
        load = Load(running.port, ("busy/sample?n=64",) * 4 + ("calm/sample?n=64",))
        with load.running():
            load.goes_on(60)
        counts = [
            sum(path.startswith(name) for path, _, _ in load.answers) for name in ("busy", "calm")
        ]
        assert {status for _, status, _ in load.answers} == {200}
        # Four callers and one, who would have a fifth of it in one line for all.
        assert counts[1] >= sum(counts) / 6
