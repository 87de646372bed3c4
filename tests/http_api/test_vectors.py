"""A model of vectors: the same verbs in JSON and npy, and no pictures."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from serving import latents as latent_space

V = "/v1/models/line/"
ROWS = np.array([[1, 2], [-3, 0.5], [0, 0]], np.float32)


def make_line(folder: Path) -> None:
    """A bundle with D = Z = 2: E doubles, G halves, every score is the first number."""
    path = folder / "line" / "1"
    path.mkdir(parents=True)
    two = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
    first = helper.make_tensor("first", TensorProto.INT64, [1], [0])
    nodes = {
        "encode": [helper.make_node("Mul", ["x", "two"], ["z"])],
        "decode": [helper.make_node("Div", ["x", "two"], ["y"])],
        "reconstruct": [
            helper.make_node("Mul", ["x", "two"], ["z"]),
            helper.make_node("Div", ["z", "two"], ["y"]),
        ],
        "score": [
            helper.make_node("Gather", ["x", "first"], ["terms"], axis=1),
            helper.make_node("Mul", ["x", "two"], ["heat"]),
        ],
    }
    outputs = {
        "encode": {"z": 2},
        "decode": {"y": 2},
        "reconstruct": {"z": 2, "y": 2},
        "score": {"terms": 1, "heat": 2},
    }
    graphs = {}
    for name, its in nodes.items():
        graph = helper.make_graph(
            its,
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
            [
                helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", size])
                for output, size in outputs[name].items()
            ],
            [first] if name == "score" else [],
        )
        graph.initializer.append(two)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(model)
        data = model.SerializeToString()
        (path / f"{name}.onnx").write_bytes(data)
        graphs[name] = {
            "file": f"{name}.onnx",
            "sha256": hashlib.sha256(data).hexdigest(),
            "inputs": [{"name": "x", "dtype": "float32", "shape": ["N", 2]}],
            "outputs": [
                {"name": output, "dtype": "float32", "shape": ["N", size]}
                for output, size in outputs[name].items()
            ],
        }
    manifest = {
        "format": 1,
        "name": "line",
        "version": 1,
        "vector": {"size": 2, "columns": ["a", "b"]},
        "latent": {"size": 2, "prior": "normal"},
        "graphs": graphs,
        "score": {"terms": ["first"], "default": "first"},
        "created": 1_700_000_000,
    }
    (path / "manifest.json").write_text(json.dumps(manifest))


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
