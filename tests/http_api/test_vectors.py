"""A model of vectors: the same verbs in JSON and npy, and no pictures."""

import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from lines import make_line
from serving import latents as latent_space

V = "/v1/models/line/"
ROWS = np.array([[1, 2], [-3, 0.5], [0, 0]], np.float32)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, serve: Any) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("vectors")
    make_line(folder)
    with serve(models=folder, default=None) as running:
        yield running.client


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["json", "npy"])
def test_every_verb(client: httpx.Client, how: str) -> None:
    def ask(verb: str, rows: Any, name: str = "vectors", **parameters: Any) -> dict[str, Any]:
        sent: dict[str, Any] = {"json": {name: rows.tolist()}}
        if how == "npy":
            sent = {"content": npy(rows), "headers": {"Content-Type": "application/x-npy"}}
        answer = client.post(V + verb, params=parameters, **sent)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    assert ask("encode", ROWS)["latents"] == (2 * ROWS).tolist()
    assert ask("decode", ROWS, "latents")["vectors"] == (ROWS / 2).tolist()
    back = ask("reconstruct", ROWS)
    assert back["vectors"] == ROWS.tolist()
    assert back["l1"] == [0, 0, 0]
    scored = ask("score", ROWS, heatmap="map")
    assert [one["score"] for one in scored["results"]] == [1, -3, 0]
    assert scored["results"][1]["heatmap"] == [-6, 1]
    morph = ask("interpolate", ROWS[:2], frames=3)["vectors"]
    np.testing.assert_allclose(morph, latent_space.path(2 * ROWS[:2], 3) / 2, atol=1e-6)
    varied = ask("vary", ROWS[:1], n=2, seed=1)["vectors"]
    np.testing.assert_allclose(
        varied, latent_space.vary(2 * ROWS[0], 2, 0.3, 1, "normal") / 2, atol=1e-6
    )


def test_samples(client: httpx.Client) -> None:
    answer = client.post(V + "sample", json={"n": 3, "seed": 2})
    wanted = latent_space.sample(2, 3, 2, "normal") / 2
    np.testing.assert_allclose(answer.json()["vectors"], wanted, atol=1e-6)
    array = client.post(
        V + "sample", json={"n": 3, "seed": 2}, headers={"Accept": "application/x-npy"}
    )
    np.testing.assert_allclose(np.load(io.BytesIO(array.content)), wanted, atol=1e-6)


def test_there_are_no_pictures(client: httpx.Client) -> None:
    answer = client.post(V + "sample", headers={"Accept": "image/png"})
    assert answer.status_code == 406
    answer = client.post(V + "encode", content=b"\x89PNG", headers={"Content-Type": "image/png"})
    assert (answer.status_code, "application/x-npy" in answer.json()["detail"]) == (415, True)
    answer = client.post(V + "encode", json={"images": ["x"]})
    assert (answer.status_code, "`vectors`" in answer.json()["detail"]) == (400, True)


def test_the_manifest_tells_the_columns(client: httpx.Client) -> None:
    assert client.get("/v1/models/line").json()["vector"] == {"size": 2, "columns": ["a", "b"]}
