"""Clients that others wrote, of a server as BentoML runs it: every dialect through one port."""

import asyncio
import base64
import io
import json
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import tritonclient.http as triton
from bentoml.exceptions import BentoMLException
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from oracle import oracle_decode, oracle_encode, oracle_score
from server_process import Running, running
from serving import latents as latent_space
from serving.rendering import png

Array = np.ndarray[Any, Any]
IMAGES = np.random.default_rng(15).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
CODES = oracle_encode(IMAGES)
URIS = ["data:image/png;base64," + base64.b64encode(png(image)).decode() for image in IMAGES]


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("clients") / "log"
    with running("bentoml", models, log, "--max-body-bytes", "1000000") as one:
        yield one


@pytest.fixture(scope="module")
def ai(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as one:
        yield one


@pytest.fixture(scope="module")
def oip(server: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(url=f"127.0.0.1:{server.port}") as one:
        yield one


def pixels(uris: list[str]) -> Array:
    files = [io.BytesIO(base64.b64decode(uri.partition(",")[2])) for uri in uris]
    return np.stack([np.asarray(Image.open(file)) for file in files]).astype(int)


def bento(kind: str) -> Any:
    """One of BentoML's clients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bentoml's own imports use what pydantic is giving up
        import bentoml

        return getattr(bentoml, kind)


def test_bentomls_client(server: Running) -> None:
    with bento("SyncHTTPClient")(server.url) as client:
        assert client.is_ready()
        np.testing.assert_allclose(client.encode(images=URIS)["latents"], CODES, atol=1e-5)
        results = client.score(images=URIS, by="l2")["results"]
        wanted = oracle_score(IMAGES).terms[:, 1]
        np.testing.assert_allclose([one["score"] for one in results], wanted, atol=1e-6)
        made = client.sample(n=2, seed=3)["images"]
        drawn = oracle_decode(latent_space.sample(3, 2, 48, "normal"))
        assert np.abs(pixels(made) - drawn).max() <= 1
        with pytest.raises(BentoMLException, match="no model 'nope'"):
            client.encode(images=URIS, model="nope")
        client._temp_dir.cleanup()  # bentoml leaves it to the garbage collector, which complains


def test_bentomls_asynchronous_client(server: Running) -> None:
    async def ask() -> None:
        async with bento("AsyncHTTPClient")(server.url) as client:
            assert await client.is_ready()
            answers = await asyncio.gather(*(client.encode(images=URIS) for _ in range(20)))
            for answer in answers:
                np.testing.assert_allclose(answer["latents"], CODES, atol=1e-5)
            frames = (await client.interpolate(images=URIS, frames=4))["images"]
            wanted = oracle_decode(latent_space.path(CODES, 4))
            assert np.abs(pixels(frames) - wanted).max() <= 1
            with pytest.raises(BentoMLException, match="no image"):
                await client.reconstruct(images=["AAAA"])
            client._temp_dir.cleanup()

    asyncio.run(ask())


def test_openais_client(ai: openai.OpenAI) -> None:
    answer = ai.embeddings.create(model="oracle", input=URIS)
    np.testing.assert_allclose([one.embedding for one in answer.data], CODES, atol=1e-5)
    assert len(ai.images.generate(prompt="", n=3).data or []) == 3
    assert [model.id for model in ai.models.list()] == ["grey", "oracle"]
    with pytest.raises(openai.BadRequestError, match="no image"):
        ai.embeddings.create(model="oracle", input="AAAA")
    with pytest.raises(openai.NotFoundError, match="there is nothing at /v1/images/edits") as none:
        ai.images.edit(image=b"x", prompt="")
    assert none.value.response.json()["error"]["code"] is None


def test_tritons_client(oip: triton.InferenceServerClient) -> None:
    assert oip.is_server_live()
    assert oip.is_server_ready()
    assert oip.get_model_metadata("oracle")["platform"] == "onnxruntime_onnx"
    one = triton.InferInput("images", [2, 8, 8, 3], "UINT8")
    one.set_data_from_numpy(IMAGES)
    latents = oip.infer("oracle", [one]).as_numpy("latents")
    np.testing.assert_allclose(latents, CODES, atol=1e-5)
    with pytest.raises(InferenceServerException, match="there is nothing at /v2/trace/setting"):
        oip.get_trace_settings()
    many = triton.InferInput("images", [6000, 8, 8, 3], "UINT8")
    many.set_data_from_numpy(np.zeros((6000, 8, 8, 3), np.uint8))
    with pytest.raises(InferenceServerException, match="at most 1,000,000 bytes"):
        oip.infer("oracle", [many])


def curl(server: Running, path: str, *arguments: str) -> bytes:
    command = ["curl", "-sS", "--noproxy", "*", *arguments, server.url + path]
    return subprocess.run(command, capture_output=True, check=True, timeout=30).stdout


def test_curl(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(png(IMAGES[0]))
    answer = json.loads(curl(server, "/v1/models/oracle/encode", "--data-binary", f"@{file}"))
    np.testing.assert_allclose(answer["latents"], CODES[:1], atol=1e-5)
    answer = json.loads(curl(server, "/v1/images/variations", "-F", f"image=@{file}", "-F", "n=2"))
    assert len(answer["data"]) == 2
    fields = {"model": "oracle", "input": URIS[1]}
    said = ("-H", "Content-Type: application/json", "-d", json.dumps(fields))
    (one,) = json.loads(curl(server, "/v1/embeddings", *said))["data"]
    np.testing.assert_allclose(one["embedding"], CODES[1], atol=1e-5)
    tensor = {"name": "images", "shape": [1, 8, 8, 3], "datatype": "UINT8"}
    document = {"inputs": [{**tensor, "data": IMAGES[1].ravel().tolist()}]}
    packed = ("--compressed", "-d", json.dumps(document))  # asks for gzip, and unpacks it
    (output,) = json.loads(curl(server, "/v2/models/oracle/infer", *packed))["outputs"]
    np.testing.assert_allclose(output["data"], CODES[1], atol=1e-5)
    assert json.loads(curl(server, "/v2/nope")) == {"error": "there is nothing at /v2/nope"}
    assert "error" in json.loads(curl(server, "/v1/embeddings", "-X", "DELETE"))


def test_prometheus_reads_the_figures(server: Running, ai: openai.OpenAI) -> None:
    def requests() -> dict[tuple[str, ...], float]:
        text = httpx.get(server.url + "/metrics").text
        found = {family.name: family for family in text_string_to_metric_families(text)}
        assert found["biject_requests"].type == "counter"
        assert found["biject_request_seconds"].type == "histogram"
        assert found["biject_batch_rows"].type == "histogram"
        assert found["biject_queue_rows"].type == "gauge"
        assert all(family.documentation for family in found.values())
        labels = {"model", "verb", "status", "graph", "version", "device", "le", "reason"}
        labels |= {"key", "worker"}
        samples = [sample for family in found.values() for sample in family.samples]
        assert {name for sample in samples for name in sample.labels} <= labels
        assert not [sample for sample in samples if "/" in "".join(sample.labels.values())]
        return {
            (one.labels["model"], one.labels["verb"], one.labels["status"]): one.value
            for one in found["biject_requests"].samples
            if one.name.endswith("_total")
        }

    before = requests()
    ai.embeddings.create(model="oracle", input=URIS)
    ai.images.generate(model="oracle", prompt="")
    with pytest.raises(openai.BadRequestError):
        ai.embeddings.create(model="oracle", input="AAAA")
    httpx.post(server.url + "/v2/models/oracle.score/infer", json={"inputs": []})
    after = requests()
    grown = {key: value - before.get(key, 0) for key, value in after.items()}
    assert grown["oracle", "encode", "200"] == 1
    assert grown["oracle", "encode", "400"] == 1
    assert grown["oracle", "sample", "200"] == 1
    assert grown["oracle", "score", "400"] == 1
