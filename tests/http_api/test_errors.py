"""What is refused, with which status, and that every refusal says why in the same shape."""

import base64
import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from oracle import make_oracle

V = "/v1/models/default/"
JSON = {"Content-Type": "application/json"}
NPY = {"Content-Type": "application/x-npy"}


def picture(size: tuple[int, int] = (8, 8), mode: str = "RGB", form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, form)
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


PNG = picture()
HUGE = picture((9000, 9000), "1")
GOOD = uri(PNG)
FRAMES = [Image.new("L", (8, 8), level) for level in (0, 99)]
_gif = io.BytesIO()
FRAMES[0].save(_gif, "GIF", save_all=True, append_images=FRAMES[1:])
JPEG = picture((64, 64), form="JPEG")


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer with this status; its shape is always the same."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "server-timing" in answer.headers
    document: dict[str, Any] = answer.json()
    assert document["type"] == "about:blank"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


@pytest.mark.parametrize(
    ("verb", "body", "content_type", "status", "words"),
    [
        pytest.param("encode", b"hello", "image/png", 422, "no image", id="text as image"),
        pytest.param("encode", b"", "image/png", 422, "zero bytes", id="nothing as image"),
        pytest.param("encode", b"", "", 400, "no body", id="nothing at all"),
        pytest.param("encode", JPEG[:300], "image/jpeg", 422, "JPEG", id="cut JPEG"),
        pytest.param("encode", _gif.getvalue(), "image/gif", 415, "GIF", id="GIF"),
        pytest.param("encode", HUGE, "image/png", 413, "64", id="huge"),
        pytest.param("encode", b"x", "application/x-foo", 415, "image/png", id="unknown type"),
        pytest.param("encode", b"x", "", 415, "image/png", id="no type"),
        pytest.param("encode", b"{", "application/json", 400, "not JSON", id="bad JSON"),
        pytest.param("encode", b"[]", "application/json", 400, "expected `object`", id="a list"),
        pytest.param("encode", b"", "application/json", 400, "not JSON", id="no JSON"),
        pytest.param("encode", b'{"\xff":1}', "application/json", 400, "not JSON", id="no UTF-8"),
        pytest.param(
            "encode", b'{"a":' + b"[" * 9_000, "application/json", 400, "too deeply", id="deep"
        ),
        pytest.param(
            "encode", b'{"a":1e999}', "application/json", 400, "out of range", id="infinite"
        ),
        pytest.param("encode", b"{}", "application/json", 400, "`images`", id="no images"),
        pytest.param("encode", b'{"images":"a"}', "application/json", 400, "list", id="text"),
        pytest.param("encode", b'{"images":[]}', "application/json", 400, "empty", id="empty list"),
        pytest.param(
            "encode", npy(np.zeros((2, 9, 8, 3), "u1")), "application/x-npy", 422, "8, 8, 3", id="9"
        ),
        pytest.param(
            "encode",
            npy(np.zeros((8, 8, 3), "u1")),
            "application/x-npy",
            422,
            "8, 8, 3",
            id="3 axes",
        ),
        pytest.param(
            "encode", npy(np.zeros((2, 8, 8, 3), "f4")), "application/x-npy", 422, "uint8", id="f4"
        ),
        pytest.param(
            "encode", npy(np.zeros((0, 8, 8, 3), "u1")), "application/x-npy", 422, "element", id="0"
        ),
        pytest.param("encode", npy(np.uint8(3)), "application/x-npy", 422, "8, 8, 3", id="scalar"),
        pytest.param("encode", b"\x93NUMPY", "application/x-npy", 400, "npy", id="npy magic"),
        pytest.param("encode", PNG, "application/x-npy", 400, "npy", id="image as npy"),
        pytest.param(
            "encode", b"--x", "multipart/form-data; boundary=x", 400, "form", id="cut form"
        ),
        pytest.param("encode", b"--x", "multipart/form-data", 400, "form", id="no boundary"),
        pytest.param("decode", PNG, "image/png", 415, "x-npy", id="image to decode"),
        pytest.param("decode", b'{"latents":[[1]]}', "application/json", 422, "48", id="width"),
        pytest.param("decode", b'{"latents":[3]}', "application/json", 422, "list", id="flat"),
        pytest.param("decode", b'{"latents":{}}', "application/json", 400, "list", id="object"),
        pytest.param(
            "decode", npy(np.zeros((1, 47), "f4")), "application/x-npy", 422, "48", id="npy width"
        ),
        pytest.param(
            "decode", npy(np.zeros((1, 48), "f8")), "application/x-npy", 422, "float32", id="f8"
        ),
        pytest.param("sample", PNG, "image/png", 415, "application/json", id="image to sample"),
    ],
)
def test_bad_bodies(
    client: httpx.Client, verb: str, body: bytes, content_type: str, status: int, words: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = client.post(V + verb, content=body, headers=headers)
    assert words in problem(answer, status)["detail"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("!!", "base64"),
        ("data:image/png,abc", "base64"),
        (uri(b"hello"), "no image"),
        ("http://169.254.169.254/latest", "never fetched"),
        (7, "must be text"),
        (None, "must be text"),
        (["a"], "must be text"),
    ],
)
def test_the_guilty_image_is_named(client: httpx.Client, bad: Any, words: str) -> None:
    answer = client.post(V + "encode", json={"images": [GOOD, bad, GOOD]})
    document = problem(answer, 422)
    (error,) = document["errors"]
    assert error["index"] == 1
    assert words in error["detail"]
    assert "1 of 3" in document["detail"]


