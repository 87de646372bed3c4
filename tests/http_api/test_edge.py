"""What every answer has and every request passes: ids, keys, CORS, figures, health, models."""

import asyncio
import contextlib
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import PlainTextResponse

from oracle import make_oracle
from serving import telemetry
from serving.attendance import ClientGone, attended
from serving.deployment import Deployment
from serving.edge import Edge
from serving.errors import DeadlineExceeded, NotReady
from serving.registry import Registry
from serving.settings import Settings

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


ORIGIN = {"Origin": "https://a.example"}
PREFLIGHT = {**ORIGIN, "Access-Control-Request-Method": "POST"}
PATH = "/v1/models/default/encode"


@pytest.fixture(scope="module")
def shared(serve: Serve) -> Iterator[httpx.Client]:
    """A server that pages of https://a.example may ask, with a key."""
    with serve(cors_origins=("https://a.example",), api_keys=("k",), max_body_bytes=100) as running:
        yield running.client


def test_a_preflight_needs_no_key_and_is_an_answer_like_others(shared: httpx.Client) -> None:
    headers = {**PREFLIGHT, "Access-Control-Request-Headers": "x-api-key", "X-Request-ID": "me"}
    answer = shared.options(PATH, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert answer.headers["access-control-allow-headers"] == "x-api-key"
    assert answer.headers["x-request-id"] == "me"
    assert answer.headers["server-timing"].startswith("queue;dur=")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Origin": "https://b.example"}, "Disallowed CORS origin"),
        ({"Access-Control-Request-Method": "DELETE"}, "Disallowed CORS method"),
    ],
)
def test_a_refused_preflight_is_a_problem(
    shared: httpx.Client, change: dict[str, str], words: str
) -> None:
    answer = shared.options(PATH, headers={**PREFLIGHT, **change})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == words
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "server-timing" in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v1/models", {}, 401),
        ("GET", "/v1/models", {"X-API-Key": "k", "X-Deadline-Ms": "soon"}, 400),
        ("GET", "/nope", {"X-API-Key": "k"}, 404),
        ("GET", "/v1/models/nope", {"X-API-Key": "k"}, 404),
        ("DELETE", "/v1/models", {"X-API-Key": "k"}, 405),
        ("POST", PATH, {"X-API-Key": "k", "Content-Type": "image/png"}, 413),
    ],
)
def test_a_page_may_read_why_it_was_refused(
    shared: httpx.Client, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    content = bytes(200) if method == "POST" else None
    answer = shared.request(method, path, headers={**ORIGIN, **headers}, content=content)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"X-Request-ID", "Server-Timing", "Retry-After", "ETag"} <= set(exposed)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/models/default/sample?seed=3", {}, 200),
        ("/v1/models/default/sample?seed=3", {"Origin": "https://a.example"}, 200),
        ("/v1/models/default/sample?seed=3", {"Origin": "https://b.example"}, 200),
        ("/", {}, 200),
        ("/nope", {}, 404),
    ],
)
def test_a_cache_keeps_origins_apart(
    shared: httpx.Client, path: str, headers: dict[str, str], status: int
) -> None:
    """Or it would hand a page's script what an <img> got, without leave to read it."""
    answer = shared.get(path, headers={"X-API-Key": "k", **headers})
    assert answer.status_code == status
    varying = [one.strip() for one in answer.headers.get("vary", "").split(",")]
    assert varying.count("Origin") == 1
    assert path != "/" or "Accept" in varying
    if path.startswith("/v1"):
        again = {"X-API-Key": "k", "If-None-Match": answer.headers["etag"], **headers}
        unchanged = shared.get(path, headers=again)
        assert (unchanged.status_code, "Origin" in unchanged.headers["vary"]) == (304, True)


def test_without_origins_answers_do_not_vary_by_them(client: httpx.Client) -> None:
    assert "Origin" not in client.get("/v1/models").headers.get("vary", "")


def test_what_a_framework_says_of_our_error_keeps_the_pages_headers() -> None:
    """BentoML answers for us where its own routes fail: the true reason goes into its answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        telemetry.current().error = NotReady("not yet", retry_after=7)
        await PlainTextResponse("no", status_code=503)(scope, receive, send)

    settings = Settings(cors_origins=("https://a.example",))
    edge = Edge(app, deployment=Deployment(settings))

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(edge)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get("/readyz", headers=ORIGIN)

    answer = asyncio.run(asked())
    assert (answer.status_code, answer.json()["detail"]) == (503, "not yet")
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert answer.headers["content-length"] == str(len(answer.content))


def test_an_unforeseen_error_can_be_read_by_a_page_too(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(cors_origins=("*",)) as running:

        def broken(*args: Any, **kwargs: Any) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(running.deployment.registry, "get", broken)
        answer = running.client.get("/v1/models/oracle", headers=ORIGIN)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (500, "*")


def test_pages_of_other_origins_may_read_nothing(shared: httpx.Client) -> None:
    for path in ("/livez", "/v1/models"):
        stranger = shared.get(path, headers={"Origin": "https://b.example"})
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

    def slowly(registry: Registry, model: Any, slot: int) -> None:
        assert go.wait(10)
        load(registry, model, slot)

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
        path = "/v1/models/a%0AERROR%20of%20a%20stranger"
        answer = running.client.get(path, headers={"X-Request-ID": "me"})
    assert answer.status_code == 500
    assert f"me: GET {path} failed" in caplog.text  # in one line
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == "me"
    assert "inner parts" not in answer.text
    assert "inner parts" in caplog.text


def test_a_deadline_ends_the_work_and_another_cancellation_is_not_swallowed() -> None:
    async def late() -> None:
        async with attended(None, time.monotonic() + 0.05):
            await asyncio.sleep(10)

    async def scenario() -> None:
        with pytest.raises(DeadlineExceeded):
            await late()
        work = asyncio.create_task(late())
        await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(scenario())


@pytest.mark.parametrize("seconds", [10, 0])
def test_work_of_a_client_that_left_ends_and_no_cancellation_strikes_later(seconds: float) -> None:
    async def scenario() -> None:
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def work() -> None:
            async with attended(receive, time.monotonic() + 20):
                await asyncio.sleep(0.1)  # long enough to be watched
                gone.set()
                await asyncio.sleep(seconds)  # 0: the watcher strikes as the work ends

        with contextlib.suppress(ClientGone):
            await work()
            assert seconds == 0
        await asyncio.sleep(0.01)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(scenario())
