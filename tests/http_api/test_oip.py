"""The Open Inference Protocol as it is on the wire, against the oracle and our own dialect."""

import base64
import gzip
import json
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from files import png
from oracle import make_oracle, oracle_decode, oracle_encode, oracle_score
from serving.bundle import GraphInfo, TensorInfo
from serving.errors import TooLarge
from serving.routes import codings, tensors

Array = np.ndarray[Any, Any]
IMAGES = np.random.default_rng(12).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
CODES = oracle_encode(IMAGES)
INFER = "/v2/models/oracle/infer"
PIXELS: dict[str, Any] = {"name": "images", "shape": [3, 8, 8, 3], "datatype": "UINT8"}


URIS = ["data:image/png;base64," + base64.b64encode(png(image)).decode() for image in IMAGES]


def asked(images: Array = IMAGES, **changes: Any) -> dict[str, Any]:
    """A request with JSON data."""
    tensor = {**PIXELS, "shape": list(images.shape), "data": images.ravel().tolist(), **changes}
    return {"inputs": [{key: value for key, value in tensor.items() if value is not ...}]}


def binary(document: dict[str, Any], *tensors: bytes) -> dict[str, Any]:
    """The arguments of a POST of JSON with tensors behind it."""
    said = json.dumps(document).encode()
    headers = {
        "Inference-Header-Content-Length": str(len(said)),
        "Content-Type": "application/octet-stream",
    }
    return {"content": said + b"".join(tensors), "headers": headers}


def sized(size: int, **changes: Any) -> dict[str, Any]:
    """A request whose one input lies behind the JSON."""
    parameters = {"binary_data_size": size}
    return {"inputs": [{**PIXELS, "parameters": parameters, **changes}]}


def post(client: httpx.Client, path: str = INFER, **sent: Any) -> httpx.Response:
    answer = client.post(path, **sent)
    assert answer.status_code == 200, answer.text
    return answer


def floats(output: dict[str, Any]) -> Array:
    return np.array(output["data"], np.float32).reshape(output["shape"])


@pytest.mark.parametrize("nested", [True, False])
def test_tensors_in_json(client: httpx.Client, nested: bool) -> None:
    data = IMAGES.tolist() if nested else IMAGES.ravel().tolist()
    answer = post(client, json={"id": "a 1", **asked(data=data)})
    assert answer.headers["content-type"] == "application/json"
    assert "inference-header-content-length" not in answer.headers
    document = answer.json()
    (output,) = document.pop("outputs")
    assert document == {"model_name": "oracle", "model_version": "1", "id": "a 1"}
    assert (output["name"], output["datatype"]) == ("latents", "FP32")
    native = client.post("/v1/models/oracle/encode", json={"images": URIS}).json()
    np.testing.assert_array_equal(floats(output), np.array(native["latents"], np.float32))
    np.testing.assert_allclose(floats(output), CODES, atol=1e-5)


def test_binary_tensors_both_ways(client: httpx.Client) -> None:
    document = {**sized(IMAGES.nbytes), "parameters": {"binary_data_output": True}}
    answer = post(client, "/v2/models/oracle.score/infer", **binary(document, IMAGES.tobytes()))
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    said, rest = json.loads(answer.content[:length]), answer.content[length:]
    assert "id" not in said
    assert [output["name"] for output in said["outputs"]] == ["terms", "heat"]
    assert all("data" not in output for output in said["outputs"])
    wanted = oracle_score(IMAGES)
    for output, array in zip(said["outputs"], (wanted.terms, wanted.heat), strict=True):
        size = output["parameters"]["binary_data_size"]
        found = np.frombuffer(rest[:size], "<f4").reshape(output["shape"])
        np.testing.assert_allclose(found, array, atol=1e-6)
        rest = rest[size:]
    assert rest == b""


