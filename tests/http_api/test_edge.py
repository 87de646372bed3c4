"""What every answer has and every request passes: ids, keys, CORS, figures, health, models."""

import asyncio
import contextlib
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from oracle import make_oracle
from serving.attendance import ClientGone, attended
from serving.registry import Registry

Serve = Callable[..., Any]


@pytest.mark.parametrize("given", ["abc-1", "A.b_c-9", "x" * 128])
def test_a_request_keeps_its_id(client: httpx.Client, given: str) -> None:
    for path in ("/v1/models", "/nope", "/readyz"):
        assert client.get(path, headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "<script>", "a\tb"])
def test_without_a_decent_id_it_gets_one(client: httpx.Client, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given}
    ids = {client.get("/livez", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch(r"[0-9a-f]{16}", one) for one in ids)


def test_times_are_told(client: httpx.Client) -> None:
    answer = client.post("/v1/models/default/sample")
    timing = re.fullmatch(
        r"queue;dur=([\d.]+), compute;dur=([\d.]+)", answer.headers["server-timing"]
    )
    assert timing is not None
    assert float(timing[2]) == pytest.approx(answer.json()["usage"]["compute_ms"], abs=0.01)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer second"}, 200),
        ({"authorization": "bearer first"}, 200),
        ({"X-API-Key": "first"}, 200),
        ({"X-API-Key": "third"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Basic first"}, 401),
        ({"Authorization": "first"}, 401),
        ({"X-API-Key": "wrong", "Authorization": "Bearer first"}, 401),
    ],
)
def test_keys(serve: Serve, headers: dict[str, str], status: int) -> None:
    with serve(api_keys=("first", "second")) as running:
        for path in ("/v1/models", "/metrics"):
            answer = running.client.get(path, headers=headers)
            assert answer.status_code == status
            if status == 401:
                assert answer.headers["www-authenticate"] == "Bearer"
                assert answer.headers["content-type"] == "application/problem+json"
        assert running.client.get("/nope", headers=headers).status_code in (401, 404)
        for path in ("/", "/livez", "/readyz"):  # probes have no keys
            assert running.client.get(path).status_code == 200


def test_browsers_of_named_origins_may_ask(serve: Serve) -> None:
    with serve(cors_origins=("https://a.example",), api_keys=("k",)) as running:
        asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
        preflight = running.client.options("/v1/models/default/encode", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://a.example"
        refused = running.client.get("/v1/models", headers={"Origin": "https://a.example"})
        assert refused.status_code == 401  # and the page may read why
        assert refused.headers["access-control-allow-origin"] == "https://a.example"
        stranger = running.client.get("/livez", headers={"Origin": "https://b.example"})
        assert "access-control-allow-origin" not in stranger.headers


def test_without_origins_no_page_may_ask(client: httpx.Client) -> None:
    answer = client.get("/v1/models", headers={"Origin": "https://a.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_figures_are_prometheus_own_and_name_no_paths(serve: Serve) -> None:
    with serve() as running:
        running.client.post("/v1/models/default/sample?n=3")
        running.client.get("/secret/path")
        running.client.post("/v1/models/nobody/encode")
        text = running.client.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    labels = [sample.labels for sample in families["biject_requests"].samples]
    assert {"model": "oracle", "verb": "sample", "status": "200"} in labels
    assert "secret" not in text
    assert "nobody" not in text
    (rows,) = [
        sample.value
        for sample in families["biject_batch_rows"].samples
        if sample.name.endswith("_sum") and sample.labels["graph"] == "decode"
    ]
    assert rows == 3
    ready = {tuple(sample.labels.items()) for sample in families["biject_model_ready"].samples}
    assert (("device", "cpu"), ("model", "oracle"), ("version", "1")) in {
        tuple(sorted(one)) for one in ready
    }


def test_the_models_are_listed_as_openai_does(client: httpx.Client) -> None:
    document = client.get("/v1/models").json()
    assert document["object"] == "list"
    grey, oracle = document["data"]
    assert (oracle["id"], oracle["object"], oracle["owned_by"]) == ("oracle", "model", "biject")
    assert isinstance(oracle["created"], int)
    assert (oracle["state"], oracle["device"]) == ("ready", "cpu")
    assert [one["version"] for one in grey["versions"]] == [1, 2]


@pytest.mark.parametrize("ref", ["oracle", "oracle@1", "default"])
def test_a_model_tells_its_manifest(client: httpx.Client, ref: str) -> None:
    document = client.get(f"/v1/models/{ref}").json()
    assert document["image"] == {"height": 8, "width": 8, "channels": 3}
    assert document["latent"] == {"size": 48, "prior": "normal"}
    assert document["score"]["calibration"] == {"source": "by hand", "count": 99}
    assert (document["state"], document["device"]) == ("ready", "cpu")
    assert (document["name"], document["version"]) == ("oracle", 1)


def test_the_newest_version_answers_for_the_name(client: httpx.Client) -> None:
    assert client.get("/v1/models/grey").json()["version"] == 2
    assert client.post("/v1/models/grey/sample").json()["model"] == "grey@2"
    assert client.post("/v1/models/grey@1/sample").json()["model"] == "grey@1"


def test_the_default_is_the_first_by_name_unless_told(serve: Serve) -> None:
    with serve(default=None) as running:
        assert running.client.get("/v1/models/default").json()["name"] == "grey"
    with serve(default="grey@1") as running:
        assert running.client.get("/v1/models/default").json()["version"] == 1
    with serve(default="gone") as running:
        answer = running.client.get("/v1/models/default")
        assert (answer.status_code, "(the default)" in answer.json()["detail"]) == (404, True)


def test_one_bundle_is_a_model_folder_too(serve: Serve, models: Path) -> None:
    with serve(models=models / "grey" / "2") as running:
        document = running.client.get("/v1/models").json()
        assert [(one["id"], one["version"]) for one in document["data"]] == [("grey", 2)]


def test_a_damaged_bundle_never_stands_for_a_good_one(serve: Serve, tmp_path: Path) -> None:
    make_oracle(tmp_path)
    broken = make_oracle(tmp_path, version=2)
    (broken / "score.onnx").write_bytes(b"nonsense")
    with serve(models=tmp_path) as running:
        assert running.client.get("/readyz").status_code == 200
        assert running.client.post("/v1/models/oracle/sample").json()["model"] == "oracle@1"
        (listed,) = running.client.get("/v1/models").json()["data"]
        assert (listed["version"], listed["state"]) == (1, "ready")
        good, bad = listed["versions"]
        assert (good["state"], bad["state"]) == ("ready", "failed")
        assert "score.onnx" in bad["reason"]
        answer = running.client.post("/v1/models/oracle@2/sample")
        assert answer.status_code == 503
        assert "score.onnx" in answer.json()["detail"]
        assert running.client.get("/v1/models/oracle@2").json()["state"] == "failed"


def test_with_nothing_to_serve_it_lives_and_is_not_ready(serve: Serve, tmp_path: Path) -> None:
    for folder, words in ((tmp_path, "no bundle"), (tmp_path / "gone", "not a directory")):
        with serve(models=folder, wait=False) as running:
            running.deployment.registry.load()
            assert running.client.get("/livez").status_code == 200
            for path in ("/readyz", "/v1/models/default"):
                answer = running.client.get(path)
                assert answer.status_code == 503
                assert answer.headers["content-type"] == "application/problem+json"
                assert words in answer.json()["detail"]
                assert int(answer.headers["retry-after"]) >= 1
            assert running.client.get("/v1/models").json()["data"] == []


def test_only_broken_bundles_are_not_ready(serve: Serve, tmp_path: Path) -> None:
    shutil.rmtree(make_oracle(tmp_path) / "..", ignore_errors=True)
    broken = make_oracle(tmp_path)
    (broken / "encode.onnx").unlink()
    with serve(models=tmp_path, wait=False) as running:
        running.deployment.registry.load()
        answer = running.client.get("/readyz")
        assert (answer.status_code, "encode.onnx" in answer.json()["detail"]) == (503, True)


def test_it_is_not_ready_before_all_is_warm(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    load = Registry._load

    def slowly(registry: Registry, model: Any) -> None:
        assert go.wait(10)
        load(registry, model)

    monkeypatch.setattr(Registry, "_load", slowly)
    with serve(wait=False) as running:
        try:
            assert running.client.get("/livez").status_code == 200
            answer = running.client.get("/readyz")
            assert (answer.status_code, "loading" in answer.json()["detail"]) == (503, True)
            assert running.client.post("/v1/models/oracle/sample").status_code == 503
        finally:
            go.set()


def test_the_index_says_where_to_go(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "/v1/models" in answer.text


def test_an_error_nobody_foresaw_is_a_problem_without_its_inner_parts(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serve() as running:

        def broken(*args: Any, **kwargs: Any) -> None:
            raise ZeroDivisionError("inner parts")

        monkeypatch.setattr(running.deployment.registry, "get", broken)
        answer = running.client.get("/v1/models/oracle", headers={"X-Request-ID": "me"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == "me"
    assert "inner parts" not in answer.text
    assert "inner parts" in caplog.text


@pytest.mark.parametrize("seconds", [10, 0])
def test_work_of_a_client_that_left_ends_and_no_cancellation_strikes_later(seconds: float) -> None:
    async def scenario() -> None:
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def work() -> None:
            async with attended(receive, time.monotonic() + 20):
                gone.set()
                await asyncio.sleep(seconds)  # 0: the watcher strikes as the work ends

        with contextlib.suppress(ClientGone):
            await work()
            assert seconds == 0
        await asyncio.sleep(0.01)

    asyncio.run(scenario())
