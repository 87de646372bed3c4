"""Vectors instead of images: a pair whose E and G multiply, so that all is worked out by hand."""

import hashlib
import json
from pathlib import Path

import onnx
from onnx import TensorProto, helper


def make_line(folder: Path, *, name: str = "line", up: float = 2.0, down: float = 0.5) -> None:
    """A bundle with D = Z = 2: E(x) = up * x, G(z) = down * z, every score is the first number."""
    path = folder / name / "1"
    path.mkdir(parents=True)
    factors = [
        helper.make_tensor("up", TensorProto.FLOAT, [], [up]),
        helper.make_tensor("down", TensorProto.FLOAT, [], [down]),
    ]
    first = helper.make_tensor("first", TensorProto.INT64, [1], [0])
    nodes = {
        "encode": [helper.make_node("Mul", ["x", "up"], ["z"])],
        "decode": [helper.make_node("Mul", ["x", "down"], ["y"])],
        "reconstruct": [
            helper.make_node("Mul", ["x", "up"], ["z"]),
            helper.make_node("Mul", ["z", "down"], ["y"]),
        ],
        "score": [
            helper.make_node("Gather", ["x", "first"], ["terms"], axis=1),
            helper.make_node("Mul", ["x", "up"], ["heat"]),
        ],
    }
    outputs = {
        "encode": {"z": 2},
        "decode": {"y": 2},
        "reconstruct": {"z": 2, "y": 2},
        "score": {"terms": 1, "heat": 2},
    }
    graphs = {}
    for key, its in nodes.items():
        graph = helper.make_graph(
            its,
            key,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
            [
                helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", size])
                for output, size in outputs[key].items()
            ],
            [first] if key == "score" else [],
        )
        graph.initializer.extend(factors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(model)
        data = model.SerializeToString()
        (path / f"{key}.onnx").write_bytes(data)
        graphs[key] = {
            "file": f"{key}.onnx",
            "sha256": hashlib.sha256(data).hexdigest(),
            "inputs": [{"name": "x", "dtype": "float32", "shape": ["N", 2]}],
            "outputs": [
                {"name": output, "dtype": "float32", "shape": ["N", size]}
                for output, size in outputs[key].items()
            ],
        }
    manifest = {
        "format": 1,
        "name": name,
        "version": 1,
        "vector": {"size": 2, "columns": ["a", "b"]},
        "latent": {"size": 2, "prior": "normal"},
        "graphs": graphs,
        "score": {"terms": ["first"], "default": "first"},
        "created": 1_700_000_000,
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