@pytest.mark.parametrize("before", range(8))
def test_floats_that_lie_across_boundaries(client: httpx.Client, before: int) -> None:
    tensor = {"name": "latents", "shape": [3, 48], "datatype": "FP32"}
    document = {
        "id": "x" * before,
        "inputs": [{**tensor, "parameters": {"binary_data_size": CODES.nbytes}}],
    }
    sent = binary(document, CODES.tobytes())
    (output,) = post(client, "/v2/models/oracle.decode/infer", **sent).json()["outputs"]
    assert output["datatype"] == "UINT8"
    made = np.array(output["data"]).reshape(output["shape"])
    assert np.abs(made - oracle_decode(CODES)).max() <= 1


@pytest.mark.parametrize("before", range(4))
def test_binary_tensors_are_read_where_they_lie(before: int) -> None:
    tensor = TensorInfo(name="z", dtype="float32", shape=("N", 2))
    graph = GraphInfo(file="", sha256="", inputs=(tensor,), outputs=())
    parameters = {"binary_data_size": 16}
    given = {"name": "z", "shape": [2, 2], "datatype": "FP32", "parameters": parameters}
    said = json.dumps({"id": "x" * before, "inputs": [given]}).encode()
    body = said + np.arange(4, dtype="<f4").tobytes()
    (array,) = tensors.parse(body, len(said), graph, max_rows=2).inputs
    assert isinstance(array, np.ndarray)
    assert array.tolist() == [[0, 1], [2, 3]]
    assert array.flags.aligned  # or it would be slow, and on some machines not work at all
    whole = np.frombuffer(body, np.uint8)
    fits = (whole.ctypes.data + len(said)) % 4 == 0
    assert np.shares_memory(array, whole) == fits


def test_no_more_is_unpacked_than_is_allowed() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(TooLarge):
        codings.decoded(bomb, "gzip", limit=100_000)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2_000_000


def test_outputs_are_chosen_in_the_order_asked_for(client: httpx.Client) -> None:
    wanted = [
        {"name": "reconstructions", "parameters": {"binary_data": True}},
        {"name": "latents"},
    ]
    sent = {"json": {**asked(), "outputs": wanted}}
    answer = post(client, "/v2/models/oracle.reconstruct/infer", **sent)
    length = int(answer.headers["inference-header-content-length"])
    images, latents = json.loads(answer.content[:length])["outputs"]
    assert (images["name"], latents["name"]) == ("reconstructions", "latents")
    np.testing.assert_allclose(floats(latents), CODES, atol=1e-5)
    made = np.frombuffer(answer.content[length:], np.uint8).reshape(images["shape"])
    assert np.abs(made.astype(int) - oracle_decode(CODES)).max() <= 1
    sent = {"json": {**asked(), "outputs": wanted[1:]}}
    (only,) = post(client, "/v2/models/oracle.reconstruct/infer", **sent).json()["outputs"]
    assert only["name"] == "latents"


def test_images_as_files(client: httpx.Client) -> None:
    files = [png(image) for image in IMAGES]
    data = b"".join(struct.pack("<I", len(file)) + file for file in files)
    sent = binary(sized(len(data), datatype="BYTES", shape=[3]), data)
    (output,) = post(client, **sent).json()["outputs"]
    np.testing.assert_allclose(floats(output), CODES, atol=1e-5)
    texts = asked(datatype="BYTES", shape=[3, 1], data=URIS)
    (output,) = post(client, json=texts).json()["outputs"]
    np.testing.assert_allclose(floats(output), CODES, atol=1e-5)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_codings_both_ways(client: httpx.Client, coding: str) -> None:
    sent = binary(
        {**sized(IMAGES.nbytes), "parameters": {"binary_data_output": True}}, bytes(IMAGES)
    )
    pack = gzip.compress if coding == "gzip" else zlib.compress
    headers = {**sent["headers"], "Content-Encoding": coding, "Accept-Encoding": coding}
    with client.stream("POST", INFER, content=pack(sent["content"]), headers=headers) as answer:
        raw = b"".join(answer.iter_raw())
    assert (answer.status_code, answer.headers["content-encoding"]) == (200, coding)
    body = gzip.decompress(raw) if coding == "gzip" else zlib.decompress(raw)
    length = int(answer.headers["inference-header-content-length"])  # of what was packed
    found = np.frombuffer(body[length:], "<f4").reshape(
        json.loads(body[:length])["outputs"][0]["shape"]
    )
    np.testing.assert_allclose(found, CODES, atol=1e-5)


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("identity", None),
        ("br", None),
        ("gzip;q=0, deflate;q=0.0", None),
        ("*", None),
        ("br, deflate;q=0.5", "deflate"),
        ("deflate, gzip", "gzip"),
        ("gzip; q=0.2", "gzip"),
    ],
)
def test_the_coding_of_an_answer(client: httpx.Client, accept: str, coding: str | None) -> None:
    answer = post(client, json=asked(), headers={"Accept-Encoding": accept})
    assert answer.headers.get("content-encoding") == coding


