"""The same service under `bentoml serve`, asked by BentoML's own client and by ours."""

import base64
import io
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from bentoml.exceptions import BentoMLException
from PIL import Image

from oracle import oracle_decode, oracle_encode, oracle_reconstruct, oracle_score
from server_process import free_port
from serving import latents as latent_space

ROOT = Path(__file__).resolve().parents[2]
IMAGES = np.random.default_rng(3).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
CODES = oracle_encode(IMAGES)


def uri(image: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


URIS = [uri(image) for image in IMAGES]


def pixels(uris: list[str]) -> Any:
    files = [io.BytesIO(base64.b64decode(one.partition(",")[2])) for one in uris]
    return np.stack([np.asarray(Image.open(file)) for file in files])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bentoml") / "log"


@pytest.fixture(scope="module")
def url(models: Path, log: Path) -> Iterator[str]:
    """A server as BentoML starts it from the project's root, with its settings in BIJECT_*."""
    port = free_port()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env={
                **os.environ,
                "BIJECT_MODELS": str(models),
                "BIJECT_DEFAULT": "oracle",
                "BIJECT_MAX_BODY_BYTES": "1000000",
                "BENTOML_DO_NOT_TRACK": "True",
            },
            stdout=file,
            stderr=file,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, url, log)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url + "/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bentoml's own imports use what pydantic is giving up
        from bentoml import SyncHTTPClient
    with SyncHTTPClient(url) as client:
        yield client
        client._temp_dir.cleanup()  # bentoml leaves it to the garbage collector, which complains


def test_the_typed_methods_give_what_numpy_gives(client: Any) -> None:
    encoded = client.encode(images=URIS)
    np.testing.assert_allclose(encoded["latents"], CODES, atol=1e-5)
    assert encoded["usage"]["device"] == "cpu"
    packed = client.encode(images=URIS, encoding_format="base64")["latents"]
    np.testing.assert_allclose(
        np.frombuffer(base64.b64decode(packed[1]), "<f4"), CODES[1], atol=1e-5
    )
    made = client.decode(latents=CODES.tolist())["images"]
    np.testing.assert_array_equal(pixels(made), oracle_decode(CODES))
    back = client.reconstruct(images=URIS, model="oracle@1")
    np.testing.assert_array_equal(pixels(back["images"]), oracle_reconstruct(IMAGES))
    scored = client.score(images=URIS, by="l2", heatmap="map")
    np.testing.assert_allclose(
        [one["score"] for one in scored["results"]], oracle_score(IMAGES).terms[:, 1], atol=1e-6
    )
    assert scored["results"][0]["heatmap"].startswith("data:image/png;base64,")
    morph = client.interpolate(images=URIS, frames=4)["images"]
    assert np.abs(pixels(morph).astype(int) - oracle_decode(latent_space.path(CODES, 4))).max() <= 1
    exact = client.interpolate(images=URIS, frames=4, exact=True)["images"]
    np.testing.assert_array_equal(pixels([exact[0], exact[-1]]), IMAGES)
    refined = client.reconstruct(images=URIS, refine=2)
    assert len(refined["steps"]) == 2
    drawn = client.sample(n=2, seed=5)
    wanted = oracle_decode(latent_space.sample(5, 2, 48, "normal"))
    np.testing.assert_array_equal(pixels(drawn["images"]), wanted)
    varied = client.vary(images=URIS[:1], n=2, seed=5)
    assert (varied["seed"], len(varied["images"])) == (5, 2)


