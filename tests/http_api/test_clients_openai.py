"""OpenAI's clients where things go wrong: keys, limits, queues, deadlines; and vectors."""

import asyncio
import base64
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from http_api.test_limits import Gate, npy, until
from lines import make_line
from oracle import oracle_encode
from serving.rendering import png

IMAGES = np.random.default_rng(14).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
URIS = ["data:image/png;base64," + base64.b64encode(png(image)).decode() for image in IMAGES]
NPY = {"Content-Type": "application/x-npy"}


def talking_to(running: Any, key: str = "none", retries: int = 0) -> openai.OpenAI:
    url = f"http://127.0.0.1:{running.port}/v1"
    return openai.OpenAI(base_url=url, api_key=key, max_retries=retries)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def said(error: openai.APIStatusError) -> dict[str, Any]:
    """The error as it was on the wire."""
    document = error.response.json()
    assert list(document) == ["error"]
    found: dict[str, Any] = document["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found


def test_keys(serve: Callable[..., Any]) -> None:
    with serve(api_keys=("right",)) as running:
        with talking_to(running, "right") as ai:
            ai.embeddings.create(model="oracle", input=URIS)
        with talking_to(running, "wrong") as ai:
            with pytest.raises(openai.AuthenticationError, match="a wrong key") as caught:
                ai.embeddings.create(model="oracle", input=URIS)
            assert said(caught.value)["code"] == caught.value.code == "invalid_api_key"
            assert caught.value.type == "authentication_error"
            with pytest.raises(openai.AuthenticationError, match="a wrong key"):
                ai.images.generate(prompt="")
            with pytest.raises(openai.AuthenticationError):
                ai.models.list()


def test_what_is_not_there_and_what_is_wrong(client: httpx.Client) -> None:
    url = str(client.base_url.join("/v1"))
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as ai:
        with pytest.raises(openai.NotFoundError, match="no model 'nope'") as missing:
            ai.embeddings.create(model="nope", input=URIS)
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.BadRequestError, match="1 of 2 images is no good") as bad:
            ai.embeddings.create(model="oracle", input=[URIS[0], "data:image/png;base64,AAAA"])
        assert (bad.value.type, bad.value.param) == ("invalid_request_error", "input")
        with pytest.raises(openai.BadRequestError, match="omit `dimensions`"):
            ai.embeddings.create(model="oracle", input=URIS, dimensions=2)
        with pytest.raises(openai.NotFoundError, match="there is nothing at /v1/images/edits"):
            ai.images.edit(image=io.BytesIO(b"x"), prompt="")
        with pytest.raises(openai.NotFoundError):
            ai.models.retrieve("nope")
        with pytest.raises(openai.NotFoundError):
            ai.chat.completions.create(model="oracle", messages=[])


def test_a_body_that_is_too_large(serve: Callable[..., Any]) -> None:
    with serve(max_body_bytes=1000) as running, talking_to(running) as ai:
        with pytest.raises(openai.APIStatusError, match="at most 1,000 bytes") as caught:
            ai.embeddings.create(model="oracle", input=URIS * 10)
        assert caught.value.status_code == 413
        assert said(caught.value)["code"] == "request_too_large"


def test_a_full_queue_is_a_rate_limit_and_the_client_comes_back(
    serve: Callable[..., Any], gate: Gate
) -> None:
    with serve(threads=1, queue_images=50, max_images=50) as running, ThreadPoolExecutor(4) as pool:
        url = f"http://127.0.0.1:{running.port}/v1/models/oracle/encode"
        gate.open.clear()
        first = pool.submit(httpx.post, url, content=npy(1), headers=NPY)
        gate.waiting.acquire()
        waits = pool.submit(httpx.post, url, content=npy(50), headers=NPY)
        batcher = running.deployment.registry.get("oracle").ready.batcher
        until(lambda: batcher.queued == 50)
        with talking_to(running) as ai:
            with pytest.raises(openai.RateLimitError, match="at most 50 may") as caught:
                ai.embeddings.create(model="oracle", input=URIS)
            assert caught.value.code == said(caught.value)["code"] == "rate_limit_exceeded"
            assert int(caught.value.response.headers["retry-after"]) >= 1
        with talking_to(running, retries=2) as patient:
            threading.Timer(0.3, gate.open.set).start()
            answer = patient.embeddings.create(model="oracle", input=URIS)
        np.testing.assert_allclose(
            [one.embedding for one in answer.data], oracle_encode(IMAGES), atol=1e-5
        )
        assert first.result().status_code == waits.result().status_code == 200


