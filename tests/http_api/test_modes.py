"""The same answers in front of BentoML and without it, from real processes."""

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from files import png
from oracle import oracle_decode, oracle_encode, oracle_reconstruct, oracle_score
from server_process import MODES, Running, running, until
from serving import latents as latent_space

V = "/v1/models/default/"
NPY = {"Content-Type": "application/x-npy"}
IMAGES = np.random.default_rng(7).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
CODES = oracle_encode(IMAGES)
KEY = {"X-API-Key": "sesame"}


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def un_npy(answer: httpx.Response) -> Any:
    assert answer.headers["content-type"] == "application/x-npy", answer.text
    return np.load(io.BytesIO(answer.content))


@pytest.fixture(scope="module", params=MODES)
def server(
    request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    log = tmp_path_factory.mktemp(request.param) / "log"
    options = ["--api-keys", "sesame", "--max-body-bytes", "1000000", "--deadline-ms", "5000"]
    options += ["--cors-origins", "https://a.example", "--access-log", "--log", "json"]
    with running(request.param, models, log, *options) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers=KEY, timeout=20) as client:
        yield client


def test_every_verb_gives_what_numpy_gives(client: httpx.Client) -> None:
    def asked(verb: str, body: Any = IMAGES) -> Any:
        headers = {**NPY, "Accept": "application/x-npy"}
        return un_npy(client.post(V + verb, content=npy(body), headers=headers))

    np.testing.assert_allclose(asked("encode"), CODES, atol=1e-5)
    np.testing.assert_array_equal(asked("decode", CODES), oracle_decode(CODES))
    np.testing.assert_array_equal(asked("reconstruct"), oracle_reconstruct(IMAGES))
    np.testing.assert_allclose(asked("score"), oracle_score(IMAGES).terms[:, 0], atol=1e-6)
    path = oracle_decode(latent_space.path(CODES, 4))
    assert np.abs(asked("interpolate?frames=4").astype(int) - path).max() <= 1
    assert asked("vary?n=3&seed=1", IMAGES[:1]).shape == (3, 8, 8, 3)
    answer = client.get(V + "sample?n=2&seed=5", headers={"Accept": "application/x-npy"})
    drawn = oracle_decode(latent_space.sample(5, 2, 48, "normal"))
    np.testing.assert_array_equal(un_npy(answer), drawn)


def test_every_way_in_and_json_out(client: httpx.Client) -> None:
    uri = "data:image/png;base64," + base64.b64encode(png(IMAGES[0])).decode()
    for sent in (
        {"content": png(IMAGES[0]), "headers": {"Content-Type": "image/png"}},
        {"json": {"images": [uri]}},
        {"files": [("images", ("a.png", png(IMAGES[0])))]},
    ):
        document = client.post(V + "encode", **sent).json()
        np.testing.assert_allclose(document["latents"], CODES[:1], atol=1e-5)
        assert document["model"] == "oracle@1"
        assert document["usage"]["device"] == "cpu"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/nope", b"", 404, "/nope"),
        ("GET", V + "encode", b"", 405, "GET"),
        ("DELETE", "/v1/models", b"", 405, "DELETE"),
        ("POST", V + "dream", b"", 404, "dream"),
        ("POST", "/v1/models/nope/encode", b"", 404, "there is: grey, oracle"),
        ("POST", V + "encode?a=1", npy(IMAGES), 400, "known: encoding_format"),
        ("POST", V + "encode", b"?", 400, "no npy file"),
        ("POST", V + "encode", npy(IMAGES[:, 1:]), 422, "uint8 [N, 8, 8, 3]"),
        ("POST", V + "sample", b"?", 415, "application/json"),
        ("POST", V + "sample?n=0", b"", 422, "n must be at least 1"),
    ],
)
def test_errors_are_problems(
    client: httpx.Client, method: str, path: str, body: bytes, status: int, words: str
) -> None:
    headers = {**NPY, "X-Request-ID": "me"}
    answer = client.request(method, path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "me"


def test_limits_keys_deadlines_and_pages(client: httpx.Client, server: Running) -> None:
    assert httpx.get(server.url + "/v1/models").status_code == 401
    answer = client.post(V + "encode", content=bytes(1_500_000), headers=NPY)
    assert (answer.status_code, "1,000,000 bytes" in answer.json()["detail"]) == (413, True)
    pieces = (bytes(100_000) for _ in range(20))
    assert client.post(V + "encode", content=pieces, headers=NPY).status_code == 413
    answer = client.get("/v1/models", headers={"X-Deadline-Ms": "soon"})
    assert (answer.status_code, "X-Deadline-Ms" in answer.json()["detail"]) == (400, True)
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(server.url + V + "encode", headers=preflight)
    assert answer.headers["access-control-allow-origin"] == "https://a.example"


def test_health_figures_and_what_every_answer_has(client: httpx.Client, server: Running) -> None:
    for path in ("/livez", "/readyz", "/healthz", "/"):
        answer = httpx.get(server.url + path)
        assert answer.status_code == 200
        assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])
        assert answer.headers["server-timing"].startswith("queue;dur=")
        assert "server" not in answer.headers
    client.post(V + "sample?n=2")
    text = client.get("/metrics").text
    assert 'biject_requests_total{model="oracle",status="200",verb="sample"}' in text
    assert 'biject_model_ready{device="cpu",model="grey",version="2"} 1.0' in text
    assert "bentoml" not in text


def test_each_request_is_a_line_without_keys_or_queries(
    client: httpx.Client, server: Running
) -> None:
    client.post(V + "sample?seed=424242", headers={"X-Request-ID": "the-one"})
    client.get("/a%0Ab%22?key=sesame", headers={"X-Request-ID": "the-other"})
    until(lambda: "the-other" in server.log.read_text(), 5)  # written once the answer is out
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line[0] == "{"]
    by_id = {line["request_id"]: line for line in lines if line["logger"] == "biject.access"}
    line = by_id["the-one"]
    assert (line["method"], line["path"], line["status"]) == ("POST", V + "sample", 200)
    assert (line["model"], line["verb"], line["ms"] > 0) == ("oracle", "sample", True)
    assert (by_id["the-other"]["status"], by_id["the-other"]["path"]) == (404, "/a%0Ab%22")
    assert [word for word in ("sesame", "424242") if word in server.log.read_text()] == []
