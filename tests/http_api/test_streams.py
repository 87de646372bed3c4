"""Answers in lines: what they hold, when they come, how they end."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import pytest

from lines import make_line
from oracle import make_oracle
from poison import make_poisonous, poisoned
from serving.engine import Engine
from serving.routes.streaming import PIECE

LINES = {"Accept": "application/x-ndjson"}
NPY = {"Content-Type": "application/x-npy"}
COUNT = 3 * PIECE + 5
IMAGES = poisoned(np.random.default_rng(9).integers(0, 256, (COUNT, 8, 8, 3), np.uint8))


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


class Brake:
    """Holds each batch that has the last of IMAGES in it, while it is on; and counts rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off = threading.Event()
        self.off.set()
        self.rows = 0
        run = Engine.run

        def braked(engine: Engine, graph: str, inputs: Sequence[Any]) -> list[Any]:
            rows = inputs[0]
            if rows.shape[1:] == IMAGES.shape[1:] and (rows == IMAGES[-1]).all((1, 2, 3)).any():
                assert self.off.wait(20)
            self.rows += len(rows)
            return run(engine, graph, inputs)

        monkeypatch.setattr(Engine, "run", braked)


@pytest.fixture(scope="module")
def brake() -> Iterator[Brake]:
    with pytest.MonkeyPatch.context() as patch:
        brake = Brake(patch)
        yield brake
        brake.off.set()


@pytest.fixture(scope="module")
def served(brake: Brake, tmp_path_factory: pytest.TempPathFactory, serve: Any) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("streams")
    make_oracle(folder)
    make_poisonous(folder)
    make_line(folder)
    with serve(models=folder, threads=1) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Any) -> httpx.Client:
    client: httpx.Client = served.client
    return client


def parsed(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


ONE_OF = {"latents": "latent", "images": "image", "l1": "l1", "steps": "step"}


@pytest.mark.parametrize(
    ("verb", "given"),
    [
        ("encode", {"encoding_format": "base64"}),
        ("decode", {}),
        ("reconstruct", {}),
        ("reconstruct", {"refine": 1}),
        ("score", {"heatmap": "map"}),
        ("sample", {"n": COUNT, "seed": 3}),
        ("vary", {"n": COUNT, "seed": 3}),
        ("interpolate", {"frames": 100, "exact": "true"}),
    ],
)
def test_lines_are_the_document_taken_apart(
    client: httpx.Client, verb: str, given: dict[str, Any]
) -> None:
    rows: Any = {"vary": IMAGES[:1], "interpolate": IMAGES[:3]}.get(verb, IMAGES)
    if verb == "decode":
        rows = np.random.default_rng(1).standard_normal((COUNT, 48), np.float32)
    sent: dict[str, Any] = {"content": npy(rows)} if verb != "sample" else {}
    headers = NPY if verb != "sample" else {}
    url = f"/v1/models/oracle/{verb}"
    *lines, last = parsed(client.post(url, params=given, headers={**headers, **LINES}, **sent))
    document = client.post(url, params=given, headers=headers, **sent).json()
    count = document["usage"]["images"]
    assert [line.pop("index") for line in lines] == list(range(count))
    if verb == "score":
        wanted = document.pop("results")
    else:
        columns = {one: document.pop(key) for key, one in ONE_OF.items() if key in document}
        wanted = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
    for line, one in zip(lines, wanted, strict=True):
        assert line.keys() == one.keys()
        for key, value in one.items():
            if isinstance(value, str) or value is None or isinstance(value, dict | bool):
                assert line[key] == value or verb in ("decode", "reconstruct", "interpolate")
            else:
                np.testing.assert_allclose(line[key], value, atol=1e-5)
    assert last.pop("usage")["images"] == document.pop("usage")["images"]
    assert last == document  # model, seed, threshold ...


def test_vectors_come_in_lines_too(client: httpx.Client) -> None:
    rows = [{"id": "a", "vector": [1, 2]}, [3, 4]]
    answer = client.post("/v1/models/line/encode", json={"vectors": rows}, headers=LINES)
    *lines, last = parsed(answer)
    assert lines == [{"index": 0, "id": "a", "latent": [2, 4]}, {"index": 1, "latent": [6, 8]}]
    assert last["model"] == "line@1"


def test_lines_come_while_the_rest_is_computed(client: httpx.Client, brake: Brake) -> None:
    brake.off.clear()
    found = []
    with client.stream(
        "POST", "/v1/models/oracle/encode", content=npy(IMAGES), headers={**NPY, **LINES}
    ) as answer:
        for line in answer.iter_lines():
            found.append(json.loads(line))
            if len(found) == 2 * PIECE:  # the engine stands still, and these are here
                assert not brake.off.is_set()
                brake.off.set()
    assert [one["index"] for one in found[:-1]] == list(range(COUNT))
    assert found[-1]["usage"]["images"] == COUNT


def test_a_failure_on_the_way_is_the_last_line(client: httpx.Client) -> None:
    guilty = poisoned(IMAGES, PIECE + 3)
    answer = client.post("/v1/models/poison/encode", content=npy(guilty), headers={**NPY, **LINES})
    *lines, last = parsed(answer)
    assert [line["index"] for line in lines] == list(range(PIECE))
    assert last["problem"]["status"] == 500
    assert last["problem"]["request_id"] == answer.headers["x-request-id"]
    assert "usage" not in last


def test_a_failure_at_the_beginning_is_a_status(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/models/poison/encode", content=npy(poisoned(IMAGES, 3)), headers={**NPY, **LINES}
    )
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    answer = client.post("/v1/models/poison/encode", content=b"x", headers=LINES)
    assert answer.status_code == 415


def test_items_fail_alone_where_that_is_preferred(client: httpx.Client) -> None:
    guilty = poisoned(IMAGES, 2, PIECE + 3, COUNT - 1)
    answer = client.post(
        "/v1/models/poison/encode",
        content=npy(guilty),
        headers={**NPY, **LINES, "Prefer": "partial"},
    )
    *lines, last = parsed(answer)
    failed = [line["index"] for line in lines if "problem" in line]
    assert failed == [2, PIECE + 3, COUNT - 1]
    assert [line["index"] for line in lines] == list(range(COUNT))
    assert last["usage"]["images"] == COUNT


def test_the_deadline_ends_the_lines(client: httpx.Client, brake: Brake) -> None:
    brake.off.clear()
    try:
        answer = client.post(
            "/v1/models/oracle/encode",
            content=npy(IMAGES),
            headers={**NPY, **LINES, "X-Deadline-Ms": "700"},
        )
    finally:
        brake.off.set()
    *lines, last = parsed(answer)
    assert len(lines) in (2 * PIECE, 3 * PIECE)  # the last but one may share the last one's batch
    assert last["problem"]["status"] == 504


def test_who_leaves_ends_the_work(served: Any, brake: Brake) -> None:
    many = np.concatenate([IMAGES] * 10)
    brake.off.clear()
    before = brake.rows
    try:
        with served.client.stream(
            "POST", "/v1/models/oracle/encode", content=npy(many), headers={**NPY, **LINES}
        ) as answer:
            next(answer.iter_lines())
        until(lambda: not served.deployment._open)  # though the engine stands still
    finally:
        brake.off.set()
    assert brake.rows - before <= 5 * PIECE  # of thirty


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_sample_in_lines_is_kept_apart_from_other_formats(client: httpx.Client) -> None:
    url = "/v1/models/oracle/sample"
    tags = [
        client.get(url, params={"seed": 1}, headers=headers).headers["etag"]
        for headers in (LINES, {})
    ]
    assert tags[0] != tags[1]