def test_all_guilty_images_are_named_in_a_form_too(client: httpx.Client) -> None:
    bodies = [b"no", PNG, b"", HUGE]
    answer = client.post(V + "encode", files=[("images", ("a", body)) for body in bodies])
    assert [error["index"] for error in problem(answer, 422)["errors"]] == [0, 2, 3]


def test_of_several_the_status_is_theirs_if_they_agree(client: httpx.Client) -> None:
    answer = client.post(V + "encode", json={"images": [uri(HUGE), GOOD]})
    assert problem(answer, 413)["errors"][0]["index"] == 0


@pytest.mark.parametrize("value", ["1", None, True, [1], {}])
def test_latents_are_numbers(client: httpx.Client, value: Any) -> None:
    rows = [[0.0] * 48, [0.0] * 47 + [value]]
    document = problem(client.post(V + "decode", json={"latents": rows}), 422)
    assert [error["index"] for error in document["errors"]] == [1]


@pytest.mark.parametrize("value", ["1e39", "-1e39", "1" + 400 * "0"])
def test_latents_are_finite_in_float32(client: httpx.Client, value: str) -> None:
    body = f'{{"latents": [[{", ".join([value] + ["0"] * 47)}]]}}'
    answer = client.post(V + "decode", content=body, headers=JSON)
    assert "finite" in problem(answer, 422)["errors"][0]["detail"]