def test_a_typed_call_is_refused_as_any_other(client: Any) -> None:
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: client.encode(images=[URIS[0], "!!"]), '"index":1'),
        (lambda: client.encode(images=["http://127.0.0.1/a.png"]), "never fetched"),
        (lambda: client.encode(images=URIS, model="nope"), "there is: grey, oracle"),
        (lambda: client.sample(n=0), "n must be at least 1"),
        (lambda: client.score(images=URIS, by="magic"), "l1, l2, l2s, cycle"),
    ]
    for call, words in calls:
        with pytest.raises(BentoMLException, match="request_id") as caught:
            call()
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/encode", b"{}", 400, "images"),
        ("POST", "/encode", b'{"images": 3}', 400, "images"),
        ("POST", "/sample", b'{"n": "many"}', 400, "n"),
        ("POST", "/encode", b"{", 400, ""),
        (
            "POST",
            "/sample",
            b'{"n": 1, "seed": 1, "seed": 2}',
            400,
            "parameter seed is given twice",
        ),
        ("POST", "/sample", b'{"n": 1, "\\u006e": 2}', 400, "parameter n is given twice"),
        ("GET", "/encode", b"", 405, "GET"),
        ("GET", "/nope", b"", 404, "/nope"),
        ("POST", "/v1/models/default/dream", b"", 404, "dream"),
        ("GET", "/v1/models/default/encode", b"", 405, "GET"),
        ("POST", "/encode", bytes(1_500_000), 413, "1,000,000 bytes"),
    ],
)
def test_every_route_has_our_errors(
    url: str, method: str, path: str, body: bytes, status: int, words: str
) -> None:
    headers = {"Content-Type": "application/json", "X-Request-ID": "me"}
    answer = httpx.request(method, url + path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "me"
    assert words in answer.json()["detail"]


def test_chunked_bodies_are_limited_on_bentomls_routes_too(url: str) -> None:
    pieces = (bytes(100_000) for _ in range(20))
    answer = httpx.post(url + "/encode", content=pieces)
    assert (answer.status_code, "1,000,000" in answer.json()["detail"]) == (413, True)


def test_the_mounted_routes_are_the_same(url: str) -> None:
    answer = httpx.post(
        url + "/v1/models/default/reconstruct",
        files=[("images", ("a.png", base64.b64decode(one.partition(",")[2]))) for one in URIS],
        headers={"Accept": "application/zip"},
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert "queue;dur=" in answer.headers["server-timing"]
    assert "/v1/models" in httpx.get(url + "/").text
    text = httpx.get(url + "/metrics").text
    assert 'biject_requests_total{model="oracle",status="200",verb="reconstruct"}' in text


def test_the_schema_knows_the_typed_methods_and_no_files(url: str) -> None:
    routes = {one["name"]: one for one in httpx.get(url + "/schema.json").json()["routes"]}
    assert {"encode", "decode", "reconstruct", "score", "interpolate", "sample", "vary"} <= set(
        routes
    )
    assert '"file"' not in str(routes).replace("'", '"')
    assert "/encode" in httpx.get(url + "/docs.json").json()["paths"]


def test_it_warns_that_anybody_may_ask(url: str, log: Path) -> None:
    said = "anybody who reaches this server may ask: BIJECT_API_KEYS is not set"
    assert log.read_text().count(said) == 1


def test_the_document_covers_both(url: str) -> None:
    paths = httpx.get(url + "/openapi.json").json()["paths"]
    assert {
        "/encode",
        "/schema.json",
        "/docs.json",
        "/v1/models/{model}/encode",
        "/docs",
    } <= paths.keys()
    body = paths["/reconstruct"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"images", "refine", "label", "labels", "model"}
    assert "<script>" in httpx.get(url + "/docs").text


@pytest.mark.parametrize("path", ["/encode", "/sample", "/decode"])
@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.bentoml+pickle",
        "multipart/form-data",
        "multipart/form-data; boundary=b",
        "application/x-www-form-urlencoded",
        "image/png",
        "",
    ],
)
def test_typed_methods_take_json_alone(url: str, log: Path, path: str, kind: str) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="images"\r\n\r\n\x89PNG\r\n--b--\r\n'
    answer = httpx.post(url + path, content=form, headers={"Content-Type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/problem+json")
    assert f"{path} takes application/json" in answer.json()["detail"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "Application/JSON; charset=utf-8"}])
def test_json_may_be_called_so_or_not_at_all(url: str, headers: dict[str, str]) -> None:
    answer = httpx.post(url + "/sample", content=b'{"seed": 5}', headers=headers)
    assert (answer.status_code, answer.json()["seed"]) == (200, 5)
    assert httpx.post(url + "/sample", headers=headers).status_code == 200  # nothing is {}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/encode", ["encoding_format"]),
        ("/reconstruct", ["refine"]),
        ("/score", ["by", "fpr", "heatmap", "tile", "stride", "roi"]),
        ("/interpolate", ["frames", "path", "exact"]),
        ("/sample", ["n", "seed", "truncation"]),
        ("/vary", ["n", "strength", "seed"]),
    ],
)
def test_null_means_the_default_of_any_parameter(url: str, path: str, names: list[str]) -> None:
    given = {"/sample": {}, "/vary": {"images": URIS[:1]}}.get(path, {"images": URIS})
    nulls = httpx.post(url + path, json={**given, **dict.fromkeys(names)})
    assert nulls.status_code == 200, nulls.text
    plain = httpx.post(url + path, json=given).json()
    assert nulls.json()["usage"]["images"] == plain["usage"]["images"]
    if "seed" not in names:
        column = {"/encode": "latents", "/score": "results"}.get(path, "images")
        assert nulls.json()[column] == plain[column]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (
            "/sample",
            {"bogus": 1},
            "unknown parameter 'bogus'; known: n, seed, truncation, label, labels, model",
        ),
        ("/sample", {"n": "many", "sed": 5}, "unknown parameter 'sed'; known: n, seed"),
        (
            "/encode",
            {"image": "x"},
            "'image'; known: images, encoding_format, label, labels, model",
        ),
        ("/interpolate", {"images": URIS, "fps": 5}, "'fps'; known: images, frames, path, exact"),
        ("/sample?seed=5", {}, "/sample takes no query; known in its JSON: n, seed, truncation"),
    ],
)
def test_typed_methods_refuse_what_they_do_not_know(
    url: str, log: Path, path: str, body: dict[str, Any], words: str
) -> None:
    answer = httpx.post(url + path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert words in answer.json()["detail"]
    assert "Traceback" not in log.read_text()


def test_the_log_has_no_tracebacks_for_a_clients_mistakes(url: str, log: Path) -> None:
    httpx.post(url + "/encode", json={"images": 3})
    httpx.post(url + "/encode", content=(bytes(100_000) for _ in range(20)))
    time.sleep(0.1)
    assert "Traceback" not in log.read_text()
