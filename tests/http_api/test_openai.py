"""OpenAI's dialect, asked by OpenAI's own client, against the oracle and our own dialect."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from files import png
from oracle import oracle_decode, oracle_encode
from serving import latents as latent_space

Array = np.ndarray[Any, Any]
IMAGES = np.random.default_rng(11).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
CODES = oracle_encode(IMAGES)


def uri(image: Array) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


URIS = [uri(image) for image in IMAGES]


def pixels(answer: openai.types.ImagesResponse) -> Array:
    """The images of an answer."""
    files = [base64.b64decode(one.b64_json or "") for one in answer.data or []]
    return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])


@pytest.fixture(scope="module")
def ai(client: httpx.Client) -> Iterator[openai.OpenAI]:
    """OpenAI's client, of the shared server."""
    with talking_to(client) as one:
        yield one


def talking_to(client: httpx.Client, key: str = "none", retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{client.base_url}/v1", api_key=key, max_retries=retries)


def test_an_embedding_as_the_client_asks_for_it_unless_told(ai: openai.OpenAI) -> None:
    answer = ai.embeddings.create(model="oracle", input=URIS[0])  # it asks for base64 and decodes
    np.testing.assert_allclose(answer.data[0].embedding, CODES[0], atol=1e-5)
    assert (answer.object, answer.model) == ("list", "oracle@1")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (1, 1)


def test_embeddings_are_the_same_in_both_formats_and_those_of_encode(
    ai: openai.OpenAI, client: httpx.Client
) -> None:
    plain = ai.embeddings.create(model="oracle", input=URIS, encoding_format="float", user="me")
    coded = ai.embeddings.create(model="oracle@1", input=[u.split(",")[1] for u in URIS])
    assert [one.index for one in plain.data] == [0, 1, 2]
    assert [one.object for one in plain.data] == ["embedding"] * 3
    latents = client.post("/v1/models/oracle/encode", json={"images": URIS}).json()["latents"]
    for answer in (plain, coded):
        found = np.array([one.embedding for one in answer.data], np.float32)
        np.testing.assert_array_equal(found, np.array(latents, np.float32))
    assert plain.usage.total_tokens == 3
    raw = ai.embeddings.with_raw_response.create(
        model="oracle", input=URIS[1], encoding_format="base64"
    )
    text = raw.http_response.json()["data"][0]["embedding"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(text), "<f4"), CODES[1], atol=1e-5)


def test_many_embeddings_in_one_request_keep_their_order(ai: openai.OpenAI) -> None:
    order = np.random.default_rng(2).integers(0, 3, 500)
    answer = ai.embeddings.create(model="oracle", input=[URIS[i] for i in order])
    found = np.array([one.embedding for one in answer.data])
    np.testing.assert_allclose(found, CODES[order], atol=1e-5)


def test_infinitys_word_for_images_is_understood(ai: openai.OpenAI) -> None:
    extra = {"modality": "image"}
    answer = ai.embeddings.create(model="oracle", input=URIS[2], extra_body=extra)
    np.testing.assert_allclose(answer.data[0].embedding, CODES[2], atol=1e-5)
    with pytest.raises(openai.BadRequestError, match='modality can only be "image" here'):
        ai.embeddings.create(model="oracle", input="x", extra_body={"modality": "text"})


def test_what_is_null_is_not_given(client: httpx.Client) -> None:
    nothing = {"user": None, "dimensions": None, "encoding_format": None, "modality": None}
    answer = client.post("/v1/embeddings", json={**EMBED, **nothing})
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["data"][0]["embedding"], CODES[0], atol=1e-5)
    assert "x-biject-ignored" not in answer.headers
    nothing = {"model": None, "n": None, "seed": None, "size": None, "quality": None}
    answer = client.post("/v1/images/generations", json={"prompt": "", **nothing})
    assert answer.headers["x-biject-ignored"] == "prompt"


def test_images_are_generated_from_a_seed(ai: openai.OpenAI) -> None:
    raw = ai.images.with_raw_response.generate(
        model="oracle",
        prompt="a boot",
        n=3,
        size="8x8",
        user="me",
        response_format="b64_json",
        extra_body={"seed": 7, "truncation": 0.5},
    )
    assert raw.headers["x-biject-ignored"] == "prompt, user"
    answer = raw.parse()
    wanted = oracle_decode(latent_space.sample(7, 3, 48, "normal", truncation=0.5))
    assert np.abs(pixels(answer).astype(int) - wanted).max() <= 1
    assert (answer.size, answer.output_format) == ("8x8", "png")
    assert answer.created > 1_700_000_000
    assert raw.http_response.json()["seed"] == 7


def test_without_a_seed_one_is_drawn_and_told(ai: openai.OpenAI) -> None:
    raw = ai.images.with_raw_response.generate(prompt="", size="auto")
    one, seed = raw.parse(), raw.http_response.json()["seed"]
    assert raw.http_response.json()["model"] == "oracle@1"  # the default model
    again = ai.images.generate(prompt="other words", extra_body={"seed": seed})
    assert again.data is not None
    assert one.data == again.data
    assert ai.images.generate(prompt="").data != again.data


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI's own has retired
def test_variations_of_an_image(ai: openai.OpenAI) -> None:
    answer = ai.images.create_variation(
        image=png(IMAGES[0]),
        model="oracle",
        n=2,
        response_format="b64_json",
        user="me",
        extra_body={"seed": 5, "strength": 0.7},
    )
    wanted = oracle_decode(latent_space.vary(CODES[0], 2, 0.7, 5, "normal"))
    assert np.abs(pixels(answer).astype(int) - wanted).max() <= 1
    one = ai.images.create_variation(image=("boot.png", io.BytesIO(png(IMAGES[1]))))
    assert len(one.data or []) == 1