def test_the_dialects_meet_in_one_batch(serve: Callable[..., Any], gate: Gate) -> None:
    with serve(threads=1) as running, ThreadPoolExecutor(4) as pool:
        base = f"http://127.0.0.1:{running.port}"
        native = f"{base}/v1/models/oracle/encode"
        gate.open.clear()
        first = pool.submit(httpx.post, native, content=npy(1), headers=NPY)
        gate.waiting.acquire()
        batcher = running.deployment.registry.get("oracle").ready.batcher
        pixels = {"name": "images", "shape": [1, 8, 8, 3], "datatype": "UINT8"}
        document = {"inputs": [{**pixels, "data": IMAGES[:1].tolist()}]}
        waits = [
            pool.submit(httpx.post, native, json={"images": URIS}),
            pool.submit(httpx.post, f"{base}/v2/models/oracle/infer", json=document),
            pool.submit(
                httpx.post, f"{base}/v1/embeddings", json={"model": "oracle", "input": URIS}
            ),
        ]
        until(lambda: batcher.queued == 5)
        gate.rows.clear()
        gate.open.set()
        assert [one.result().status_code for one in (first, *waits)] == [200] * 4
        assert gate.rows == [1, 5]


def test_a_deadline_and_the_end_of_the_server(serve: Callable[..., Any], gate: Gate) -> None:
    with serve(threads=1) as running, talking_to(running) as ai:
        gate.open.clear()
        with pytest.raises(openai.InternalServerError, match="deadline") as caught:
            ai.images.generate(prompt="", extra_headers={"X-Deadline-Ms": "200"})
        assert (caught.value.status_code, caught.value.type) == (504, "server_error")
        gate.open.set()
        running.deployment.draining = True
        with pytest.raises(openai.InternalServerError, match="shutting down") as caught:
            ai.embeddings.create(model="oracle", input=URIS)
        assert caught.value.status_code == 503
        assert caught.value.response.headers["retry-after"]


def test_the_asynchronous_client(client: httpx.Client) -> None:
    async def ask() -> None:
        url = str(client.base_url.join("/v1"))
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as ai:
            one, two, made = await asyncio.gather(
                ai.embeddings.create(model="oracle", input=URIS[0]),
                ai.embeddings.create(model="oracle", input=URIS[1], encoding_format="float"),
                ai.images.generate(prompt="", n=2),
            )
        found = [one.data[0].embedding, two.data[0].embedding]
        np.testing.assert_allclose(found, oracle_encode(IMAGES), atol=1e-5)
        assert len(made.data or []) == 2

    asyncio.run(ask())


def test_a_model_of_vectors(tmp_path: Path, serve: Callable[..., Any]) -> None:
    make_line(tmp_path)
    with serve(models=tmp_path, default=None) as running, talking_to(running) as ai:
        one: Any = [1, 2]
        several: Any = [[1, 2], [-3, 0.5]]
        assert ai.embeddings.create(model="line", input=one).data[0].embedding == [2, 4]
        found = ai.embeddings.create(model="line", input=several, encoding_format="float").data
        assert [row.embedding for row in found] == [[2, 4], [-6, 1]]
        with pytest.raises(openai.BadRequestError, match="2 numbers, got 3"):
            ai.embeddings.create(model="line", input=[1, 2, 3])
        with pytest.raises(openai.BadRequestError, match="holds no vectors"):
            ai.embeddings.create(model="line", input="boot")
        with pytest.raises(openai.BadRequestError, match="vectors, not images"):
            ai.images.generate(model="line", prompt="")