def test_numbers_of_more_digits_than_floats_have_are_not_finite(client: httpx.Client) -> None:
    body = f'{{"truncation": 1{400 * "0"}}}'
    answer = client.post(V + "sample", content=body, headers=JSON)
    assert "finite" in problem(answer, 400)["detail"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_latents_are_finite_in_npy(client: httpx.Client, value: float) -> None:
    codes = np.zeros((3, 48), np.float32)
    codes[2, 5] = value
    document = problem(client.post(V + "decode", content=npy(codes), headers=NPY), 422)
    assert document["errors"][0]["index"] == 2


@pytest.mark.parametrize(
    ("verb", "name", "value", "status", "words"),
    [
        ("encode", "nope", "1", 400, "known: encoding_format"),
        ("decode", "nope", "1", 400, "known: label, labels"),
        ("encode", "encoding_format", "hex", 422, "float, base64"),
        ("score", "by", "magic", 422, "l1, l2, l2s, cycle"),
        ("score", "fpr", "0", 422, "above 0"),
        ("score", "fpr", "1", 422, "below 1"),
        ("score", "fpr", "nan", 400, "finite"),
        ("score", "fpr", "inf", 400, "finite"),
        ("score", "fpr", "1_0", 400, "finite"),
        ("score", "heatmap", "yes", 422, "none, map, overlay"),
        ("interpolate", "frames", "1", 422, "at least 2"),
        ("interpolate", "frames", "257", 422, "at most 256"),
        ("interpolate", "frames", "2.0", 400, "whole"),
        ("interpolate", "frames", "", 400, "whole"),
        ("interpolate", "path", "detour", 422, "slerp, lerp"),
        ("interpolate", "fps", "0", 422, "at least 0.1"),
        ("sample", "n", "0", 422, "at least 1"),
        ("sample", "n", "4097", 422, "at most 4096"),
        ("sample", "n", "0x10", 400, "whole"),
        ("sample", "seed", "-1", 422, "at least 0"),
        ("sample", "seed", str(2**63), 422, "at most"),
        ("sample", "seed", "1" * 30, 400, "whole"),
        ("sample", "truncation", "1.5", 422, "at most 1"),
        ("vary", "strength", "-1", 422, "at least 0"),
    ],
)
def test_bad_parameters(
    client: httpx.Client, verb: str, name: str, value: str, status: int, words: str
) -> None:
    sent: dict[str, Any] = {"json": {"images": [GOOD, GOOD][: 1 if verb == "vary" else 2]}}
    if verb in ("decode", "sample"):
        sent = {"json": {"latents": [[0] * 48]} if verb == "decode" else {}}
    answer = client.post(V + verb, params={name: value}, **sent)
    document = problem(answer, status)
    assert words in document["detail"]
    assert name in document["detail"]


@pytest.mark.parametrize("value", ["3", 3.5, True, None, [3]])
def test_json_parameters_have_their_type(client: httpx.Client, value: Any) -> None:
    document = problem(client.post(V + "sample", json={"n": value}), 400)
    assert document["detail"].startswith("n must be a whole number")


def test_json_knows_one_kind_of_number(client: httpx.Client) -> None:
    answer = client.post(V + "sample", content=b'{"n": 2.0, "seed": 1e3}', headers=JSON)
    assert (answer.json()["usage"]["images"], answer.json()["seed"]) == (2, 1000)
    assert '"seed":1000,' in answer.text
    document = problem(client.post(V + "sample", json={"n": 2**64}), 422)
    assert document["detail"].startswith("n must be at least 1 and at most 4096")


def test_a_parameter_given_twice(client: httpx.Client) -> None:
    for answer in (
        client.post(V + "sample?n=1&n=1"),
        client.post(V + "sample?n=1", json={"n": 1}),
        client.post(V + "score?by=l1", files={"images": PNG}, data={"by": "l1"}),
        client.post(V + "score", files={"images": PNG}, data={"by": ["l1", "l1"]}),
    ):
        assert "given twice" in problem(answer, 400)["detail"]


@pytest.mark.parametrize(
    ("verb", "body", "name"),
    [
        ("sample", '{"n":1,"n":2}', "n"),
        ("sample", '{"n": 1, "seed": 2, "n"  : 1}', "n"),
        ("sample", '{"n":1,"\\u006e":2}', "n"),
        ("encode", f'{{"images":["{GOOD}"],"images":["{GOOD}"]}}', "images"),
        ("encode", f'{{"encoding_format":"float","images":["{GOOD}"],"encoding_format":""}}',
         "encoding_format"),
        ("decode", f'{{"latents":[{[0.5] * 48}],"latents":[{[0.5] * 48}]}}', "latents"),
    ],
)  # fmt: skip
def test_a_json_key_given_twice(client: httpx.Client, verb: str, body: str, name: str) -> None:
    answer = client.post(V + verb, content=body, headers=JSON)
    assert problem(answer, 400)["detail"] == f"parameter {name} is given twice"


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("sample", '{"n":1,"seed":2}'),
        ("sample", '{"\\u006e":1}'),
        ("sample", "{}"),
        ("encode", json.dumps({"images": [GOOD.replace("+", "\\u002b")]})
            .replace("\\\\", "\\")),
        ("score", json.dumps({"images": [GOOD], "by": "l1"})),
    ],
)  # fmt: skip
def test_a_json_key_given_once(client: httpx.Client, verb: str, body: str) -> None:
    assert client.post(V + verb, content=body, headers=JSON).status_code == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"images":["images"]}', "neither a data URI nor base64"),
        ('{"images":' + '{"images":' * 999 + "1" + "}" * 1000, ""),
        ('{"images":[],"by":"by"}', "empty"),
        ("{" + ",".join(f'"k{i}":{i}' for i in range(5000)) + "}", "must have a list"),
        ('{"images":["x"],"seed":' + "9" * 300 + ',"by":"images"}', "unknown parameter"),
    ],
)
def test_json_that_looks_twice_at_its_keys(client: httpx.Client, body: str, words: str) -> None:
    answer = client.post(V + "encode", content=body, headers=JSON)
    assert words in problem(answer, answer.status_code)["detail"]
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("n", [1, 17])
def test_a_morph_wants_2_to_16_images(client: httpx.Client, n: int) -> None:
    answer = client.post(V + "interpolate?frames=2", json={"images": [GOOD] * n})
    assert f"2 to 16 items, got {n}" in problem(answer, 422)["detail"]


def test_a_morph_has_a_limit_over_all_its_legs(client: httpx.Client) -> None:
    answer = client.post(V + "interpolate?frames=256", json={"images": [GOOD] * 3})
    assert "at most 256 frames in all, this would make 511" in problem(answer, 422)["detail"]