def test_the_models_are_listed(ai: openai.OpenAI) -> None:
    assert [model.id for model in ai.models.list()] == ["grey", "oracle"]
    assert ai.models.retrieve("oracle").owned_by == "biject"


def wrong(fields: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**fields, **changes}.items() if value is not ...}


EMBED: dict[str, Any] = {"model": "oracle", "input": URIS[0]}
MAKE: dict[str, Any] = {"model": "oracle", "prompt": "a boot"}
JSON, TEXT = {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}
DOUBLED = b'{"model": "oracle", "input": "a", "input": "b"}'
FILE = {"image": b"x"}


@pytest.mark.parametrize(
    ("path", "body", "status", "parameter", "code", "said"),
    [
        ("embeddings", wrong(EMBED, model="nope"), 404, "model", "model_not_found", "'nope'"),
        ("embeddings", wrong(EMBED, model=7), 400, "model", None, "must be text"),
        ("embeddings", wrong(EMBED, model=...), 400, "model", None, "`model` is missing"),
        ("embeddings", wrong(EMBED, input=...), 400, "input", None, "`input` is missing"),
        ("embeddings", wrong(EMBED, input=[]), 400, "input", None, "no images"),
        ("embeddings", wrong(EMBED, input=7), 400, "input", None, "data URI"),
        ("embeddings", wrong(EMBED, input=[1, 2]), 400, "input", None, "must be text"),
        ("embeddings", wrong(EMBED, input="a boot"), 400, "input", None, "base64"),
        ("embeddings", wrong(EMBED, input=[URIS[0], "AAAA"]), 400, "input", None, "1 of 2 images"),
        ("embeddings", wrong(EMBED, input="R0lGODlhAQABAAAAACw="), 400, "input", None, "GIF"),
        ("embeddings", wrong(EMBED, dimensions=48), 400, "dimensions", None, "omit"),
        ("embeddings", wrong(EMBED, encoding_format="hex"), 400, "encoding_format", None, "hex"),
        ("embeddings", wrong(EMBED, prompt="x"), 400, "prompt", None, "unknown field 'prompt'"),
        ("images/generations", wrong(MAKE, prompt=...), 400, "prompt", None, "is missing"),
        ("images/generations", wrong(MAKE, prompt=7), 400, "prompt", None, "must be text"),
        ("images/generations", wrong(MAKE, user=7), 400, "user", None, "must be text"),
        ("images/generations", wrong(MAKE, n=0), 400, "n", None, "at least 1"),
        ("images/generations", wrong(MAKE, n=10**9), 400, "n", None, "at most 4096"),
        ("images/generations", wrong(MAKE, n="3"), 400, "n", None, "a whole number"),
        ("images/generations", wrong(MAKE, seed=-1), 400, "seed", None, "at least 0"),
        ("images/generations", wrong(MAKE, size="1024x1024"), 400, "size", None, "8x8"),
        ("images/generations", wrong(MAKE, response_format="url"), 400, "response_format", None,
         'only be "b64_json"'),
        ("images/generations", wrong(MAKE, stream=True), 400, "stream", None, "only be false"),
        ("images/generations", wrong(MAKE, stream=0), 400, "stream", None, "true or false"),
        ("images/generations", wrong(MAKE, model="nope"), 404, "model", "model_not_found", "nope"),
        ("images/edits", {}, 404, None, None, "there is nothing at /v1/images/edits"),
        ("images", {}, 404, None, None, "there is nothing at /v1/images"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_openais_shape(
    client: httpx.Client,
    path: str,
    body: dict[str, Any],
    status: int,
    parameter: str | None,
    code: str | None,
    said: str,
) -> None:
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert said in error["message"]
    assert error["type"] == "invalid_request_error"
    assert (error["param"], error["code"]) == (parameter, code)
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("POST", "/v1/embeddings", {"content": b"{", "headers": JSON}, 400),
        ("POST", "/v1/embeddings", {"json": [1]}, 400),
        ("POST", "/v1/embeddings", {"content": b"x", "headers": TEXT}, 400),
        ("POST", "/v1/embeddings", {"content": DOUBLED, "headers": JSON}, 400),
        ("POST", "/v1/images/variations", {"json": {}}, 400),
        ("POST", "/v1/images/variations", {"files": [("image", b""), ("image", b"")]}, 400),
        ("POST", "/v1/images/variations", {"files": {"photo": b""}}, 400),
        ("POST", "/v1/images/variations", {"files": {"image": b"no image"}}, 400),
        ("POST", "/v1/images/variations", {"files": FILE, "data": {"n": "many"}}, 400),
        ("POST", "/v1/images/variations", {"files": FILE, "data": {"n": ["1", "2"]}}, 400),
        ("GET", "/v1/embeddings", {}, 405),
        ("PUT", "/v1/images/generations", {}, 405),
    ],
)  # fmt: skip
def test_malformed_requests_too(
    client: httpx.Client, method: str, path: str, sent: dict[str, Any], status: int
) -> None:
    answer = client.request(method, path, **sent)
    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["message"]
