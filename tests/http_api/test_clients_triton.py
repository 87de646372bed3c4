"""Triton's own HTTP clients, waiting and asynchronous, against the oracle and our own dialect."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from oracle import oracle_decode, oracle_encode, oracle_score

Array = np.ndarray[Any, Any]
Coding = Literal["gzip", "deflate"]
IMAGES = np.random.default_rng(13).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
CODES = oracle_encode(IMAGES)


@pytest.fixture(scope="module")
def server(client: httpx.Client) -> Iterator[triton.InferenceServerClient]:
    """Triton's client, of the shared server."""
    with triton.InferenceServerClient(url=address(client)) as one:
        yield one


def address(client: httpx.Client) -> str:
    return f"{client.base_url.host}:{client.base_url.port}"


def tensor(name: str, array: Array, *, binary: bool = True) -> triton.InferInput:
    datatype = {"uint8": "UINT8", "float32": "FP32", "object": "BYTES"}[str(array.dtype)]
    one = triton.InferInput(name, list(array.shape), datatype)
    one.set_data_from_numpy(array, binary_data=binary)
    return one


def test_it_finds_the_server_and_its_models(server: triton.InferenceServerClient) -> None:
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready("oracle")
    assert server.is_model_ready("grey.score", "1")
    assert not server.is_model_ready("nope")
    assert server.get_server_metadata()["name"] == "biject"
    index = server.get_model_repository_index()
    assert {"name": "oracle.score", "version": "1", "state": "READY", "reason": ""} in index