def test_vary_wants_one_image(client: httpx.Client) -> None:
    answer = client.post(V + "vary", json={"images": [GOOD] * 2})
    assert "vary wants 1 item, got 2" in problem(answer, 422)["detail"]


def test_a_file_in_a_foreign_field(client: httpx.Client) -> None:
    answer = client.post(V + "encode", files={"image": PNG})
    assert "`images`" in problem(answer, 400)["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("POST", "/v1/models/nope/encode", 404, "there is: grey, oracle"),
        ("POST", "/v1/models/oracle@2/encode", 404, "'oracle@2'; there is: oracle@1"),
        ("POST", "/v1/models/grey@9/encode", 404, "'grey@9'; there is: grey@1, grey@2"),
        ("GET", "/v1/models/grey@9", 404, "'grey@9'; there is: grey@1, grey@2"),
        ("GET", "/v1/models/nope", 404, "there is: grey, oracle"),
        ("POST", "/v1/models/default/dream", 404, "/v1/models/default/dream"),
        ("POST", "/v1/nope", 404, "/v1/nope"),
        ("GET", "/nope", 404, "/nope"),
        ("GET", V + "encode", 405, "GET"),
        ("DELETE", "/v1/models/oracle", 405, "DELETE"),
        ("POST", "/livez", 405, "POST"),
        ("PUT", V + "sample", 405, "PUT"),
    ],
)
def test_what_is_not_there(
    client: httpx.Client, method: str, path: str, status: int, words: str
) -> None:
    answer = client.request(method, path)
    assert words in problem(answer, status)["detail"]
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    ("verb", "accept", "gives"),
    [
        ("encode", "text/csv", None),
        ("encode", "image/png", None),
        ("encode", "application/json;q=0", None),
        ("encode", "*/*;q=0", None),
        ("score", "image/webp", None),
        ("encode", "", "application/json"),
        ("encode", "*/*", "application/json"),
        ("encode", "application/*", "application/json"),
        ("encode", "application/x-npy, application/json;q=0.9", "application/x-npy"),
        ("encode", "application/json;q=0.1, application/x-npy;q=0.2", "application/x-npy"),
        ("encode", "*/*;q=0.5, application/json;q=0.1", "application/x-npy"),
        ("encode", "text/html, */*;q=0.8", "application/json"),
        ("reconstruct", "image/*", "image/png"),
        ("interpolate", "image/*", "image/webp"),
        ("reconstruct", "image/avif,image/webp,image/apng,image/*,*/*;q=0.8", "image/png"),
    ],
)
def test_accept(client: httpx.Client, verb: str, accept: str, gives: str | None) -> None:
    answer = client.post(
        V + verb, headers={"Accept": accept}, json={"images": [GOOD, uri(picture(mode="L"))]}
    )
    if gives is None:
        assert "application/json" in problem(answer, 406)["detail"]
    else:
        assert (answer.status_code, answer.headers["content-type"]) == (200, gives)


def test_a_malformed_query(client: httpx.Client) -> None:
    assert "query" in problem(client.post(V + "sample?n"), 400)["detail"]


def test_a_deep_document_is_malformed_not_fatal(client: httpx.Client) -> None:
    for body in ("[" * 100_000, '{"images":' * 50_000, json.dumps({"images": [[[[]]]]})):
        answer = client.post(V + "encode", content=body, headers=JSON)
        problem(answer, 422 if "[[[[" in body and body.startswith("{") else 400)


def test_a_graph_that_a_bundle_lacks(
    tmp_path: Path, serve: Callable[..., AbstractContextManager[Any]]
) -> None:
    bundle = make_oracle(tmp_path)
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["graphs"]["decode"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with serve(models=tmp_path, default=None) as running:
        told = problem(running.client.post("/v1/models/oracle/sample"), 404)["detail"]
        assert told == "oracle@1 has no graph decode; it has encode, reconstruct, score"
        assert running.client.post("/v1/models/oracle/encode", content=PNG).status_code == 200


def test_a_graph_that_a_bundle_lacks_is_no_more_there_when_others_wait(
    tmp_path: Path,
    serve: Callable[..., AbstractContextManager[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = make_oracle(tmp_path)
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["graphs"]["score"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with serve(models=tmp_path, default=None) as running:
        batcher = running.deployment.registry.get("oracle").ready.batcher
        monkeypatch.setattr(type(batcher._line), "rows", 5)  # as if somebody waited
        problem(running.client.post("/v1/models/oracle/score", content=PNG), 404)