def test_a_body_may_not_grow_beyond_the_limit(serve: Any) -> None:
    with serve(max_body_bytes=100_000) as running:
        bomb = gzip.compress(bytes(50_000_000))
        assert len(bomb) < 100_000
        answer = running.client.post(INFER, content=bomb, headers=GZIP)
        assert refusal(answer, 413) == (
            "the body may have at most 100,000 bytes, this has more once decoded"
        )
        document = json.dumps(asked()).encode()
        fits = gzip.compress(document + b" " * (100_000 - len(document)))
        post(running.client, content=fits, headers=GZIP)
        over = gzip.compress(document + b" " * (100_001 - len(document)))
        refusal(running.client.post(INFER, content=over, headers=GZIP), 413)
        answer = running.client.post(INFER, content=bytes(100_001))
        assert "100,000 bytes" in refusal(answer, 413)


def refusal(answer: httpx.Response, status: int) -> str:
    """The one thing that an error says."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    text: str = answer.json()["error"]
    assert text
    return text


GZIP = {"Content-Encoding": "gzip"}
FULL = {"inputs": [{**PIXELS, "data": IMAGES.tolist()}]}
RAGGED = IMAGES.tolist()
RAGGED[1][2] = RAGGED[1][2][:-1]


@pytest.mark.parametrize(
    ("document", "status", "said"),
    [
        ([], 400, "the JSON: expected `object`, got `array`"),
        ({}, 400, "missing required field `inputs`"),
        ({"inputs": []}, 400, "input images is missing"),
        ({"inputs": [7]}, 400, "inputs[0]: expected `object`, got `int`"),
        ({**FULL, "id": 7}, 400, "id: expected `str | null`, got `int`"),
        ({**FULL, "parameters": []}, 400, "parameters: expected `object`"),
        ({**FULL, "parameters": {"timeout": "1"}}, 400, "parameters.timeout: expected `int"),
        ({**FULL, "parameters": {"timeout": -1}}, 400, "microseconds"),
        ({**FULL, "parameters": {"sequence_id": 3}}, 400, "sequences"),
        ({**FULL, "parameters": {"binary_data_output": 1}}, 400, "output: expected `bool`"),
        ({"inputs": FULL["inputs"] * 2}, 400, "given twice"),
        (asked(name="pixels"), 400, "no input 'pixels'; there is: images"),
        (asked(name=...), 400, "inputs[0]: object missing required field `name`"),
        (asked(datatype="FP32"), 422, "must be UINT8, got FP32"),
        (asked(datatype=...), 400, "missing required field `datatype`"),
        (asked(datatype="FP16"), 422, "must be UINT8, got FP16"),
        (asked(shape=...), 400, "missing required field `shape`"),
        (asked(shape=[3, 8.5]), 400, "inputs[0].shape[1]: expected `int`"),
        (asked(shape=[3, 8, 8, -3]), 400, "must have a shape"),
        (asked(shape=[3, 8, 8]), 422, "the shape [-1, 8, 8, 3], got [3, 8, 8]"),
        (asked(shape=[3, 8, 8, 1]), 422, "got [3, 8, 8, 1]"),
        (asked(shape=[]), 422, "got []"),
        (asked(shape=[0, 8, 8, 3]), 422, "has no rows"),
        (asked(shape=[10**15, 8, 8, 3]), 413, "at most 4,096 rows"),
        (asked(shape=[2, 8, 8, 3]), 400, "takes 384 numbers, got 576"),
        (asked(shape=[4, 8, 8, 3], data=IMAGES.tolist()), 400, "3 rows, its shape says 4"),
        (asked(data=RAGGED), 400, "is not nested as [3, 8, 8, 3]"),
        (asked(data=[*IMAGES[:2].tolist(), 7]), 400, "is not nested"),
        (asked(data=...), 400, "neither data nor"),
        (asked(data="AAAA"), 400, "inputs[0].data: expected `array`, got `str`"),
        (asked(data=[0.5] * 576), 422, "whole numbers"),
        (asked(data=[True] * 576), 422, "whole numbers"),
        (asked(data=[None] * 576), 422, "whole numbers"),
        (asked(data=["1"] * 576), 422, "whole numbers"),
        (asked(data=[256] * 576), 422, "from 0 to 255"),
        (asked(data=[-1] * 576), 422, "from 0 to 255"),
        (asked(data=[2**63] * 576), 422, "too large"),
        (asked(parameters={"shared_memory_region": "x"}), 400, "no shared_memory_region"),
        (asked(parameters={"binary_data_size": 1}), 400, "but 0 are left"),
        ({**FULL, "outputs": 7}, 400, "outputs: expected `array | null`, got `int`"),
        ({**FULL, "outputs": [{"name": "z"}]}, 400, "no output 'z'; there is: latents"),
        ({**FULL, "outputs": [{"name": "latents"}] * 2}, 400, "wanted twice"),
        ({**FULL, "outputs": [{"name": "latents", "parameters": {"classification": 3}}]}, 400,
         "no classification"),
        (asked(datatype="BYTES", shape=[2], data=["AAAA"]), 400, "takes 2 numbers, got 1"),
        (asked(datatype="BYTES", shape=[1], data=["AAAA"]), 422, "no image"),
        (asked(datatype="BYTES", shape=[1], data=[7]), 422, "must be text"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(client: httpx.Client, document: Any, status: int, said: str) -> None:
    answer = client.post(INFER, json=document)
    assert said in refusal(answer, status)
    assert len(answer.content) < 500


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (binary(sized(576), bytes(577)), 400, "1 bytes are left behind the last tensor"),
        (binary(sized(577), bytes(576)), 400, "but 576 are left"),
        (binary(sized(575), bytes(575)), 400, "takes 576 bytes, got 575"),
        (binary(sized(-1), bytes(576)), 400, "has -1 bytes"),
        (binary(sized(4, datatype="BYTES", shape=[1]), b"\x05\0\0\0"), 400, "is cut off"),
        (binary(sized(3, datatype="BYTES", shape=[1]), b"\x05\0\0"), 400, "is cut off"),
        (binary(sized(8, datatype="BYTES", shape=[1]), bytes(8)), 400, "more elements than"),
        (binary(sized(4, datatype="BYTES", shape=[2]), bytes(4)), 400, "1 elements, not 2"),
        ({"content": b"{}", "headers": {"Inference-Header-Content-Length": "3"}}, 400, "2 bytes"),
        ({"content": b"{}", "headers": {"Inference-Header-Content-Length": "-1"}}, 400, "'-1'"),
        ({"content": b"{}", "headers": {"Inference-Header-Content-Length": "9" * 99}}, 400, "999"),
        ({"content": b"{"}, 400, "not JSON"),
        ({"content": b""}, 400, "not JSON"),
        ({"content": b"[" * 100_000}, 400, "expected `object`"),
        ({"content": b'{"inputs": [{"data": ' + b"[" * 100_000}, 400, "nested too deeply"),
        ({"content": b"x", "headers": GZIP}, 400, "not gzip"),
        ({"content": gzip.compress(b"{}")[:-4], "headers": GZIP}, 400, "cut off"),
        ({"content": gzip.compress(b"{}") + b"x", "headers": GZIP}, 400, "more follows"),
        ({"content": b"{}", "headers": {"Content-Encoding": "br"}}, 415, "gzip and deflate"),
    ],
)  # fmt: skip
def test_malformed_bodies(
    client: httpx.Client, sent: dict[str, Any], status: int, said: str
) -> None:
    assert said in refusal(client.post(INFER, **sent), status)


@pytest.mark.parametrize("number", ["NaN", "1e39", "Infinity"])
def test_numbers_that_float32_does_not_hold(client: httpx.Client, number: str) -> None:
    data = ", ".join([number] * 48)
    tensor = f'{{"name": "latents", "shape": [1, 48], "datatype": "FP32", "data": [{data}]}}'
    answer = client.post("/v2/models/oracle.decode/infer", content=f'{{"inputs": [{tensor}]}}')
    if number == "1e39":
        assert "not finite" in refusal(answer, 422)
    else:
        refusal(answer, 400)
    bad = np.full((1, 48), np.nan if number == "NaN" else np.inf, "<f4")
    document = sized(192, name="latents", shape=[1, 48], datatype="FP32")
    answer = client.post("/v2/models/oracle.decode/infer", **binary(document, bad.tobytes()))
    assert "not finite" in refusal(answer, 422)


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/v2/models/nope", 404, "no model 'nope'; there is: grey, oracle"),
        ("GET", "/v2/models/oracle.paint", 404, "no graph paint; it has encode"),
        ("GET", "/v2/models/oracle/versions/7", 404, "no model 'oracle@7'"),
        ("GET", "/v2/models/oracle/versions/x/config", 404, "no model"),
        ("GET", "/v2/models/nope/ready", 404, "no model"),
        ("POST", "/v2/models/nope/infer", 404, "no model"),
        ("GET", "/v2/models/oracle/infer", 405, "GET is not a method of"),
        ("POST", "/v2", 405, "POST is not a method of /v2"),
        ("GET", "/v2/nope", 404, "there is nothing at /v2/nope"),
        ("POST", "/v2/models/oracle/nope/infer", 404, "there is nothing"),
        ("GET", "/v2/models", 404, "there is nothing"),
    ],
)
def test_what_is_not_there(
    client: httpx.Client, method: str, path: str, status: int, said: str
) -> None:
    assert said in refusal(client.request(method, path), status)


def test_metadata(client: httpx.Client) -> None:
    server = client.get("/v2").json()
    assert server["name"] == "biject"
    assert "binary_tensor_data" in server["extensions"]
    assert client.get("/v2/health/live").json()["live"] is True
    assert client.get("/v2/health/ready").json() == {"live": True, "ready": True}
    assert client.get("/v2/models/grey/ready").json() == {"name": "grey", "ready": True}
    pixels = {"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}
    codes = {"name": "latents", "datatype": "FP32", "shape": [-1, 16]}
    common = {"versions": ["1", "2"], "platform": "onnxruntime_onnx"}
    assert client.get("/v2/models/grey").json() == {
        "name": "grey", **common, "inputs": [pixels], "outputs": [codes],
    }  # fmt: skip
    assert client.get("/v2/models/grey.decode/versions/1").json() == {
        "name": "grey.decode", **common, "inputs": [codes], "outputs": [pixels],
    }  # fmt: skip


def test_the_version_that_is_asked_for_answers(client: httpx.Client) -> None:
    grey = IMAGES[..., :1]
    for path, version in (("grey/versions/1", "1"), ("grey", "2"), ("grey@1", "1")):
        document = post(client, f"/v2/models/{path}/infer", json=asked(grey)).json()
        assert document["model_version"] == version
        np.testing.assert_allclose(floats(document["outputs"][0]), oracle_encode(grey), atol=1e-5)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_index(client: httpx.Client, method: str) -> None:
    found = client.request(method, "/v2/repository/index").json()
    graphs = ["", ".encode", ".decode", ".reconstruct", ".score"]
    wanted = [("grey", "1"), ("grey", "2"), ("oracle", "1")]
    assert [(one["name"], one["version"]) for one in found] == [
        (name + graph, version) for name, version in wanted for graph in graphs
    ]
    assert {(one["state"], one["reason"]) for one in found} == {("READY", "")}


def test_the_index_of_what_is_ready(client: httpx.Client) -> None:
    ready = client.post("/v2/repository/index", json={"ready": True}).json()
    assert ready == client.get("/v2/repository/index").json()
    refusal(client.post("/v2/repository/index", json={"ready": 1}), 400)
    refusal(client.post("/v2/repository/index", content=b"["), 400)


def test_bundles_that_cannot_be_served_are_listed_with_the_reason(
    serve: Any, tmp_path: Path
) -> None:
    make_oracle(tmp_path)
    broken = make_oracle(tmp_path, name="broken")
    (broken / "encode.onnx").write_bytes(b"no graph")
    with serve(models=tmp_path) as running:
        index = running.client.get("/v2/repository/index").json()
        (one,) = [entry for entry in index if entry["name"] == "broken"]
        assert one["state"] == "UNAVAILABLE"
        assert "encode.onnx" in one["reason"]
        found = running.client.post("/v2/repository/index", json={"ready": True}).json()
        assert {entry["name"].partition(".")[0] for entry in found} == {"oracle"}
        for path in ("", "/ready", "/config", "/stats"):
            answer = running.client.get("/v2/models/broken" + path)
            assert "broken@1 failed to load" in refusal(answer, 503)
        refusal(running.client.post("/v2/models/broken/infer", json=asked()), 503)
        assert len(running.client.get("/v2/models/stats").json()["model_stats"]) == 5


def test_probes_while_the_server_drains(serve: Any) -> None:
    with serve(api_keys=("k",)) as running:
        running.deployment.draining = True
        assert running.client.get("/v2/health/live").json() == {"live": True}
        answer = running.client.get("/v2/health/ready")
        assert "shutting down" in refusal(answer, 503)
        assert answer.headers["retry-after"]
        assert "shutting down" in refusal(running.client.post(INFER, json=asked()), 503)


def test_as_many_rows_as_there_may_be(client: httpx.Client) -> None:
    many = np.tile(IMAGES, (1365, 1, 1, 1))
    sent = binary(sized(many.nbytes, shape=list(many.shape)), many.tobytes())
    (output,) = post(client, **sent).json()["outputs"]
    np.testing.assert_allclose(floats(output), np.tile(CODES, (1365, 1)), atol=1e-5)
    more = np.zeros((4097, 8, 8, 3), np.uint8)
    sent = binary(sized(more.nbytes, shape=list(more.shape)), more.tobytes())
    assert "at most 4,096 rows" in refusal(client.post(INFER, **sent), 413)


def test_statistics_count_all_dialects_by_graph(serve: Any) -> None:
    with serve() as running:
        client = running.client
        post(client, json=asked())
        client.post("/v1/models/oracle/encode", json={"images": URIS[:1]})
        client.post("/v1/models/oracle/vary", json={"images": URIS[:1], "n": 2})
        (encode,) = client.get("/v2/models/oracle/stats").json()["model_stats"]
        assert (encode["name"], encode["version"]) == ("oracle", "1")
        assert (encode["inference_count"], encode["execution_count"]) == (5, 3)
        assert encode["last_inference"] > 1_700_000_000_000
        times = encode["inference_stats"]
        assert times["success"]["count"] == times["compute_infer"]["count"] == 3
        assert times["success"]["ns"] >= times["compute_infer"]["ns"] > 0
        assert times["fail"] == {"count": 0, "ns": 0}
        batches = {
            one["batch_size"]: one["compute_infer"]["count"] for one in encode["batch_stats"]
        }
        assert batches == {1: 2, 3: 1}
        (decode,) = client.get("/v2/models/oracle.decode/stats").json()["model_stats"]
        assert (decode["inference_count"], decode["execution_count"]) == (2, 1)
        every = client.get("/v2/models/stats").json()["model_stats"]
        assert len(every) == 15
        assert sum(one["inference_count"] for one in every) == 12  # the bare name is one of them