def test_what_it_is_told_of_a_model(server: triton.InferenceServerClient) -> None:
    metadata = server.get_model_metadata("oracle.score")
    (given,) = metadata["inputs"]
    assert given == {"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}
    assert metadata["outputs"] == [
        {"name": "terms", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "heat", "datatype": "FP32", "shape": [-1, 8, 8]},
    ]
    config = server.get_model_config("oracle.score", "1")
    assert config["max_batch_size"] == 4096
    assert config["input"] == [{"name": "images", "data_type": "TYPE_UINT8", "dims": [8, 8, 3]}]
    assert config["output"][1] == {"name": "heat", "data_type": "TYPE_FP32", "dims": [8, 8]}


def test_statistics_grow_by_what_it_asks(server: triton.InferenceServerClient) -> None:
    def successes() -> tuple[int, int]:
        (one,) = server.get_inference_statistics("oracle.score")["model_stats"]
        return one["inference_stats"]["success"]["count"], one["inference_count"]

    count, rows = successes()
    server.infer("oracle.score", [tensor("images", IMAGES)])
    assert successes() == (count + 1, rows + 5)
    every = server.get_inference_statistics()["model_stats"]
    assert "oracle.score" in [one["name"] for one in every]


@pytest.mark.parametrize("sends_binary", [True, False])
@pytest.mark.parametrize("gets_binary", [True, False])
def test_tensors_in_bytes_and_in_json(
    server: triton.InferenceServerClient, sends_binary: bool, gets_binary: bool
) -> None:
    inputs = [tensor("images", IMAGES, binary=sends_binary)]
    outputs = [triton.InferRequestedOutput("latents", binary_data=gets_binary)]
    answer = server.infer("oracle", inputs, outputs=outputs, request_id="one")
    np.testing.assert_allclose(answer.as_numpy("latents"), CODES, atol=1e-5)
    assert answer.get_response()["id"] == "one"
    assert ("data" in answer.get_output("latents")) is not gets_binary


def test_the_answers_are_those_of_our_own_dialect(
    server: triton.InferenceServerClient, client: httpx.Client
) -> None:
    answer = server.infer("oracle.score", [tensor("images", IMAGES)], model_version="1")
    wanted = oracle_score(IMAGES)
    np.testing.assert_allclose(answer.as_numpy("terms"), wanted.terms, atol=1e-6)
    np.testing.assert_allclose(answer.as_numpy("heat"), wanted.heat, atol=1e-6)
    latents = server.infer("oracle", [tensor("images", IMAGES)]).as_numpy("latents")
    made = server.infer("oracle.decode", [tensor("latents", latents)]).as_numpy("images")
    native = client.post("/v1/models/oracle/decode", json={"latents": latents.tolist()}).json()
    again = client.post("/v1/models/oracle/encode", json={"images": native["images"]}).json()
    np.testing.assert_allclose(oracle_encode(made), again["latents"], atol=1e-5)
    assert np.abs(made.astype(int) - oracle_decode(CODES)).max() <= 1


@pytest.mark.parametrize("sends", [None, "gzip", "deflate"])
@pytest.mark.parametrize("gets", [None, "gzip", "deflate"])
def test_compression(
    server: triton.InferenceServerClient, sends: Coding | None, gets: Coding | None
) -> None:
    answer = server.infer(
        "oracle.reconstruct",
        [tensor("images", IMAGES)],
        request_compression_algorithm=sends,
        response_compression_algorithm=gets,
    )
    np.testing.assert_allclose(answer.as_numpy("latents"), CODES, atol=1e-5)
    made = answer.as_numpy("reconstructions").astype(int)
    assert np.abs(made - oracle_decode(CODES)).max() <= 1


def test_images_as_the_bytes_of_files(server: triton.InferenceServerClient) -> None:
    from files import png

    files = np.array([png(image) for image in IMAGES], np.object_)
    answer = server.infer("oracle", [tensor("images", files)])
    np.testing.assert_allclose(answer.as_numpy("latents"), CODES, atol=1e-5)


def test_many_requests_at_once(client: httpx.Client) -> None:
    with triton.InferenceServerClient(url=address(client), concurrency=8) as server:
        asked = [
            server.async_infer("oracle", [tensor("images", IMAGES[i % 5 : i % 5 + 1])])
            for i in range(40)
        ]
        found = np.concatenate([one.get_result().as_numpy("latents") for one in asked])
    np.testing.assert_allclose(found, np.tile(CODES, (8, 1)), atol=1e-5)


def wrong(name: str = "images", *shape: int, datatype: str = "UINT8") -> triton.InferInput:
    one = triton.InferInput(name, list(shape), datatype)
    dtype = {"UINT8": np.uint8, "FP32": np.float32}[datatype]
    one.set_data_from_numpy(np.zeros(shape, dtype))
    return one


@pytest.mark.parametrize(
    ("model", "given", "status", "said"),
    [
        ("oracle", wrong("images", 2, 9, 8, 3), "422", "shape [-1, 8, 8, 3], got [2, 9, 8, 3]"),
        ("oracle", wrong("images", 8, 8, 3), "422", "shape [-1, 8, 8, 3], got [8, 8, 3]"),
        ("oracle", wrong("images", 1, 8, 8, 3, datatype="FP32"), "422", "UINT8, got FP32"),
        ("oracle", wrong("pixels", 1, 8, 8, 3), "400", "no input 'pixels'; there is: images"),
        ("nope", wrong("images", 1, 8, 8, 3), "404", "no model 'nope'; there is: grey, oracle"),
        ("oracle.paint", wrong("images", 1, 8, 8, 3), "404", "no graph paint"),
    ],
)
def test_errors_are_its_exceptions_with_our_words(
    server: triton.InferenceServerClient,
    model: str,
    given: triton.InferInput,
    status: str,
    said: str,
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        server.infer(model, [given])
    assert (caught.value.status(), said in caught.value.message()) == (status, True)


def test_an_unknown_output(server: triton.InferenceServerClient) -> None:
    outputs = [triton.InferRequestedOutput("z")]
    with pytest.raises(InferenceServerException, match="no output 'z'; there is: latents"):
        server.infer("oracle", [tensor("images", IMAGES)], outputs=outputs)


def test_other_errors_too(server: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="no model 'nope'"):
        server.get_model_config("nope")
    with pytest.raises(InferenceServerException, match="there is nothing at /v2/logging"):
        server.get_log_settings()


def test_keys_and_limits(serve: Any) -> None:
    with (
        serve(api_keys=("k",), max_body_bytes=1000) as running,
        triton.InferenceServerClient(url=address(running.client)) as server,
    ):
        assert server.is_server_live()  # as probes do, who have no key
        assert server.is_server_ready()
        with pytest.raises(InferenceServerException, match="a key is wanted"):
            server.get_server_metadata()
        headers = {"Authorization": "Bearer k"}
        server.infer("oracle", [tensor("images", IMAGES[:1])], headers=dict(headers))
        with pytest.raises(InferenceServerException, match="at most 1,000 bytes"):
            server.infer("oracle", [tensor("images", IMAGES)], headers=dict(headers))


def test_the_asynchronous_client(client: httpx.Client) -> None:
    async def ask() -> None:
        async with triton_aio.InferenceServerClient(url=address(client)) as server:
            assert await server.is_server_ready()
            assert (await server.get_model_metadata("oracle"))["name"] == "oracle"
            assert (await server.get_model_config("oracle"))["backend"] == "onnxruntime"
            answers = await asyncio.gather(
                *(
                    server.infer(
                        "oracle",
                        [tensor("images", IMAGES, binary=binary)],
                        request_compression_algorithm=coding,
                        response_compression_algorithm=coding,
                    )
                    for binary in (True, False)
                    for coding in (None, "gzip", "deflate")
                )
            )
            for answer in answers:
                np.testing.assert_allclose(answer.as_numpy("latents"), CODES, atol=1e-5)
            with pytest.raises(InferenceServerException, match="shape"):
                await server.infer("oracle", [wrong("images", 1, 9, 9, 3)])

    asyncio.run(ask())


def test_a_deadline_of_its_own(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from http_api.test_limits import Gate

    gate = Gate(monkeypatch)
    with (
        serve(threads=1) as running,
        triton.InferenceServerClient(url=address(running.client)) as server,
    ):
        gate.open.clear()
        begin = time.monotonic()
        with pytest.raises(InferenceServerException) as caught:
            server.infer("oracle", [tensor("images", IMAGES)], timeout=200_000)  # microseconds
        gate.open.set()
        assert (caught.value.status(), time.monotonic() - begin < 5) == ("504", True)
        server.infer("oracle", [tensor("images", IMAGES)], timeout=10_000_000)
